# Decides whether the library refrain::mpi is built: sets REFRAIN_MPI_ENABLED. Hints: MPI_CXX_COMPILER,
# such as mpicxx.mpich, or MPI_HOME.

set(REFRAIN_MPI_ENABLED OFF)
if(NOT REFRAIN_MPI MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "REFRAIN_MPI is ${REFRAIN_MPI}; expected AUTO, ON or OFF")
endif()

if(NOT REFRAIN_MPI STREQUAL "OFF")
  find_package(MPI QUIET COMPONENTS CXX)
  if(MPI_CXX_FOUND)
    set(REFRAIN_MPI_ENABLED ON)
  elseif(REFRAIN_MPI STREQUAL "ON")
    message(FATAL_ERROR "REFRAIN_MPI=ON, but no MPI was found. Install one (Debian: libopenmpi-dev), or set MPI_CXX_COMPILER to its compiler.")
  endif()
endif()
message(STATUS "Refrain: MPI ${REFRAIN_MPI_ENABLED} (REFRAIN_MPI=${REFRAIN_MPI})")
