# Decides whether the CUDA backend is built: sets REFRAIN_CUDA_ENABLED.

set(REFRAIN_CUDA_ENABLED OFF)
if(NOT REFRAIN_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "REFRAIN_CUDA is ${REFRAIN_CUDA}; expected AUTO, ON or OFF")
endif()

if(NOT REFRAIN_CUDA STREQUAL "OFF")
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    # Ampere and Hopper, and PTX of Ampere for newer GPUs. "native" would fail on a build machine
    # without a GPU.
    if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
      set(CMAKE_CUDA_ARCHITECTURES "80;90a-real" CACHE STRING "GPU architectures to compile for")
    endif()
    # cuBLAS loads the shared runtime; a static one would be a second.
  set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)
    enable_language(CUDA)
    find_package(CUDAToolkit REQUIRED)
    # CMake 3.25 does not support CUDA_STANDARD 20.
    add_compile_options("$<$<COMPILE_LANGUAGE:CUDA>:-std=c++20>")
    set(REFRAIN_CUDA_ENABLED ON)
  elseif(REFRAIN_CUDA STREQUAL "ON")
    message(FATAL_ERROR "REFRAIN_CUDA=ON, but no working nvcc was found. Put nvcc on PATH or set CUDACXX.")
  endif()
endif()
message(STATUS "Refrain: CUDA backend ${REFRAIN_CUDA_ENABLED} (REFRAIN_CUDA=${REFRAIN_CUDA})")
