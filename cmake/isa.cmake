# Instruction set levels: one library that is fast on every x86-64 CPU. Sets REFRAIN_LEVELS, the
# levels built in addition to the library's own.
#
# A source compiled for AVX-512 contains, besides our kernels, copies of every inline function and
# template that the compiler did not inline: from the standard library, Eigen and our headers. These
# are weak symbols, and the linker keeps one copy for the whole program. If it kept the AVX-512
# copy, an older CPU would fail with an illegal instruction. Therefore the objects of a level are
# linked into a single object with resolved comdat groups, in which all symbols are made local
# except the table of the level and the type information of exceptions, which contains no code.
# tests/checks/levels.sh checks the result.

set(REFRAIN_ISA_LEVELS "v3;v4" CACHE STRING
  "Instruction set levels of the CPU kernels besides the baseline, chosen from at run time: v3 (AVX2), v4 (AVX-512)")

# The CPU features that src/cpu_levels.cpp tests.
set(refrain_v3_flags -mavx2 -mfma -mbmi -mbmi2)
set(refrain_v4_flags ${refrain_v3_flags} -mavx512f -mavx512bw -mavx512cd -mavx512dq -mavx512vl)

set(REFRAIN_LEVELS)
foreach(level IN LISTS REFRAIN_ISA_LEVELS)
  if(NOT level MATCHES "^v[34]$")
    message(FATAL_ERROR "REFRAIN_ISA_LEVELS: expected v3, v4 or both, got '${level}'")
  endif()
endforeach()
if(NOT REFRAIN_NATIVE AND REFRAIN_ISA_LEVELS)
  include(CheckCXXSourceCompiles)
  check_cxx_source_compiles("
    #if !defined(__x86_64__) || !defined(__ELF__) || defined(__AVX__)
    #error only where an ELF linker works and the baseline is plain x86-64
    #endif
    int main() { return __builtin_cpu_supports(\"avx512vl\"); }" REFRAIN_CAN_DISPATCH)
  # clang's CMake toolchain selects lld, which resolves groups since version 19.
  set(level_linker)
  foreach(linker IN ITEMS "${CMAKE_LINKER}" ld.bfd ld)
    execute_process(COMMAND "${linker}" --help OUTPUT_VARIABLE linker_help ERROR_QUIET)
    if(linker_help MATCHES "force-group-allocation")
      set(level_linker "${linker}")
      break()
    endif()
  endforeach()
  if(REFRAIN_CAN_DISPATCH AND CMAKE_OBJCOPY AND level_linker)
    set(REFRAIN_LEVELS ${REFRAIN_ISA_LEVELS})
  endif()
  list(JOIN REFRAIN_LEVELS ", " levels)
  message(STATUS "Refrain: instruction set levels of the CPU kernels besides the baseline: ${levels}")
endif()

# refrain_add_level(LEVEL SOURCES...): compiles the kernels for a level and adds them to
# REFRAIN_LEVEL_OBJECTS as one object.
function(refrain_add_level level)
  set(objects refrain_kernels_${level})
  add_library(${objects} OBJECT ${ARGN})
  refrain_optimize_without_build_type(${objects})
  target_compile_features(${objects} PRIVATE cxx_std_20)
  target_compile_definitions(${objects} PRIVATE "$<TARGET_PROPERTY:refrain_objects,COMPILE_DEFINITIONS>" REFRAIN_ISA=${level})
  # Unique symbols would stay global.
  target_compile_options(${objects} PRIVATE
    ${refrain_${level}_flags} -fno-lto $<$<CXX_COMPILER_ID:GNU>:-fno-gnu-unique>)
  target_include_directories(${objects} PRIVATE "${PROJECT_SOURCE_DIR}" "${PROJECT_SOURCE_DIR}/include")
  target_link_libraries(${objects} PRIVATE Threads::Threads Eigen3::Eigen)
  refrain_hide_symbols(${objects})
  set_target_properties(${objects} PROPERTIES UNITY_BUILD OFF)
  refrain_warnings(${objects})

  set(joined "${PROJECT_BINARY_DIR}/refrain_${level}_$<CONFIG>_joined.o")
  set(object "${PROJECT_BINARY_DIR}/refrain_${level}_$<CONFIG>.o")
  add_custom_command(OUTPUT "${object}" BYPRODUCTS "${joined}"
    COMMAND "${level_linker}" -r --force-group-allocation -o "${joined}" "$<TARGET_OBJECTS:${objects}>"
    COMMAND "${CMAKE_OBJCOPY}" --wildcard "--keep-global-symbol=_ZN7refrain7kernels3cpu2${level}5tableE"
      "--keep-global-symbol=_ZTI*" "--keep-global-symbol=_ZTS*" "${joined}" "${object}"
    DEPENDS ${objects} "$<TARGET_OBJECTS:${objects}>" COMMAND_EXPAND_LISTS VERBATIM)
  # Both libraries use the object: this target builds it once.
  add_custom_target(refrain_level_${level} DEPENDS "${object}")
  set(REFRAIN_LEVEL_OBJECTS ${REFRAIN_LEVEL_OBJECTS} "${object}" PARENT_SCOPE)
  string(TOUPPER "${level}" upper)
  target_compile_definitions(refrain_objects PRIVATE REFRAIN_HAS_${upper}=1)
endfunction()
