/// One rank of the tests of refrain::mpi, which tests/mpi/run.sh starts:
/// refrain_mpi_tests MODE
///   conformance   all cases of tests/distributed/conformance.hpp
///   train         trains a small recommender in eight slices and prints the hash of its parameters
///   count         trains a larger one and prints the bytes that each rank sent and received
///   items ITEMS WIDTH STEPS [FOLDER]   trains a sharded item table (item_training.hpp)
///   large         a message of more than 1 GiB (two ranks; 5 GB of memory)
///   sleep         rank 1 sleeps in place of a call; the deadline ends the job
///   throw         rank 1 throws an exception
///   differ        rank 1 calls another function than rank 0
///   sizes         rank 1 expects fewer bytes than rank 0 sends
///   leave         rank 1 ends before the others
///   wait          prints its process id and waits for a rank that never calls

#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "distributed/conformance.hpp"
#include "distributed/item_training.hpp"
#include "refrain/distributed/mpi.hpp"
#include "refrain/train/content_hash.hpp"
#include "refrain/train/fit.hpp"
#include "support/generated_ratings.hpp"
#include "support/small_recommender.hpp"

using namespace refrain;
using namespace std::chrono_literals;

namespace {

void conform(Communicator& communicator) {
  for (const auto& [name, check] : test::conformance::cases()) {
    try {
      check(communicator);
    } catch (const std::exception& error) {
      throw std::runtime_error(std::string(name) + ": " + error.what());
    }
  }
  if (communicator.rank() == 0) {
    std::printf("%zu cases passed on %d ranks\n", test::conformance::cases().size(),
                communicator.size());
  }
}

void send_large(Communicator& communicator) {
  constexpr std::size_t size = (std::size_t{1} << 30) + 12345;
  const auto value = [](std::size_t i) { return static_cast<std::byte>(i * 31 + i / 4096); };
  std::vector<std::byte> bytes(size);
  if (communicator.rank() == 0) {
    for (std::size_t i = 0; i < size; ++i) bytes[i] = value(i);
  }
  communicator.broadcast(bytes, 0);
  for (std::size_t i = 0; i < size; ++i) {
    if (bytes[i] != value(i)) throw std::runtime_error("wrong byte " + std::to_string(i));
  }
  if (communicator.rank() == 0) std::printf("large message passed\n");
}

void train(Communicator& communicator, std::int64_t width) {
  const Dataset data = test::generated_dataset();
  test::SmallRecommender model(data.vocabulary.size(), {.width = width, .keep = 0.7});
  fit(model, data,
      {.epochs = 2,
       .batch = 40,
       .slices = 8,
       .communicator = &communicator,
       .patience = 0,
       .progress = Progress::Style::quiet});
  std::printf("rank %d of %d trained %s\n", communicator.rank(), communicator.size(),
              content_hash(model).c_str());
}

void gather(Communicator& communicator) { any_bits(communicator, 0); }

/// What save_sharded() and load_sharded() throw is the error of all ranks.
int train_items(Communicator& communicator, const test::items::Run& options) {
  try {
    test::items::train(communicator, options);
  } catch (const DataError& error) {
    if (communicator.rank() == 0) std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}

void run(const std::string& mode, Communicator& communicator) {
  const bool is_odd_one = communicator.rank() == 1;
  if (mode == "conformance") return conform(communicator);
  if (mode == "train") return train(communicator, 16);
  if (mode == "count") {
    train(communicator, 128);
    const CommunicationCounts counts = communicator.counts();
    std::printf("%s counts %lld sent, %lld received\n", communicator.text().c_str(),
                static_cast<long long>(counts.bytes_sent),
                static_cast<long long>(counts.bytes_received));
    return;
  }
  if (mode == "large") return send_large(communicator);
  gather(communicator);
  if (mode == "sleep") {
    if (is_odd_one) std::this_thread::sleep_for(60s);
    gather(communicator);
  } else if (mode == "throw") {
    if (is_odd_one) throw std::runtime_error("planted error");
    gather(communicator);
  } else if (mode == "differ") {
    std::array<std::byte, 8> bytes{};
    is_odd_one ? communicator.broadcast(bytes, 1) : gather(communicator);
  } else if (mode == "sizes") {
    std::array<std::byte, 8> bytes{};
    communicator.broadcast(std::span(bytes).first(is_odd_one ? 7 : 8), 0);
  } else if (mode == "leave") {
    if (!is_odd_one) gather(communicator);
  } else if (mode == "wait") {
    std::printf("rank %d is process %d\n", communicator.rank(), static_cast<int>(::getpid()));
    std::fflush(stdout);
    if (is_odd_one) std::this_thread::sleep_for(120s);
    gather(communicator);
  } else {
    throw std::runtime_error("unknown mode " + mode);
  }
}

}  // namespace

int main(int count, char** arguments) {
  const std::vector<std::string> given(arguments + 1, arguments + count);
  const std::string mode = given.empty() ? "" : given[0];
  MpiOptions options;
  if (mode == "sleep") options.deadline = 1500ms;
  try {
    const std::unique_ptr<Communicator> communicator = mpi_world(options);
    try {
      if (mode == "items" && given.size() >= 4) {
        return train_items(*communicator, {.count = std::stoll(given[1]),
                                           .width = std::stoll(given[2]),
                                           .steps = std::stoll(given[3]),
                                           .folder = given.size() > 4 ? given[4] : ""});
      }
      run(mode, *communicator);
    } catch (const std::exception& error) {
      communicator->abort(error.what());
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
