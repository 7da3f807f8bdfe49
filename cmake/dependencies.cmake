# Build dependencies: the installed package when find_package finds it, otherwise the pinned
# release, downloaded.

include(FetchContent)

# refrain_pin(NAME URL TAG [find_package arguments...])
macro(refrain_pin name url tag)
  FetchContent_Declare(${name} GIT_REPOSITORY "${url}" GIT_TAG "${tag}" GIT_SHALLOW ON SYSTEM FIND_PACKAGE_ARGS ${ARGN})
endmacro()

refrain_pin(nlohmann_json https://github.com/nlohmann/json v3.11.2 3.7 CONFIG)
refrain_pin(fmt https://github.com/fmtlib/fmt 9.1.0 CONFIG)
refrain_pin(CLI11 https://github.com/CLIUtils/CLI11 v2.3.2 2 CONFIG)
refrain_pin(tomlplusplus https://github.com/marzer/tomlplusplus v3.3.0 3 CONFIG)
refrain_pin(Catch2 https://github.com/catchorg/Catch2 v2.13.10 CONFIG)
refrain_pin(benchmark https://github.com/google/benchmark v1.7.1 CONFIG)
# Eigen's CMake project adds hundreds of targets, so a fetched copy is used as headers only.
FetchContent_Declare(Eigen3 GIT_REPOSITORY https://gitlab.com/libeigen/eigen GIT_TAG 3.4.0 GIT_SHALLOW ON
  SOURCE_SUBDIR none FIND_PACKAGE_ARGS 3.4 CONFIG)

if(REFRAIN_BENCH)  # leaves another project's Google Benchmark unchanged
  set(BENCHMARK_ENABLE_TESTING OFF CACHE INTERNAL "")
  set(BENCHMARK_ENABLE_INSTALL OFF CACHE INTERNAL "")
endif()

# Provides the package's targets under the names that its find_package defines.
macro(refrain_dependency name)
  FetchContent_MakeAvailable(${name})
  if("${name}" STREQUAL "Eigen3" AND NOT TARGET Eigen3::Eigen)
    add_library(refrain_eigen INTERFACE)
    add_library(Eigen3::Eigen ALIAS refrain_eigen)
    target_include_directories(refrain_eigen SYSTEM INTERFACE "${eigen3_SOURCE_DIR}")
  endif()
endmacro()

# Boost.Context: fibers for the tests that emulate CUDA kernels. Never downloaded: without it those
# tests are skipped with a message.
macro(refrain_find_boost_context)
  find_package(Boost 1.70 QUIET CONFIG COMPONENTS context)
endmacro()
