/// Saves checkpoints in a process that is killed (SIGKILL) at random moments, and checks the files
/// each time.
///   refrain_kill_while_saving FOLDER KILLS [SEED]
///
/// First files of every kind, whose contents follow from the number of the save: after a kill each
/// contains the last save that returned or the one in progress, bit for bit. Then training that
/// saves after each step: killed and resumed any number of times, it ends with the bytes of an
/// uninterrupted run.

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <string>
#include <thread>

#include "refrain/core/parallel.hpp"
#include "refrain/nn/dropout.hpp"
#include "refrain/nn/linear.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain/train/trainer.hpp"

namespace {

using namespace refrain;
namespace fs = std::filesystem;

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "FAILED: %s\n", what.c_str());
  std::exit(1);
}

/// State shared by parent and child, also after the child has ended.
struct Shared {
  std::atomic<std::int64_t> begun{0};     ///< number of the save that began last
  std::atomic<std::int64_t> returned{0};  ///< of the one that returned last
  std::atomic<bool> finished{false};
};

Shared& make_shared_memory() {
  void* const block =
      ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (block == MAP_FAILED) fail("no shared memory");
  return *new (block) Shared;
}

/// Runs work() in a child process.
template <class Work>
pid_t start(Work work) {
  const pid_t child = ::fork();
  if (child < 0) fail("no child process");
  if (child > 0) return child;
  try {
    work();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "FAILED in the child: %s\n", error.what());
    ::_exit(2);
  }
  ::_exit(0);
}

/// Kills the child after a delay; true when it was still running. A child that failed ends the
/// program.
bool kill_after(pid_t child, std::chrono::microseconds delay) {
  std::this_thread::sleep_for(delay);
  ::kill(child, SIGKILL);
  int status = 0;
  if (::waitpid(child, &status, 0) != child) fail("the child is lost");
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) return true;
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    fail("the child ended by itself, with an error");
  return false;
}

/// A delay from a fraction of a millisecond to an eighth of a second, log-uniform, since disks
/// differ.
std::chrono::microseconds some_time(Random& random) {
  return std::chrono::microseconds(random.below(1 << (10 + random.below(8))));
}

std::size_t temporary_files(const std::string& folder) {
  std::size_t count = 0;
  for (const auto& entry : fs::directory_iterator(folder))
    count += entry.path().extension() == ".tmp" ? 1u : 0u;
  return count;
}

// ---- files whose contents follow from a number ----

constexpr std::int64_t kinds = 3;
constexpr const char* names[kinds] = {"plain.safetensors", "patch.safetensors",
                                      "state.safetensors"};
const PatchTarget target{.base_hash = "0123456789abcdef", .task = "task"};

/// Sizes change with the number, so that files grow and shrink.
TensorMap tensors_of_save(std::int64_t number) {
  Random random(static_cast<std::uint64_t>(number));
  TensorMap tensors;
  for (const char* name : {"a", "b"}) {
    Tensor tensor({20'000 + 5'000 * (number % 7), 2}, DType::f32);
    random.fill_normal(tensor);
    tensors[name] = tensor;
  }
  tensors["number"] = Tensor::from<std::int64_t>({}, {number});
  return tensors;
}

TrainingState state_of_save(std::int64_t number) {
  TrainingState state;
  state.model = tensors_of_save(number);
  state.counters = {{"number", number}};
  state.randoms["r"] = {.seed = static_cast<std::uint64_t>(number), .stream = 1, .position = 2};
  return state;
}

void save(const std::string& folder, std::int64_t number) {
  const std::string path = folder + "/" + names[number % kinds];
  switch (number % kinds) {
    case 0:
      return write_safetensors(path, {.tensors = tensors_of_save(number),
                                      .metadata = {{"number", std::to_string(number)}}});
    case 1:
      return save_patch(path, tensors_of_save(number), target,
                        {{"number", std::to_string(number)}});
    default:
      return save_training(path, state_of_save(number));
  }
}

void expect_tensors(const TensorMap& got, std::int64_t number, const std::string& path) {
  if (content_hash(got) != content_hash(tensors_of_save(number))) fail(path + " mixes contents");
}

/// The number of the save whose contents a file holds completely.
std::int64_t check(const std::string& path, std::int64_t kind) {
  if (kind == 2) {
    const TrainingState state = load_training(path);
    const std::int64_t number = state.counters.at("number");
    if (state.randoms.at("r").seed != static_cast<std::uint64_t>(number))
      fail(path + " mixes contents");
    expect_tensors(state.model, number, path);
    return number;
  }
  if (kind == 1) checkpoint_info(path);
  const SafetensorsFile file = read_safetensors(path);
  const std::int64_t number = std::stoll(file.metadata.at("number"));
  expect_tensors(file.tensors, number, path);
  return number;
}

struct Counts {
  int kills = 0, with_temporary = 0, old_kept = 0, new_there = 0;
};

/// Checks the files after a kill: the file of the save in progress holds it or the previous
/// contents; the others hold their last saves.
void look_at(const std::string& folder, const Shared& shared, Counts& counts) {
  const std::int64_t begun = shared.begun;
  const std::int64_t returned = shared.returned;
  for (std::int64_t kind = 0; kind < kinds; ++kind) {
    // The last number of this kind that returned: numbers increase by one.
    const std::int64_t last = returned - ((returned - kind) % kinds + kinds) % kinds;
    const std::int64_t number = check(folder + "/" + names[kind], kind);
    const bool is_begun = begun > returned && begun % kinds == kind && number == begun;
    if (number != last && !is_begun)
      fail(detail::concat(names[kind], " holds save ", number, ", expected ", last));
    if (begun > returned && begun % kinds == kind)
      (is_begun ? counts.new_there : counts.old_kept) += 1;
  }
  const std::size_t temporaries = temporary_files(folder);
  if (temporaries > 1)
    fail(detail::concat(temporaries,
                        " temporary files after one kill: older ones were not removed"));
  counts.with_temporary += temporaries > 0 ? 1 : 0;
}

void kill_saves(const std::string& folder, int kills, Random& random) {
  Shared& shared = make_shared_memory();
  for (std::int64_t number = 0; number < kinds; ++number) save(folder, number);
  shared.begun = shared.returned = kinds - 1;
  Counts counts;
  while (counts.kills < kills) {
    const pid_t child = start([&] {
      // An interrupted save is repeated, as in a program that resumes.
      for (std::int64_t number = shared.returned + 1;; ++number) {
        shared.begun = number;
        save(folder, number);
        shared.returned = number;
      }
    });
    kill_after(child, some_time(random));
    ++counts.kills;
    look_at(folder, shared, counts);
  }
  for (std::int64_t number = shared.returned + 1, end = number + kinds; number < end; ++number)
    save(folder, number);
  if (temporary_files(folder) != 0) fail("temporary files are left after undisturbed saves");
  std::printf(
      "%d kills while saving: %lld saves returned; %d kills left a temporary file; of saves cut "
      "short %d left the old file, %d "
      "the new\n",
      counts.kills, static_cast<long long>(shared.returned.load()), counts.with_temporary,
      counts.old_kept, counts.new_there);
}

// ---- training ----

class Net final : public Module {
 public:
  Net() : Net(Random(3)) {}
  void visit_members(Visitor& visitor) override {
    visitor.module("first", first);
    visitor.module("dropout", dropout);
    visitor.module("second", second);
  }
  Linear first;
  Dropout dropout;
  Linear second;

 private:
  explicit Net(Random random)
      : first({.in = 40, .out = 60, .deviation = 0.3}, random),
        dropout({.keep = 0.7}, random.split(1)),
        second({.in = 60, .out = 1, .deviation = 0.3}, random) {}
};

/// Trains to the end, from the checkpoint if there is one, and writes the model.
void train(const std::string& checkpoint, const std::string& out) {
  set_threads(1);
  Net net;
  Adam adam(net, {.learning_rate = 0.01});
  Trainer trainer(net, adam,
                  {.epochs = 3,
                   .steps_per_epoch = 20,
                   .restore_best = false,
                   .checkpoint = checkpoint,
                   .checkpoint_seconds = checkpoint.empty() ? 0 : 1e-9});
  if (!checkpoint.empty() && fs::exists(checkpoint)) trainer.resume(checkpoint);
  trainer.run(
      [&](std::int64_t epoch, std::int64_t step) {
        Random random(static_cast<std::uint64_t>(epoch * 100 + step));
        Tensor x({16, 40}, DType::f32);
        random.fill_normal(x);
        const Variable y = net.second(net.dropout(relu(net.first(Variable(x)))));
        return mean(multiply(y, y));
      },
      [&](std::int64_t) { return 0.0; });
  save_model(out, net, {});
}

void kill_training(const std::string& folder, int kills, Random& random) {
  const std::string state = folder + "/state";
  const std::string out = folder + "/model";
  const auto run = [&](const std::string& checkpoint, const std::string& to) {
    return start([&] { train(checkpoint, to); });
  };
  int status = 0;
  if (::waitpid(run("", folder + "/undisturbed"), &status, 0) < 0 || status != 0)
    fail("the undisturbed run failed");
  int killed = 0;
  int runs = 0;
  while (killed < kills) {
    fs::remove(state);
    fs::remove(out);
    while (kill_after(run(state, out), some_time(random))) {
      ++killed;
      if (fs::exists(state)) load_training(state);
    }
    ++runs;
    Net a, b;
    load_model(out, a);
    load_model(folder + "/undisturbed", b);
    if (content_hash(a) != content_hash(b)) fail("a killed and resumed run ended elsewhere");
  }
  if (temporary_files(folder) != 0) fail("temporary files are left after training");
  std::printf("%d kills while training: %d runs ended with the bytes of the undisturbed one\n",
              killed, runs);
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 3) fail("usage: refrain_kill_while_saving FOLDER KILLS [SEED]");
  try {
    const int kills = std::stoi(arguments[2]);
    Random random(count > 3 ? std::stoull(arguments[3]) : 1);
    const std::string folder = arguments[1];
    for (const char* part : {"/saves", "/training"}) {
      fs::remove_all(folder + part);
      fs::create_directories(folder + part);
    }
    kill_saves(folder + "/saves", kills - kills / 4, random);
    kill_training(folder + "/training", kills / 4, random);
  } catch (const std::exception& error) {
    fail(error.what());
  }
}
