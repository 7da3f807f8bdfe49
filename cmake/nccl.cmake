# Decides whether the library refrain::nccl is built: sets REFRAIN_NCCL_ENABLED. Hints: NCCL_ROOT and
# CUDAToolkit_ROOT. It needs the CUDA runtime and no nvcc; without the CUDA backend, where it can only
# report that there is no GPU, it is built with REFRAIN_NCCL=ON.

set(REFRAIN_NCCL_ENABLED OFF)
if(NOT REFRAIN_NCCL MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "REFRAIN_NCCL is ${REFRAIN_NCCL}; expected AUTO, ON or OFF")
endif()

if(REFRAIN_NCCL STREQUAL "ON" OR (REFRAIN_NCCL STREQUAL "AUTO" AND REFRAIN_CUDA_ENABLED))
  find_package(NCCL 2.14 QUIET MODULE)
  if(NCCL_FOUND)
    set(REFRAIN_NCCL_ENABLED ON)
  elseif(REFRAIN_NCCL STREQUAL "ON")
    message(FATAL_ERROR "REFRAIN_NCCL=ON, but no NCCL 2.14 or later with the CUDA runtime was found (nccl.h: ${NCCL_INCLUDE_DIR}, library: ${NCCL_LIBRARY}, version: ${NCCL_VERSION}). Set NCCL_ROOT to its folder.")
  endif()
endif()
message(STATUS "Refrain: NCCL ${REFRAIN_NCCL_ENABLED} (REFRAIN_NCCL=${REFRAIN_NCCL}) ${NCCL_VERSION}")
