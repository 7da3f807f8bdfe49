/// System calls that fail or move fewer bytes than requested cause errors, never damage.

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "refrain/data/readers.hpp"
#include "refrain/nn/linear.hpp"
#include "refrain/train/checkpoint.hpp"
#include "support/catch.hpp"
#include "support/scratch.hpp"
#include "support/system_faults.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

std::size_t files_in(const std::string& folder) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder),
                                                std::filesystem::directory_iterator()));
}

TrainingState state_of(std::int64_t epoch) {
  TrainingState state;
  state.model = {{"w", random_tensor<float>({40, 7}, static_cast<std::uint64_t>(epoch))}};
  state.optimizer = {
      {"m.w", random_tensor<float>({40, 7}, static_cast<std::uint64_t>(epoch) + 100)}};
  state.counters = {{"epoch", epoch}};
  return state;
}

}  // namespace

TEST_CASE("reliability: a checkpoint is synced, renamed, and its folder synced, in this order",
          "[train][reliability]") {
  const ScratchFolder folder;
  const SystemFaults faults({});
  save_training(folder.path("state"), state_of(1));
  CHECK(faults.calls() ==
        std::vector<std::string>{"write", "fsync file", "rename", "fsync folder"});
}

TEST_CASE("reliability: on a full disk saving fails at any byte, and the earlier checkpoint stays",
          "[train][reliability]") {
  const ScratchFolder folder;
  const std::string path = folder.path("state");
  save_training(path, state_of(1));
  const std::string before = read_file(path);
  // Limits within the length, the header and the data, and one byte before the end.
  for (const std::uint64_t room : {std::size_t{0}, std::size_t{3}, std::size_t{8}, std::size_t{100},
                                   before.size() / 2, before.size() - 1}) {
    INFO(room);
    {
      const SystemFaults faults({.disk_bytes = room});
      CHECK_THROWS_MATCHES(save_training(path, state_of(2)), DataError,
                           message_contains("cannot be written: No space left"));
    }
    CHECK(read_file(path) == before);
    CHECK(files_in(folder.path("")) == 1);
  }
  {
    const SystemFaults faults({.disk_bytes = before.size()});
    save_training(path, state_of(2));
  }
  CHECK(load_training(path).counters.at("epoch") == 2);
}

TEST_CASE("reliability: when syncing or renaming fails, the earlier checkpoint stays",
          "[train][reliability]") {
  const ScratchFolder folder;
  const std::string path = folder.path("state");
  save_training(path, state_of(1));
  const std::string before = read_file(path);
  {
    const SystemFaults faults({.failing_fsync = 0});
    CHECK_THROWS_MATCHES(save_training(path, state_of(2)), DataError,
                         message_contains("cannot be synced to disk"));
    CHECK(faults.calls().back() == "fsync file");  // not renamed
  }
  {
    const SystemFaults faults({.rename_fails = true});
    CHECK_THROWS_MATCHES(save_training(path, state_of(2)), DataError,
                         message_contains("cannot be renamed to its final name"));
  }
  CHECK(read_file(path) == before);
  {
    const SystemFaults faults({.failing_fsync = 1});
    CHECK_THROWS_MATCHES(save_training(path, state_of(2)), DataError,
                         message_contains("its folder cannot be synced"));
  }
  CHECK(load_training(path).counters.at("epoch") == 2);  // complete, but possibly not yet synced
  CHECK(files_in(folder.path("")) == 1);
}

TEST_CASE("reliability: short and interrupted reads and writes change nothing",
          "[train][reliability]") {
  const ScratchFolder folder;
  save_training(folder.path("whole"), state_of(3));
  {
    const SystemFaults faults({.max_bytes = 5, .interruptions = 7});
    save_training(folder.path("pieces"), state_of(3));
  }
  CHECK(read_file(folder.path("pieces")) == read_file(folder.path("whole")));
  const SystemFaults faults({.max_bytes = 3, .interruptions = 7});
  const TrainingState back = load_training(folder.path("whole"));
  CHECK(same_bytes(back.model.at("w"), state_of(3).model.at("w")));
  CHECK(faults.calls() == std::vector<std::string>{"pread"});
}

TEST_CASE("reliability: a checkpoint is read once", "[train][reliability]") {
  const ScratchFolder folder;
  Random random(1);
  const Linear saved({.in = 30, .out = 20}, random);
  save_model(folder.path("m"), saved, {{"in", "30"}});
  const SystemFaults faults({});
  Checkpoint file = read_checkpoint(folder.path("m"));
  REQUIRE(file.info.metadata.at("in") == "30");
  Linear loaded({.in = 30, .out = 20}, random, {.fill = Fill::deferred});
  load_model(std::move(file), loaded);
  CHECK(faults.read == std::filesystem::file_size(folder.path("m")));
  CHECK(content_hash(loaded) == content_hash(saved));
}

TEST_CASE("reliability: a file that ends before its length is an error", "[train][reliability]") {
  const ScratchFolder folder;
  const std::string path = folder.path("state");
  save_training(path, state_of(1));
  const std::uint64_t size = read_file(path).size();
  for (const std::uint64_t end :
       {std::uint64_t{0}, std::uint64_t{5}, std::uint64_t{40}, size - 1}) {
    const SystemFaults faults({.file_bytes = end});
    CHECK_THROWS_MATCHES(load_training(path), DataError,
                         message_contains(detail::concat("ends at byte ", end)));
  }
}

TEST_CASE("reliability: a log is read completely in small pieces with signals between them",
          "[data][reliability]") {
  const ScratchFolder folder;
  std::string text;
  for (int i = 0; i < 300; ++i)
    text += detail::concat(i % 7, "::", i % 31, "::3::", 1000 + i, "\n");
  const Interactions expected = read_interactions(folder.write("ratings.dat", text));
  const std::string pipe = folder.path("pipe");
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);

  // A timer whose handler does not restart interrupted system calls.
  struct sigaction action = {};
  struct sigaction before = {};
  action.sa_handler = [](int) {};
  REQUIRE(sigaction(SIGALRM, &action, &before) == 0);
  const itimerval timer{.it_interval = {.tv_sec = 0, .tv_usec = 500},
                        .it_value = {.tv_sec = 0, .tv_usec = 500}};
  // The writer's thread blocks the signal, so that the reader receives it; a closed pipe does not
  // end the program.
  sigset_t alarm;
  sigemptyset(&alarm);
  sigaddset(&alarm, SIGALRM);
  pthread_sigmask(SIG_BLOCK, &alarm, nullptr);
  std::thread writer([&] {
    sigset_t broken;
    sigemptyset(&broken);
    sigaddset(&broken, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &broken, nullptr);
    const int descriptor = ::open(pipe.c_str(), O_WRONLY);
    for (std::size_t at = 0; at < text.size(); at += 61) {
      (void)!::write(descriptor, text.data() + at, std::min<std::size_t>(61, text.size() - at));
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ::close(descriptor);
  });
  pthread_sigmask(SIG_UNBLOCK, &alarm, nullptr);
  REQUIRE(setitimer(ITIMER_REAL, &timer, nullptr) == 0);
  Interactions got;
  std::string error;
  try {
    got = read_interactions(pipe, {.format = Format::ratings_dat});
  } catch (const std::exception& caught) {
    error = caught.what();
  }
  const itimerval off{};
  setitimer(ITIMER_REAL, &off, nullptr);
  // Unblocks a writer that waits for a reader.
  const int release = ::open(pipe.c_str(), O_RDONLY | O_NONBLOCK);
  writer.join();
  ::close(release);
  sigaction(SIGALRM, &before, nullptr);
  CHECK(error == "");
  CHECK(got.user == expected.user);
  CHECK(got.item == expected.item);
  CHECK(got.time == expected.time);
}
