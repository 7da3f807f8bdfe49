#pragma once
/// Everything that can be set on the command line.

#include <cstdint>
#include <string>
#include <vector>

#include "common/options.hpp"

namespace refrain::cmnrec {

using examples::RecommendOptions;
using examples::RunOptions;
using examples::TrainOptions;

/// Where behaviour comes from and how it becomes sequences.
struct DataOptions {
  std::vector<std::string> files;
  std::string format = "automatic";  ///< of all files
  std::string titles;                ///< movies.csv, movies.dat or u.item
  std::int64_t skip_bad_lines = 0;
  bool in_file_order = false;       ///< ReadOptions::in_file_order
  std::int64_t min_item_count = 1;  ///< rarer items are left out
  std::int64_t length = 50;         ///< T: steps that a network reads
  std::int64_t min_length = 5;      ///< shorter sequences are left out
  std::vector<double> split{0.80, 0.02, 0.18};
  std::uint64_t split_seed = 1;
  bool leave_last_out =
      false;  ///< each user's last item is the test, the one before it the validation
};

/// Sizes of the networks; which of them matter depends on the model.
struct NetworkOptions {
  std::int64_t embedding = 128;
  std::int64_t hidden = 256;
  std::int64_t layers = 1;
  std::string controller = "lstm";
  std::int64_t words = 0;  ///< N; 0: as many as slots
  std::int64_t word_size = 256;
  std::int64_t heads = 1;
  std::int64_t attention = 64;
  double keep = 1;                                  ///< of dropout
  std::string order = "paper";                      ///< paper or reference
  bool recompute = false;                           ///< the controller's gates in the backward pass
  std::int64_t channels = 128;                      ///< of NextItNet
  std::vector<std::int64_t> dilations{1, 4, 1, 4};  ///< of NextItNet
};

struct LossOptions {
  std::string kind = "full";     ///< full or sampled
  std::int64_t negatives = 0;    ///< of sampled; 0: a tenth of the items
  std::string at = "all";        ///< all steps or the last one
  std::string stop_on = "loss";  ///< what the validation part measures: loss or ndcg
  std::int64_t shift =
      0;  ///< a training batch leaves out up to so many of its sequences' newest items
};

struct CompareOptions {
  std::vector<std::string> models{"srmn",     "tsc",     "pec",       "exc",
                                  "lstm4rec", "gru4rec", "nextitnet", "mostpop"};
  std::vector<std::int64_t> slots{4};
  std::vector<std::uint64_t> seeds{1};
  std::string results;  ///< finished runs, JSON lines
  std::string curves;   ///< prefix of the learning curves' files
  bool generate = false;
};

struct Options {
  DataOptions data;
  std::string model = "cmnrec";  ///< cmnrec, srmn, gru4rec, lstm4rec, nextitnet or mostpop
  std::string schedule = "tsc";  ///< of cmnrec
  std::int64_t slots = 4;        ///< m
  NetworkOptions network;
  LossOptions loss;
  TrainOptions train{
      .epochs = 30, .batch = 128, .learning_rate = 1e-3, .patience = 3, .clip = 5, .l2 = 0};
  RunOptions run;
  CompareOptions compare;
  RecommendOptions recommend;
  std::string checkpoint = "cmnrec.safetensors";
  std::string state_file;  ///< of an interrupted run
  std::int64_t prediction_batch =
      64;  ///< sequences that are scored at a time when predictions are timed
  std::string protocol = "full";  ///< what the target is ranked among
  bool without_seen = false;      ///< rank without the items of the history
};

}  // namespace refrain::cmnrec
