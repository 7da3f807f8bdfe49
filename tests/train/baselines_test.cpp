/// Baselines that count: worked examples, naive loops, errors, any number of threads.

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "refrain/core/parallel.hpp"
#include "refrain/train/cooccurrence.hpp"
#include "refrain/train/evaluate.hpp"
#include "refrain/train/naive_bayes.hpp"
#include "refrain/train/ngram.hpp"
#include "refrain/train/popularity.hpp"
#include "support/catch.hpp"
#include "support/ragged.hpp"

using namespace refrain;

namespace {

using test::Ids;
using test::ragged;

Tensor histories(const std::vector<Ids>& rows) {
  Tensor ids({static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(rows[0].size())},
             DType::i32);
  std::int32_t* out = ids.data<std::int32_t>();
  for (const Ids& row : rows) out = std::copy(row.begin(), row.end(), out);
  return ids;
}

std::vector<float> values(const Tensor& scores) {
  return {scores.data<float>(), scores.data<float>() + scores.numel()};
}

/// Rows of up to 12 skewed ids in [lowest, ids).
RaggedIds random_rows(std::int64_t rows, std::int32_t lowest, std::int32_t ids,
                      std::uint64_t seed) {
  Random random(seed);
  RaggedIds made;
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t length = random.below(13);
    for (std::int64_t i = 0; i < length; ++i) {
      const std::int64_t range = 1 + random.below(ids - lowest);
      made.add(lowest + static_cast<std::int32_t>(random.below(range)));
    }
    made.end_row();
  }
  return made;
}

Tensor random_histories(std::int64_t rows, std::int64_t length, std::int32_t ids,
                        std::uint64_t seed) {
  Random random(seed);
  Tensor made({rows, length}, DType::i32);
  for (std::int64_t i = 0; i < made.numel(); ++i)
    made.data<std::int32_t>()[i] = static_cast<std::int32_t>(random.below(ids));
  return made;
}

/// P_k of the docstring by its formula, over all rows for each item.
double naive_probability(const RaggedIds& rows, std::int32_t item, const Ids& history,
                         std::size_t order, std::int32_t first, std::int32_t ids) {
  if (order == 0) return 1.0 / (ids - first);
  const double shorter = naive_probability(rows, item, history, order - 1, first, ids);
  const std::size_t length = order - 1;
  if (history.size() < length) return shorter;
  const Ids context(history.end() - static_cast<std::ptrdiff_t>(length), history.end());
  if (std::any_of(context.begin(), context.end(), [&](std::int32_t id) { return id < first; }))
    return shorter;
  std::map<std::int32_t, double> followers;
  double total = 0;
  for (std::int64_t row = 0; row < rows.rows(); ++row) {
    for (std::size_t at = length; at < rows[row].size(); ++at) {
      if (rows[row][at] < first) continue;
      if (!std::equal(context.begin(), context.end(), rows[row].subspan(at - length).begin()))
        continue;
      followers[rows[row][at]] += 1;
      total += 1;
    }
  }
  if (followers.empty()) return shorter;
  const double distinct = static_cast<double>(followers.size());
  return (followers[item] + distinct * shorter) / (total + distinct);
}

}  // namespace

TEST_CASE("baselines: Witten-Bell probabilities of a worked example", "[train][baselines]") {
  // Items a = 0, b = 1, c = 2; sequences a b a b and a c.
  const RaggedIds rows = ragged({{0, 1, 0, 1}, {0, 2}});
  const NGram unigram(rows, {.ids = 3, .order = 1, .first_item = 0});
  // 3 a, 2 b, 1 c: P(a) = (3 + 3 / 3) / (6 + 3).
  const std::vector<float> one = values(unigram.scores(histories({{0}})));
  CHECK(one[0] == Approx(4.0 / 9));
  CHECK(one[1] == Approx(3.0 / 9));
  CHECK(one[2] == Approx(2.0 / 9));
  // After a: b twice, c once. P(b | a) = (2 + 2 * 3 / 9) / (3 + 2).
  const NGram bigram(rows, {.ids = 3, .order = 2, .first_item = 0});
  const std::vector<float> two = values(bigram.scores(histories({{0}})));
  CHECK(two[0] == Approx((0 + 2 * 4.0 / 9) / 5));
  CHECK(two[1] == Approx((2 + 2 * 3.0 / 9) / 5));
  CHECK(two[2] == Approx((1 + 2 * 2.0 / 9) / 5));
  // After b a: b once. P(b | b a) = (1 + P(b | a)) / 2.
  const NGram trigram(rows, {.ids = 3, .order = 3, .first_item = 0});
  const std::vector<float> three = values(trigram.scores(histories({{1, 0}})));
  CHECK(three[1] == Approx((1 + (2 + 2 * 3.0 / 9) / 5) / 2));
  CHECK(three[2] == Approx((0 + (1 + 2 * 2.0 / 9) / 5) / 2));
  // Nothing follows c.
  CHECK(values(trigram.scores(histories({{1, 2}}))) == one);
}

TEST_CASE("baselines: n-grams equal a naive loop", "[train][baselines]") {
  const std::int32_t ids = 14;
  const RaggedIds rows = random_rows(60, 2, ids, 1);  // ids below 4 are special
  const Tensor queries = random_histories(40, 4, ids, 2);
  for (const std::int64_t order : {1, 2, 3, 4}) {
    NGram model(rows, {.ids = ids, .order = order});
    CHECK(model.length() == std::max<std::int64_t>(1, order - 1));
    const Tensor scores = model.scores(queries);
    REQUIRE(scores.shape() == Shape{40, ids});
    for (std::int64_t q = 0; q < 40; ++q) {
      const std::int32_t* begin = queries.data<std::int32_t>() + 4 * q;
      double sum = 0;
      for (std::int32_t item = 0; item < ids; ++item) {
        const float got = scores.data<float>()[q * ids + item];
        const double expected =
            item < special_ids
                ? 0
                : naive_probability(rows, item, Ids(begin, begin + 4),
                                    static_cast<std::size_t>(order), special_ids, ids);
        CHECK(got == Approx(expected).epsilon(1e-6));
        sum += got;
      }
      CHECK(sum == Approx(1));
    }
  }
}

TEST_CASE("baselines: co-occurrence of a worked example", "[train][baselines]") {
  // Items a = 0 to d = 3. a is in 3 rows, b in 2, c in 2, d in 1.
  const RaggedIds rows = ragged({{0, 1}, {0, 1, 2, 0}, {0, 2}, {3}});
  const Cooccurrence counts(rows, {.ids = 4, .first_item = 0, .weight = CooccurrenceWeight::count});
  // a with b and c in two rows each; a itself and d share no row with it: -1 / (1 + 3), -1 / 2.
  CHECK(values(counts.scores(histories({{0}}))) == std::vector<float>{-0.25f, 2, 2, -0.5f});
  // b: a in 2 rows, c in 1. The repeated b counts once.
  CHECK(values(counts.scores(histories({{1, 0, 1}}))) == std::vector<float>{2, 2, 3, -0.5f});
  // From b, in 2 rows: a 2 / 2, c 1 / 2. From a, in 3 rows: b and c 2 / 3.
  const Cooccurrence conditional(rows, {.ids = 4, .first_item = 0});
  const std::vector<float> shares = values(conditional.scores(histories({{1, 0}})));
  CHECK(shares[0] == Approx(1));
  CHECK(shares[1] == Approx(2.0 / 3));
  CHECK(shares[2] == Approx(1.0 / 2 + 2.0 / 3));
  const Cooccurrence cosine(rows,
                            {.ids = 4, .first_item = 0, .weight = CooccurrenceWeight::cosine});
  const std::vector<float> scores = values(cosine.scores(histories({{1, 0}})));
  CHECK(scores[0] == Approx(2 / std::sqrt(6.0)));
  CHECK(scores[1] == Approx(2 / std::sqrt(6.0)));
  CHECK(scores[2] == Approx(2 / std::sqrt(6.0) + 1 / std::sqrt(4.0)));
  // Only the newest items count.
  const Cooccurrence last(
      rows, {.ids = 4, .first_item = 0, .length = 1, .weight = CooccurrenceWeight::count});
  CHECK(values(last.scores(histories({{1, 0}}))) == std::vector<float>{-0.25f, 2, 2, -0.5f});
}

TEST_CASE("baselines: co-occurrence equals a naive loop in one and in two domains",
          "[train][baselines]") {
  const std::int32_t ids = 20;
  const std::int32_t target_ids = 9;
  const RaggedIds sources = random_rows(70, 2, ids, 3);
  const RaggedIds targets = random_rows(70, 0, target_ids, 4);
  const Tensor queries = random_histories(30, 6, ids, 5);
  for (const bool is_one_domain : {true, false}) {
    const RaggedIds& others = is_one_domain ? sources : targets;
    const std::int32_t width = is_one_domain ? ids : target_ids;
    const std::int32_t first = is_one_domain ? special_ids : 0;
    for (const auto weight :
         {CooccurrenceWeight::count, CooccurrenceWeight::conditional, CooccurrenceWeight::cosine}) {
      const CooccurrenceOptions options{.ids = ids, .length = 5, .weight = weight};
      Cooccurrence model = is_one_domain ? Cooccurrence(sources, options)
                                         : Cooccurrence(sources, targets, target_ids, options);
      const Tensor scores = model.scores(queries);
      REQUIRE(scores.shape() == Shape{30, width});
      const auto has = [](const RaggedIds& rows, std::int64_t row, std::int32_t id) {
        return std::find(rows[row].begin(), rows[row].end(), id) != rows[row].end();
      };
      const auto rows_with = [&](const RaggedIds& rows, std::int32_t id) {
        double count = 0;
        for (std::int64_t row = 0; row < rows.rows(); ++row) count += has(rows, row, id) ? 1 : 0;
        return count;
      };
      for (std::int64_t q = 0; q < 30; ++q) {
        const std::int32_t* begin = queries.data<std::int32_t>() + 6 * q;
        const std::set<std::int32_t> history(begin + 1, begin + 6);
        for (std::int32_t j = first; j < width; ++j) {
          double expected = 0;
          for (const std::int32_t i : history) {
            if (i < special_ids || (is_one_domain && i == j)) continue;
            double both = 0;
            for (std::int64_t row = 0; row < sources.rows(); ++row)
              both += has(sources, row, i) && has(others, row, j) ? 1 : 0;
            if (both == 0) continue;
            const double of_i = rows_with(sources, i);
            if (weight == CooccurrenceWeight::count) expected += both;
            if (weight == CooccurrenceWeight::conditional) expected += both / of_i;
            if (weight == CooccurrenceWeight::cosine)
              expected += both / std::sqrt(of_i * rows_with(others, j));
          }
          if (expected == 0) expected = -1 / (1 + rows_with(others, j));
          CHECK(scores.data<float>()[q * width + j] == Approx(expected).epsilon(1e-6));
        }
      }
    }
  }
}

TEST_CASE("baselines: naive Bayes of a worked example", "[train][baselines]") {
  // Items a = 0, b = 1; label 0: a a b, label 1: b and b.
  const RaggedIds rows = ragged({{0, 0, 1}, {1}, {1}});
  const TransferExamples training{.source = {0, 1, 2}, .target = {0, 1, 1}};
  const NaiveBayes model(rows, training, {.ids = 2, .classes = 2, .first_item = 0});
  const std::vector<float> scores = values(model.scores(histories({{0, 0}})));
  CHECK(scores[0] == Approx(std::log(2.0 / 5) + 2 * std::log(3.0 / 5)));
  CHECK(scores[1] == Approx(std::log(3.0 / 5) + 2 * std::log(1.0 / 4)));
}

TEST_CASE("baselines: naive Bayes equals a naive loop", "[train][baselines]") {
  const std::int32_t ids = 15;
  const std::int32_t classes = 4;
  const RaggedIds rows = random_rows(50, 2, ids, 6);
  TransferExamples training;
  Random random(7);
  for (std::int64_t row = 0; row < 50; row += 2) {
    training.source.push_back(row);
    training.target.push_back(static_cast<std::int32_t>(random.below(classes - 1)));  // one unused
  }
  const Tensor queries = random_histories(20, 5, ids, 8);
  const NaiveBayes model(rows, training,
                         {.ids = ids, .classes = classes, .length = 4, .smoothing = 0.5});
  const Tensor scores = model.scores(queries);
  for (std::int64_t q = 0; q < 20; ++q) {
    for (std::int32_t label = 0; label < classes; ++label) {
      double examples = 0;
      std::map<std::int32_t, double> counts;
      double events = 0;
      for (std::size_t e = 0; e < training.target.size(); ++e) {
        if (training.target[e] != label) continue;
        ++examples;
        const auto row = rows[training.source[e]];
        for (const std::int32_t id : row.last(std::min<std::size_t>(4, row.size()))) {
          if (id < special_ids) continue;
          ++counts[id];
          ++events;
        }
      }
      double expected = std::log((examples + 0.5) / (25 + 0.5 * classes));
      for (std::int64_t i = 1; i < 5; ++i) {
        const std::int32_t id = queries.data<std::int32_t>()[5 * q + i];
        if (id < special_ids) continue;
        expected += std::log((counts[id] + 0.5) / (events + 0.5 * (ids - special_ids)));
      }
      CHECK(scores.data<float>()[q * classes + label] == Approx(expected).epsilon(1e-5));
    }
  }
}

TEST_CASE("baselines: frequencies as logits", "[train][baselines]") {
  const Tensor row = log_frequencies(Ids{2, 0, 2}, 3);
  CHECK(values(row) == std::vector<float>{static_cast<float>(std::log(1.5)),
                                          static_cast<float>(std::log(0.5)),
                                          static_cast<float>(std::log(2.5))});
  const MostPopular model(row, 7);
  CHECK(model.length() == 7);
  const std::vector<float> scores = values(model.scores(histories({{0, 1}, {2, 2}})));
  CHECK(std::vector<float>(scores.begin() + 3, scores.end()) == values(row));
  CHECK(std::vector<float>(scores.begin(), scores.begin() + 3) == values(row));
}

TEST_CASE("baselines: scores do not depend on the number of threads",
          "[train][baselines][determinism]") {
  const RaggedIds rows = random_rows(300, 4, 50, 9);
  const Tensor queries = random_histories(70, 8, 50, 10);
  TransferExamples labels;
  for (std::int64_t row = 0; row < 300; ++row) {
    labels.source.push_back(row);
    labels.target.push_back(static_cast<std::int32_t>(row % 3));
  }
  std::vector<std::vector<float>> first;
  for (const int count : {1, 2, 5}) {
    set_threads(count);
    const std::vector<std::vector<float>> scores{
        values(NGram(rows, {.ids = 50}).scores(queries)),
        values(Cooccurrence(rows, {.ids = 50}).scores(queries)),
        values(NaiveBayes(rows, labels, {.ids = 50, .classes = 3}).scores(queries))};
    if (first.empty()) first = scores;
    CHECK(scores == first);
  }
  set_threads(0);
}

TEST_CASE("baselines: each is a model that evaluate() ranks", "[train][baselines]") {
  // Walks on a circle: the last item determines the next one.
  RaggedIds rows;
  for (std::int32_t user = 0; user < 40; ++user) {
    for (std::int32_t t = 0; t < 6; ++t) rows.add(special_ids + (user * 3 + t) % 20);
    rows.end_row();
  }
  const HeldOut part{.rows = rows, .origin = {}};
  const EvaluateOptions options{.cutoffs = {1, 5}};
  NGram ngram(rows, {.ids = 24, .order = 2});
  CHECK(evaluate(ngram, part, options).hr(1) == 1);
  Cooccurrence together(rows, {.ids = 24, .length = 5});
  // The next item shares 30 sequences with the history, as does the one before it; three are above.
  CHECK(evaluate(together, part, options).hr(5) == 1);
  MostPopular popular(log_frequencies(rows, 24), 5);
  CHECK(evaluate(popular, part, options).hr(5) == Approx(5.0 / 20));
}

TEST_CASE("baselines: bad options and ids are errors", "[train][baselines]") {
  const RaggedIds rows = ragged({{4, 5}, {6}});
  CHECK_THROWS_WITH(NGram(rows, {.ids = 7, .order = 0}), "NGram: expected order 1 to 8, got 0");
  CHECK_THROWS_AS(NGram(rows, {.ids = 7, .order = 9}), OptionError);
  CHECK_THROWS_WITH(NGram(rows, {.ids = 6}), "NGram: expected ids in [0, 6), got 6");
  CHECK_THROWS_AS(NGram(rows, {.ids = 4}), OptionError);
  CHECK_THROWS_AS(NGram(rows, {.ids = 7, .first_item = -1}), OptionError);
  CHECK_THROWS_WITH(NGram(ragged({{1}}), {.ids = 7}),
                    "NGram: expected sequences with at least one item, got none");
  CHECK_THROWS_WITH(Cooccurrence(rows, {.ids = 7, .length = 0}),
                    "Cooccurrence: expected length >= 1, got 0");
  CHECK_THROWS_AS(Cooccurrence(rows, {.ids = 6}), OptionError);
  CHECK_THROWS_WITH(Cooccurrence(rows, ragged({{0}}), 1, {.ids = 7}),
                    "Cooccurrence: expected a row of targets for each of the 2 rows, got 1");
  CHECK_THROWS_AS(Cooccurrence(rows, ragged({{0}, {1}}), 1, {.ids = 7}), OptionError);
  const TransferExamples labels{.source = {0, 1}, .target = {0, 1}};
  CHECK_THROWS_AS(NaiveBayes(rows, labels, {.ids = 7, .classes = 1}), OptionError);
  CHECK_THROWS_AS(NaiveBayes(rows, labels, {.ids = 7, .classes = 0}), OptionError);
  CHECK_THROWS_WITH(NaiveBayes(rows, labels, {.ids = 7, .classes = 2, .smoothing = 0}),
                    "NaiveBayes: expected a smoothing above 0, got 0");
  CHECK_THROWS_AS(NaiveBayes(rows, {}, {.ids = 7, .classes = 2}), OptionError);
  CHECK_THROWS_AS(NaiveBayes(rows, {.source = {2}, .target = {0}}, {.ids = 7, .classes = 2}),
                  OptionError);
  CHECK_THROWS_AS(log_frequencies(Ids{3}, 3), OptionError);
  CHECK_THROWS_AS(MostPopular(Tensor::zeros({3}, DType::f64), 1), DTypeError);
  const NGram model(rows, {.ids = 7});
  CHECK_THROWS_AS(model.scores(histories({{7}})), OptionError);
  CHECK_THROWS_AS(model.scores(histories({{-1}})), OptionError);
  CHECK_THROWS_AS(model.scores(Tensor::zeros({2}, DType::i32)), ShapeError);
  CHECK_THROWS_AS(model.scores(Tensor::zeros({2, 2}, DType::f32)), DTypeError);
}
