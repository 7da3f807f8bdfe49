#pragma once
/// Everything that can be set on the command line.

#include <cstdint>
#include <string>
#include <vector>

#include "common/options.hpp"
#include "refrain_models/peterrec.hpp"

namespace refrain::peterrec {

using examples::RecommendOptions;
using examples::RunOptions;
using examples::TrainOptions;

/// Where behaviour comes from and how it becomes sequences.
struct DataOptions {
  std::vector<std::string> files;    ///< the first names the users; all of them pre-train
  std::string format = "automatic";  ///< of all files
  std::string profiles;              ///< a table with a header, users.dat or u.user
  std::string titles;                ///< movies.csv, movies.dat or u.item
  std::int64_t split_domains_at =
      0;  ///< item numbers from here on are the target domain; 0: there is one domain
  std::int64_t skip_bad_lines = 0;
  bool in_file_order = false;         ///< ReadOptions::in_file_order
  std::int64_t min_count = 1;         ///< rarer source items are unknown
  std::int64_t target_min_count = 1;  ///< rarer target items are left out
  std::int64_t length = 50;           ///< newest items that the network reads
  bool hold_out_last = false;         ///< pre-train without the last two items of every sequence
  std::vector<double> split{0.7, 0.1, 0.2};
  std::uint64_t split_seed = 1;
};

struct BaseOptions {
  std::int64_t channels = 64;
  std::vector<std::int64_t> dilations{1, 4, 1, 4};
  bool causal = true;
  std::string loss = "softmax";  ///< softmax or sampled
  double sampled_share = 0.2;    ///< of the items, as negatives of sampled softmax
  double mask_share = 0.3;       ///< of the items, hidden in two-way pre-training
};

struct TaskOptions {
  std::vector<std::string> names;    ///< attributes of the profiles, items, next
  std::string insertion = "serial";  ///< serial, parallel or none
  bool one_per_block = false;
  std::int64_t bottleneck = 0;
  std::int64_t cardinality = 1;
  bool random_start = false;
  bool norm2 = true;
  bool own_tcl = true;
  std::string item_loss = "softmax";  ///< softmax, bpr or logistic
  std::string negatives = "uniform";  ///< uniform or rank
  double rho = 0.3;
};

/// Which options stood on the command line of evaluate: there, a patch file has its own word on
/// them.
struct EvaluateOptions {
  bool split = false;
  bool split_seed = false;
  bool length = false;
};

struct CompareOptions {
  std::vector<std::string> methods;
  std::vector<double> few_shot;
  /// each method takes the one that is best on the validation part; empty: the one option
  std::vector<double> learning_rates;
  bool generate = false;
  std::int64_t show_users = 3;
  std::int64_t seeds = 1;
};

struct Options {
  DataOptions data;
  BaseOptions base;
  TrainOptions pretrain;
  TrainOptions finetune{.batch = 0};  ///< 0: fine_tuning_batch()
  TaskOptions task;
  RunOptions run;
  EvaluateOptions evaluate;
  CompareOptions compare;
  RecommendOptions recommend;
  std::string base_file = "base.safetensors";
  std::vector<std::string> patch_files;
  std::string state_file;  ///< of an interrupted run
  std::int64_t sampled_negatives = 99;
};

}  // namespace refrain::peterrec
