// What to watch next: a recommender of one's own, made of Refrain's layers. It learns from
// generated histories, is saved, read back from its file, and recommends. See docs/linking.md for
// the ways to build it.

#include <cstdio>
#include <exception>
#include <limits>
#include <refrain/refrain.hpp>
#include <string>
#include <vector>

namespace {

using namespace refrain;

/// A convolutional network over the items of a sequence. One table holds the items' vectors at both
/// ends:
///
///   h = block2(block1(items[ids])),   scores[b,t,:] = items h[b,t,:] + bias
///
/// ids i32 [B,T] -> hidden vectors [B,T,C] -> scores of the item after step t.
class EpisodeModel final : public Module {
 public:
  EpisodeModel(std::int64_t items, std::int64_t channels, Random& random)
      : items_({.count = items, .width = channels, .deviation = 0.1}, random),
        bias_(initialize::constant({items}, 0, {})),
        near_({.channels = channels, .dilation = 1, .deviation = 0.1}, random),
        far_({.channels = channels, .dilation = 4, .deviation = 0.1}, random) {}

  Variable hidden(const Tensor& ids) const { return far_(near_(items_(ids))); }

  Variable loss(const SequenceBatch& batch) const {
    return softmax_loss(hidden(batch.ids), items_.weight(), bias_, batch.targets,
                        {.ignored = padding_id});
  }

  /// Scores of all items after the last step: [B,T] -> [B,items].
  Tensor scores(const Tensor& ids) const {
    const NoGrad off;
    return linear(select_step(hidden(ids), -1), items_.weight(), bias_).value();
  }

  /// From these names follow parameters, freezing, optimizers and files.
  void visit_members(Visitor& visitor) override {
    visitor.module("items", items_);
    visitor.parameter("bias", bias_);
    visitor.module("near", near_);
    visitor.module("far", far_);
  }

 private:
  Embedding items_;
  Parameter bias_;
  ConvBlock near_;
  ConvBlock far_;
};

constexpr std::int64_t channels = 32;
constexpr std::int64_t length = 13;  ///< of the longest history

/// Viewers who follow two of four series each, from the first episode on, now the one, now the
/// other. A file would come in by read_sequences(path).
Sequences histories(std::int64_t viewers, Random& random) {
  const std::vector<std::string> series{"Harbour", "Atlas", "Night Shift", "The Orchard"};
  Sequences log;
  for (std::int64_t viewer = 0; viewer < viewers; ++viewer) {
    const std::int64_t first = random.below(4);
    const std::int64_t second = (first + 1 + random.below(3)) % 4;
    int seen[2] = {0, 0};
    for (std::int64_t left = 2 + random.below(length - 1); left > 0; --left) {
      const std::size_t which = seen[0] == 10 || (seen[1] < 10 && random.below(2) == 1) ? 1 : 0;
      const std::string& title = series[static_cast<std::size_t>(which == 0 ? first : second)];
      log.rows.add(log.items.intern(title + " " + std::to_string(++seen[which])));
    }
    log.rows.end_row();
  }
  return log;
}

void train_and_save(const std::string& path) {
  Random random(1);
  const Sequences log = histories(1500, random);
  const Vocabulary vocabulary = Vocabulary::build(log);
  const RaggedIds sequences = encode(log, vocabulary);

  EpisodeModel model(vocabulary.size(), channels, random);
  Adam adam(model, {.learning_rate = 0.005});
  BatchSampler batches(sequences.rows(), {.batch_size = 50, .seed = 1});
  for (std::int64_t epoch = 0; epoch < 20; ++epoch) {
    double sum = 0;
    for (std::int64_t step = 0; step < batches.steps_per_epoch(); ++step) {
      adam.zero_grad();
      const Variable loss =
          model.loss(next_item_batch(sequences, batches.rows(epoch, step), length));
      backward(loss);
      adam.step();
      sum += loss.item();
    }
    if (epoch % 10 == 9) {
      std::printf("epoch %2d: loss %.3f\n", static_cast<int>(epoch + 1),
                  sum / static_cast<double>(batches.steps_per_epoch()));
    }
  }
  save_model(path, model, {{"vocabulary", vocabulary.serialize()}});
}

void recommend(const std::string& path, const std::vector<std::string>& watched) {
  Random random(0);
  Checkpoint file = read_checkpoint(path);
  const Vocabulary vocabulary = Vocabulary::deserialize(file.info.metadata.at("vocabulary"), path);
  EpisodeModel model(vocabulary.size(), channels, random);
  load_model(std::move(file), model);
  model.eval();

  RaggedIds history;
  for (const std::string& title : watched) history.add(vocabulary.find(title));
  history.end_row();
  const std::int64_t rows[] = {0};
  Tensor scores = model.scores(padded_batch(history, rows, length - 1));
  const auto leave_out = [&](std::int32_t id) {
    scores.data<float>()[id] = -std::numeric_limits<float>::infinity();
  };
  for (std::int32_t id = 0; id < special_ids; ++id) leave_out(id);
  for (const std::int32_t id : history[0]) leave_out(id);

  std::printf("after");
  for (const std::string& title : watched) std::printf(" %s,", title.c_str());
  std::printf(" watch:\n");
  const TopKResult best = top_k(scores, 2);
  for (const std::int32_t id : best.indices.span<std::int32_t>()) {
    std::printf("  %s\n", std::string(vocabulary.name(id)).c_str());
  }
}

}  // namespace

int main() {
  try {
    std::printf("Refrain %s, CPU kernels: %s\n", version(), cpu_isa());
    train_and_save("episodes.safetensors");
    recommend("episodes.safetensors",
              {"Harbour 1", "Atlas 1", "Atlas 2", "Harbour 2", "Harbour 3"});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "episodes: %s\n", error.what());
    return 1;
  }
  return 0;
}
