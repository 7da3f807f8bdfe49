#pragma once
/// All options of the command line.

#include <cstdint>
#include <string>
#include <vector>

#include "common/options.hpp"
#include "refrain/data/samplers.hpp"
#include "refrain_models/peterrec.hpp"

namespace refrain::peterrec {

using examples::RecommendOptions;
using examples::RunOptions;
using examples::TrainOptions;
using models::HeadLoss;
using Negatives = NegativeSampler::Kind;

/// The loss of pre-training, over all items or over sampled ones.
enum class PretrainLoss : std::uint8_t { softmax, sampled };

/// The methods of compare, in the order of its table.
enum class MethodName : std::uint8_t {
  peterrec_serial,
  peterrec_parallel,
  peterrec_one,
  fine_all,
  fine_cls,
  fine_last1,
  fine_last2,
  fine_zero,
  mtl,
};

/// Behaviour files and their conversion to sequences. The first file defines the users;
/// pre-training uses all files.
struct DataOptions : examples::LogOptions {
  std::string profiles;               ///< a table with a header, users.dat or u.user
  std::int64_t split_domains_at = 0;  ///< the first item number of the target domain; 0: one domain
  std::int64_t min_count = 1;         ///< rarer source items are unknown
  std::int64_t target_min_count = 1;  ///< rarer target items are left out
  std::int64_t length = 50;           ///< number of newest items that the network reads
  bool hold_out_last = false;         ///< pre-train without the last two items of every sequence
  std::vector<double> split{0.7, 0.1, 0.2};
  std::uint64_t split_seed = 1;
};

struct BaseOptions {
  std::int64_t channels = 64;
  std::vector<std::int64_t> dilations{1, 4, 1, 4};
  bool causal = true;
  PretrainLoss loss = PretrainLoss::softmax;
  double sampled_share = 0.2;  ///< share of the items that sampled softmax draws
  double mask_share = 0.3;     ///< share of the items that non-causal pre-training masks
  bool tied = false;           ///< one item table for input and output
  double dropout = 0;          ///< probability of dropping, in pre-training only
};

struct TaskOptions {
  std::vector<std::string> names;  ///< attributes of the profiles, items, next
  Insertion insertion = Insertion::serial;
  bool one_per_block = false;
  std::int64_t bottleneck = 0;
  std::int64_t cardinality = 1;
  bool random_start = false;
  bool norm2 = true;
  bool own_tcl = true;
  HeadLoss item_loss = HeadLoss::softmax;
  Negatives negatives = Negatives::uniform;
  double rho = 0.3;
  double smoothing = 0;      ///< label smoothing of the tasks of profiles
  bool is_all = false;       ///< the names are those of all attributes
  std::int64_t at_once = 0;  ///< tasks that train in one pass; 0: tasks_at_once()
};

/// True for the options of evaluate that the command line gives and a patch file also stores.
struct GivenOptions {
  bool split = false;
  bool split_seed = false;
  bool length = false;
};

struct CompareOptions {
  std::vector<MethodName> methods;  ///< empty: all
  std::vector<double> few_shot;
  /// each method uses the one that is best on the validation part; empty: --learning-rate
  std::vector<double> learning_rates;
  bool generate = false;
  std::int64_t show_users = 3;
  std::int64_t seeds = 1;
};

/// Parameters of the sampled protocol.
struct Protocols {
  std::int64_t negatives = 99;
  std::uint64_t seed = 1;
};

struct Options {
  DataOptions data;
  BaseOptions base{.tied = true, .dropout = 0.2};
  TrainOptions pretrain{.learning_rate = 0.003};
  TrainOptions finetune{.batch = 0};  ///< 0: fine_tuning_batch()
  examples::SearchOptions search;     ///< of pretrain and finetune
  examples::WarmStart from;           ///< of pretrain
  TaskOptions task;
  RunOptions run;
  GivenOptions given;
  CompareOptions compare;
  RecommendOptions recommend;
  examples::PrepareOptions prepare;
  std::string base_file = "base.safetensors";
  std::vector<std::string> patch_files;
  std::string state_file;  ///< file of --resume
  std::int64_t sampled_negatives = 99;

  Protocols protocols() const { return {.negatives = sampled_negatives, .seed = run.seed}; }
};

}  // namespace refrain::peterrec

namespace refrain::examples {

template <>
inline constexpr Choice<peterrec::PretrainLoss> choices<peterrec::PretrainLoss>[] = {
    {"softmax", peterrec::PretrainLoss::softmax}, {"sampled", peterrec::PretrainLoss::sampled}};
template <>
inline constexpr Choice<Insertion> choices<Insertion>[] = {
    {"serial", Insertion::serial}, {"parallel", Insertion::parallel}, {"none", Insertion::none}};
template <>
inline constexpr Choice<models::HeadLoss> choices<models::HeadLoss>[] = {
    {"softmax", models::HeadLoss::softmax},
    {"bpr", models::HeadLoss::bpr},
    {"logistic", models::HeadLoss::logistic}};
template <>
inline constexpr Choice<NegativeSampler::Kind> choices<NegativeSampler::Kind>[] = {
    {"uniform", NegativeSampler::Kind::uniform}, {"rank", NegativeSampler::Kind::rank}};
template <>
inline constexpr Choice<peterrec::MethodName> choices<peterrec::MethodName>[] = {
    {"peterrec-serial", peterrec::MethodName::peterrec_serial},
    {"peterrec-parallel", peterrec::MethodName::peterrec_parallel},
    {"peterrec-one", peterrec::MethodName::peterrec_one},
    {"fine-all", peterrec::MethodName::fine_all},
    {"fine-cls", peterrec::MethodName::fine_cls},
    {"fine-last1", peterrec::MethodName::fine_last1},
    {"fine-last2", peterrec::MethodName::fine_last2},
    {"fine-zero", peterrec::MethodName::fine_zero},
    {"mtl", peterrec::MethodName::mtl}};

}  // namespace refrain::examples
