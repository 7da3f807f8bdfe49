/// An outside program that uses the component mpi; started without a launcher, it is one rank.

#include <array>
#include <cstdint>
#include <cstdio>

#include <refrain/distributed/agreement.hpp>
#include <refrain/distributed/mpi.hpp>

int main() {
  const auto communicator = refrain::mpi_world();
  refrain::handshake(*communicator, refrain::build_identity());
  const std::array<int, 1> own{communicator->rank()};
  for (const int rank : refrain::gather_values<int>(*communicator, own))
    std::printf("rank %d of %d\n", rank, communicator->size());
}
