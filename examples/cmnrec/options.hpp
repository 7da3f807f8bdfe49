#pragma once
/// All options of the command line.

#include <cstdint>
#include <string>
#include <vector>

#include "cmnrec/schedule.hpp"
#include "common/options.hpp"
#include "refrain/data/batches.hpp"
#include "refrain/nn/chunked_memory.hpp"
#include "refrain/train/fit.hpp"

namespace refrain::cmnrec {

using examples::Between;

enum class ModelKind : std::uint8_t { cmnrec, srmn, gru4rec, lstm4rec, nextitnet, mostpop };
enum class ControllerKind : std::uint8_t { lstm, gru };
enum class LossKind : std::uint8_t { full, sampled };
enum class Protocol : std::uint8_t { full };
/// An entry of compare: a model, CmnRec with a schedule, or a baseline that counts items.
enum class Contender : std::uint8_t {
  srmn,
  tsc,
  pec,
  exc,
  lstm4rec,
  gru4rec,
  nextitnet,
  mostpop,
  ngram,
  cooccurrence
};

/// The conversion of behaviour to sequences.
struct DataOptions {
  std::int64_t min_item_count = 1;
  std::int64_t min_length = 5;
  std::vector<double> split{0.80, 0.02, 0.18};
  std::uint64_t split_seed = 1;
  bool leave_last_out = false;
};

/// A model's kind and sizes, which a file stores to reconstruct it. The kind determines which sizes
/// are used.
struct ModelOptions {
  ModelKind kind = ModelKind::cmnrec;
  Schedule schedule = {};    ///< of cmnrec
  std::int64_t slots = 4;    ///< m
  std::int64_t length = 50;  ///< T
  bool is_sampled = false;   ///< by its loss; NextItNet then has no ReLU before its head
  std::int64_t words = 0;    ///< N; 0: as many as slots
  std::int64_t word_size = 256;
  std::int64_t heads = 1;
  ControllerKind controller = ControllerKind::lstm;
  ChunkOrder order = ChunkOrder::paper;
  std::int64_t attention = 64;
  std::int64_t hidden = 256;
  std::int64_t embedding = 128;
  std::int64_t layers = 1;
  double keep = 1;
  bool tied = false;       ///< one item table for input and output
  double dropout = 0;      ///< probability of dropping; a factor beside `keep` where both act
  bool recompute = false;  ///< trades time for memory in training; not stored in files
  std::int64_t channels = 128;
  std::vector<std::int64_t> dilations{1, 4, 1, 4};

  bool has_memory() const { return kind == ModelKind::cmnrec || kind == ModelKind::srmn; }
  bool learns() const { return kind != ModelKind::mostpop; }
  /// The memory is accessed at every time step, so that there is no attention over a chunk.
  bool is_every_step() const {
    return kind == ModelKind::srmn || slots == length || schedule.is_every_step();
  }
  ChunkSchedule chunks() const {
    return kind == ModelKind::srmn ? ChunkSchedule::every_step(length) : schedule.of(slots, length);
  }
  /// "CmnRec TSC", "SRMN", "LSTM4Rec", ...
  std::string title() const;
};

struct LossOptions {
  LossKind kind = LossKind::full;
  std::int64_t negatives = 0;  ///< of the sampled loss; 0: a tenth of the items
  LossPositions at = LossPositions::all;
  StopOn stop_on = StopOn::loss;
  std::int64_t shift = 0;
};

struct CompareOptions {
  std::vector<Contender> models{Contender::srmn,        Contender::tsc,      Contender::pec,
                                Contender::exc,         Contender::lstm4rec, Contender::gru4rec,
                                Contender::nextitnet,   Contender::mostpop,  Contender::ngram,
                                Contender::cooccurrence};
  std::vector<std::int64_t> slots{4};
  std::vector<std::uint64_t> seeds{};  ///< empty: the value of --seed
  std::string results;                 ///< file of finished runs, JSON lines
  std::string curves;                  ///< prefix of the learning curves' files
  std::int64_t prediction_batch = 64;
  bool generate = false;
};

/// The learning rate without --learning-rate.
inline double default_learning_rate(ModelKind kind) {
  return kind == ModelKind::nextitnet ? 0.01 : 0.003;
}

struct Options {
  examples::LogOptions log;
  DataOptions data;
  ModelOptions model{.tied = true, .dropout = 0.3};
  LossOptions loss;
  /// learning rate 0: default_learning_rate() of each model
  examples::TrainOptions train{.epochs = 50, .batch = 128, .learning_rate = 0};
  examples::SearchOptions search;  ///< of train
  examples::WarmStart from;        ///< of train
  examples::RunOptions run;
  CompareOptions compare;
  examples::RecommendOptions recommend;
  examples::PrepareOptions prepare;
  std::string model_file = "cmnrec.safetensors";
  std::string state_file;  ///< file of --resume
  Protocol protocol = Protocol::full;
  bool without_seen = false;

  /// These options with the learning rate of a model's training.
  Options with_rate(ModelKind kind) const {
    Options own = *this;
    if (own.train.learning_rate == 0) own.train.learning_rate = default_learning_rate(kind);
    return own;
  }
};

/// Calls field(name, value, help text, range) for the sizes of one part of a model. The range is
/// omitted if the type of the value implies it.
template <class Model, class Field>
void visit_memory(Model& model, Field&& field) {
  field("words", model.words, "Memory words N; 0: as many as slots", Between{0, 4096});
  field("word_size", model.word_size, "Width W of a memory word", Between{1, 4096});
  field("heads", model.heads, "Read heads", Between{1, 64});
  field("controller", model.controller, "Controller of cmnrec and srmn");
  field("order", model.order,
        "Order of operations at a chunk step: as in the paper or in its authors' code");
}
template <class Model, class Field>
void visit_attention(Model& model, Field&& field) {
  field("attention", model.attention, "Width of the chunk attention", Between{1, 4096});
}
template <class Model, class Field>
void visit_recurrent(Model& model, Field&& field) {
  field("hidden", model.hidden, "Width H of the recurrent networks", Between{1, 8192});
  field("embedding", model.embedding, "Width E of the item vectors", Between{1, 8192});
  field("layers", model.layers, "Recurrent layers", Between{1, 64});
  field("keep", model.keep,
        "Share of the controller's outputs and of the memory's interface that training keeps");
}
template <class Model, class Field>
void visit_convolutional(Model& model, Field&& field) {
  field("channels", model.channels, "Width of NextItNet", Between{1, 4096});
  field("dilations", model.dilations, "Dilations of NextItNet's blocks", Between{1, 1 << 20});
}
template <class Model, class Field>
void visit_sizes(Model& model, Field&& field) {
  visit_memory(model, field);
  visit_attention(model, field);
  visit_recurrent(model, field);
  visit_convolutional(model, field);
}

/// Calls field() for the options of the sequences.
template <class Data, class Field>
void visit_data(Data& data, Field&& field) {
  field("min_item_count", data.min_item_count, "Items with fewer occurrences are excluded",
        Between{1, 1'000'000'000});
  field("min_length", data.min_length, "Sequences with fewer items are excluded",
        Between{2, 100'001});
  field("split", data.split, "Shares of the sequences: training, validation, test");
  field("split_seed", data.split_seed, "Seed of the split");
  field("leave_last_out", data.leave_last_out,
        "Split by time instead: test on each user's last item and validate on the item before it");
}

}  // namespace refrain::cmnrec

namespace refrain::examples {

template <>
inline constexpr Choice<cmnrec::ModelKind> choices<cmnrec::ModelKind>[] = {
    {"cmnrec", cmnrec::ModelKind::cmnrec},       {"srmn", cmnrec::ModelKind::srmn},
    {"gru4rec", cmnrec::ModelKind::gru4rec},     {"lstm4rec", cmnrec::ModelKind::lstm4rec},
    {"nextitnet", cmnrec::ModelKind::nextitnet}, {"mostpop", cmnrec::ModelKind::mostpop}};
template <>
inline constexpr Choice<cmnrec::ControllerKind> choices<cmnrec::ControllerKind>[] = {
    {"lstm", cmnrec::ControllerKind::lstm}, {"gru", cmnrec::ControllerKind::gru}};
template <>
inline constexpr Choice<ChunkOrder> choices<ChunkOrder>[] = {
    {"paper", ChunkOrder::paper}, {"reference", ChunkOrder::reference_code}};
template <>
inline constexpr Choice<cmnrec::LossKind> choices<cmnrec::LossKind>[] = {
    {"full", cmnrec::LossKind::full}, {"sampled", cmnrec::LossKind::sampled}};
template <>
inline constexpr Choice<LossPositions> choices<LossPositions>[] = {{"all", LossPositions::all},
                                                                   {"last", LossPositions::last}};
template <>
inline constexpr Choice<StopOn> choices<StopOn>[] = {{"loss", StopOn::loss},
                                                     {"ndcg", StopOn::ndcg}};
template <>
inline constexpr Choice<cmnrec::Protocol> choices<cmnrec::Protocol>[] = {
    {"full", cmnrec::Protocol::full}};
template <>
inline constexpr Choice<cmnrec::Contender> choices<cmnrec::Contender>[] = {
    {"srmn", cmnrec::Contender::srmn},
    {"tsc", cmnrec::Contender::tsc},
    {"pec", cmnrec::Contender::pec},
    {"exc", cmnrec::Contender::exc},
    {"lstm4rec", cmnrec::Contender::lstm4rec},
    {"gru4rec", cmnrec::Contender::gru4rec},
    {"nextitnet", cmnrec::Contender::nextitnet},
    {"mostpop", cmnrec::Contender::mostpop},
    {"ngram", cmnrec::Contender::ngram},
    {"cooccurrence", cmnrec::Contender::cooccurrence}};

}  // namespace refrain::examples
