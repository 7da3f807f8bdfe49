// A user's program that trains the installed models: the patches of PeterRec on a frozen base, and
// CmnRec. Every loss must fall, and training patches must leave every byte of the base unchanged.
#include <cstdint>
#include <cstdio>
#include <refrain/train/content_hash.hpp>
#include <refrain/train/optimizer.hpp>
#include <refrain_models/cmnrec.hpp>
#include <refrain_models/peterrec.hpp>
#include <string>
#include <vector>

namespace {

using namespace refrain;

constexpr std::int64_t users = 32, length = 8, items = 12;

/// One sequence per user, in which each item is the successor of the previous one: i32
/// [users,length + 1].
Tensor cyclic_sequences(std::int64_t from, std::int64_t steps) {
  Tensor ids({users, steps}, DType::i32);
  for (std::int64_t user = 0; user < users; ++user) {
    for (std::int64_t t = 0; t < steps; ++t)
      ids.data<std::int32_t>()[user * steps + t] =
          static_cast<std::int32_t>((user + from + t) % items);
  }
  return ids;
}

/// First and last loss of several training steps.
struct Losses {
  double first = 0;
  double last = 0;
  bool fell() const { return last < 0.5 * first; }
};

template <class Loss>
Losses train(Module& module, const Loss& loss) {
  Adam adam(module, {.learning_rate = 0.01});
  Losses losses;
  for (int step = 0; step < 60; ++step) {
    adam.zero_grad();
    const Variable value = loss();
    backward(value);
    adam.step();
    losses.last = value.item();
    if (step == 0) losses.first = losses.last;
  }
  return losses;
}

bool train_peterrec() {
  Random random(1);
  models::NextItNet base({.items = items, .channels = 16, .dilations = {1, 2}, .deviation = 0.3},
                         random);
  const Losses base_losses = train(
      base, [&] { return base.loss(cyclic_sequences(0, length), cyclic_sequences(1, length)); });
  base.freeze();
  const std::string before = content_hash(base);

  // The task: the class of the user's last item, one of three; the last id is [TCL].
  Tensor ids = cyclic_sequences(0, length);
  std::vector<std::int32_t> classes;
  for (std::int64_t user = 0; user < users; ++user) {
    std::int32_t* row = ids.data<std::int32_t>() + user * length;
    classes.push_back(row[length - 2] % 3);
    row[length - 1] = items - 1;
  }
  const Tensor targets = Tensor::from<std::int32_t>({users}, classes);
  models::PatchSet task(base, {.head = {.targets = 3}, .tcl_id = items - 1}, random);
  const Losses task_losses = train(task, [&] { return base.with(task).loss(ids, targets); });
  const bool is_unchanged = content_hash(base) == before;
  std::printf("PeterRec: base %.3f to %.3f, patches %.3f to %.3f, base %s; ", base_losses.first,
              base_losses.last, task_losses.first, task_losses.last,
              is_unchanged ? "unchanged" : "CHANGED");
  return base_losses.fell() && task_losses.fell() && is_unchanged;
}

bool train_cmnrec() {
  Random random(2);
  models::CmnRec<Lstm> network(
      {.items = items, .embedding = 8, .hidden = 16, .words = 3, .word_size = 8, .attention = 8},
      random);
  const ChunkSchedule schedule = ChunkSchedule::tsc(length, 3);
  const Losses losses = train(network, [&] {
    return network.loss(cyclic_sequences(0, length), cyclic_sequences(1, length), schedule);
  });
  std::printf("CmnRec: %.3f to %.3f\n", losses.first, losses.last);
  return losses.fell();
}

}  // namespace

int main() {
  const bool patches_learn = train_peterrec();
  return train_cmnrec() && patches_learn ? 0 : 1;
}
