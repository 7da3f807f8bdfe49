// What to watch next: a recommender of one's own, made of Refrain's layers. It learns from
// generated histories, is saved, read back from its file, and recommends. See docs/linking.md for
// the ways to build it, and docs/guides/own_model.md for what can be changed.

#include <cstdio>
#include <exception>
#include <refrain/refrain.hpp>
#include <string>
#include <vector>

using namespace refrain;

/// A convolutional network over the items of a history. One table holds the items' vectors at both
/// ends:
///
///   h = far(near(items[ids])),   scores[b,t,:] = items h[b,t,:] + bias
///
/// ids i32 [B,T] -> hidden vectors [B,T,C] -> scores of the item after time step t.
struct EpisodeModel final : Module {
  Embedding items;
  Parameter bias;
  ConvBlock near, far;

  EpisodeModel(std::int64_t ids, Random& random)
      : items({.count = ids, .width = 32, .deviation = 0.1}, random),
        bias(initialize::constant({ids}, 0, {})),
        near({.channels = 32, .dilation = 1, .deviation = 0.1}, random),
        far({.channels = 32, .dilation = 4, .deviation = 0.1}, random) {}

  std::int64_t length() const { return 12; }
  Variable hidden(const Tensor& ids) const { return far(near(items(ids))); }
  Variable loss(const SequenceBatch& batch) const {
    return softmax_loss(hidden(batch.ids), items.weight(), bias, batch.targets,
                        {.ignored = padding_id});
  }
  Tensor scores(const Tensor& ids) const {
    return linear(select_step(hidden(ids), -1), items.weight(), bias).value();
  }
  void visit_members(Visitor& visitor) override {
    visitor.module("items", items);
    visitor.parameter("bias", bias, WeightDecay::exempt);
    visitor.module("near", near);
    visitor.module("far", far);
  }
};

/// Viewers who follow two of four series each, from the first episode on, now the one, now the
/// other. A file would come in by read_dataset(path).
Sequences histories(std::int64_t viewers, Random& random) {
  const std::vector<std::string> series{"Harbour", "Atlas", "Night Shift", "The Orchard"};
  Sequences log;
  for (std::int64_t viewer = 0; viewer < viewers; ++viewer) {
    const std::int64_t first = random.below(4);
    const std::int64_t second = (first + 1 + random.below(3)) % 4;
    int seen[2] = {0, 0};
    for (std::int64_t left = 2 + random.below(12); left > 0; --left) {
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
  const Dataset data = make_dataset(histories(1500, random));
  std::printf("%s\n", data.text().c_str());
  EpisodeModel model(data.vocabulary.size(), random);
  fit(model, data, {.epochs = 20, .batch = 50, .adam = {.learning_rate = 0.005}});
  std::printf("%s\n", evaluate(model, data.test, {.cutoffs = {1, 5}}).text().c_str());
  save_model(path, model, data.vocabulary);
}

void recommend_from(const std::string& path, const std::vector<std::string>& watched) {
  Random random(0);
  Checkpoint file = read_checkpoint(path);
  const Vocabulary vocabulary = vocabulary_of(file);
  EpisodeModel model(vocabulary.size(), random);
  load_model(std::move(file), model);
  std::printf("after");
  for (const std::string& title : watched) std::printf(" %s,", title.c_str());
  std::printf(" watch:\n");
  for (const Recommendation& each : recommend(model, vocabulary, watched, 2))
    std::printf("  %s\n", each.item.c_str());
}

int main() {
  try {
    std::printf("Refrain %s, CPU kernels: %s\n", version(), cpu_isa());
    train_and_save("episodes.safetensors");
    recommend_from("episodes.safetensors",
                   {"Harbour 1", "Atlas 1", "Atlas 2", "Harbour 2", "Harbour 3"});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "episodes: %s\n", error.what());
    return 1;
  }
  return 0;
}
