# Decides whether cuDNN's convolution and LSTM are built, a second implementation for tests and
# benchmarks: sets REFRAIN_CUDNN_ENABLED and defines the target refrain_cudnn. Hint: CUDNN_ROOT, a
# CMake or environment variable, such as .../site-packages/nvidia/cudnn of a Python package.

set(REFRAIN_CUDNN_ENABLED OFF)
if(NOT REFRAIN_CUDNN MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "REFRAIN_CUDNN is ${REFRAIN_CUDNN}; expected AUTO, ON or OFF")
endif()
if(REFRAIN_CUDNN STREQUAL "ON" AND NOT REFRAIN_CUDA_ENABLED)
  message(FATAL_ERROR "REFRAIN_CUDNN=ON needs the CUDA backend (REFRAIN_CUDA=${REFRAIN_CUDA})")
endif()

if(REFRAIN_CUDA_ENABLED AND NOT REFRAIN_CUDNN STREQUAL "OFF")
  # A Python package contains libcudnn.so.9 without the link libcudnn.so.
  set(cudnn_hints HINTS ${CUDNN_ROOT} ENV CUDNN_ROOT ${CUDAToolkit_INCLUDE_DIRS} ${CUDAToolkit_LIBRARY_DIR} ${CUDAToolkit_LIBRARY_ROOT})
  find_path(CUDNN_INCLUDE_DIR NAMES cudnn.h ${cudnn_hints} PATH_SUFFIXES include)
  find_library(CUDNN_LIBRARY NAMES cudnn libcudnn.so.9 NAMES_PER_DIR ${cudnn_hints} PATH_SUFFIXES lib lib64 lib/x64)
  mark_as_advanced(CUDNN_INCLUDE_DIR CUDNN_LIBRARY)
  set(cudnn_version "")
  if(CUDNN_INCLUDE_DIR AND EXISTS "${CUDNN_INCLUDE_DIR}/cudnn_version.h")
    file(STRINGS "${CUDNN_INCLUDE_DIR}/cudnn_version.h" cudnn_lines REGEX "define CUDNN_(MAJOR|MINOR|PATCHLEVEL) +[0-9]+")
    string(REGEX REPLACE "[^;]*CUDNN_[A-Z]+ +([0-9]+)[^;]*" "\\1" cudnn_version "${cudnn_lines}")
    string(REPLACE ";" "." cudnn_version "${cudnn_version}")
  endif()
  if(NOT CUDNN_INCLUDE_DIR OR NOT CUDNN_LIBRARY)
    set(cudnn_missing "not found (cudnn.h: ${CUDNN_INCLUDE_DIR}, library: ${CUDNN_LIBRARY}); set CUDNN_ROOT to its folder")
  elseif(NOT cudnn_version MATCHES "^9[.]" OR cudnn_version VERSION_LESS 9.8)
    # 9.8 introduced descriptors of device properties, which replace the deprecated handles in
    # graphs.
    set(cudnn_missing "its version in ${CUDNN_INCLUDE_DIR} is '${cudnn_version}'; expected 9.8 or a later 9.x")
  else()
    set(REFRAIN_CUDNN_ENABLED ON)
    add_library(refrain_cudnn INTERFACE)
    target_include_directories(refrain_cudnn SYSTEM INTERFACE "${CUDNN_INCLUDE_DIR}")
    target_link_libraries(refrain_cudnn INTERFACE "${CUDNN_LIBRARY}")
  endif()
  if(REFRAIN_CUDNN STREQUAL "ON" AND NOT REFRAIN_CUDNN_ENABLED)
    message(FATAL_ERROR "REFRAIN_CUDNN=ON, but cuDNN is ${cudnn_missing}")
  endif()
  message(STATUS "Refrain: cuDNN ${REFRAIN_CUDNN_ENABLED} (REFRAIN_CUDNN=${REFRAIN_CUDNN}) ${cudnn_version}${cudnn_missing}")
endif()
