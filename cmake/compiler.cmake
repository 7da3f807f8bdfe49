# Compiler settings of this project's targets: build type, warnings, optimization.

get_property(multi_config GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
if(PROJECT_IS_TOP_LEVEL AND NOT multi_config AND NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

# Warnings for a target of this project; users of the library do not inherit them.
function(refrain_warnings target)
  if(MSVC)
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:/W4> $<$<BOOL:${REFRAIN_WERROR}>:/WX>)
    return()
  endif()
  target_compile_options(${target} PRIVATE
    "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wpedantic;-Wshadow;-Wconversion;-Wsign-conversion>"
    "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra>")
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_FLAGS MATCHES "-fsanitize")
    # In instrumented code GCC does not see some initializations, and then warns inside <regex> and
    # <functional>.
    target_compile_options(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:-Wno-maybe-uninitialized>")
  endif()
  if(REFRAIN_WERROR)
    target_compile_options(${target} PRIVATE
      "$<$<COMPILE_LANGUAGE:CXX>:-Werror>" "$<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings>")
  endif()
endfunction()

# For tests: the optimizer takes most of their build time, and their reference loops are short.
function(refrain_compile_fast target)
  if(NOT MSVC)
    target_compile_options(${target} PRIVATE "$<$<CONFIG:Release,RelWithDebInfo>:-O1>")
  endif()
endfunction()

# For programs that use the library: instrumented and optimized they would take most of the build
# time. The library itself stays optimized.
function(refrain_unoptimized_if_sanitized target)
  if(CMAKE_CXX_FLAGS MATCHES "-fsanitize")
    target_compile_options(${target} PRIVATE -O0)
  endif()
endfunction()

# For objects of both the static and the shared library: position-independent, with hidden
# visibility except for REFRAIN_API.
function(refrain_hide_symbols target)
  set_target_properties(${target} PROPERTIES
    CXX_EXTENSIONS OFF
    POSITION_INDEPENDENT_CODE ON
    CXX_VISIBILITY_PRESET hidden
    CUDA_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON)
endfunction()

# Compiles for the CPU of this machine (REFRAIN_NATIVE). Applies only to the library's sources, not
# to its interface.
function(refrain_tune target)
  if(REFRAIN_NATIVE AND NOT MSVC)
    target_compile_options(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:-march=native>")
    target_compile_definitions(${target} PRIVATE REFRAIN_ISA=native)
  endif()
endfunction()

# A project without a build type would get unoptimized code, which is useless for this library.
function(refrain_optimize_without_build_type target)
  if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES AND NOT CMAKE_CXX_FLAGS AND NOT MSVC)
    target_compile_options(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:-O3>")
  endif()
endfunction()

# Kernels: full optimization in every optimized build, and no errno from sqrt and similar functions,
# which would prevent vectorization. Never -ffast-math: results must not depend on how a loop was
# vectorized.
function(refrain_optimize_kernels)
  if(NOT MSVC)
    set_source_files_properties(${ARGN} PROPERTIES COMPILE_OPTIONS "$<$<CONFIG:Release,RelWithDebInfo>:-O3>;-fno-math-errno")
  endif()
endfunction()
