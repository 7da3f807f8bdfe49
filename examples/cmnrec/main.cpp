// Command line of the CmnRec example.

#include "cmnrec/commands.hpp"
#include "common/behaviour.hpp"
#include "common/command_line.hpp"

namespace {

using namespace refrain::cmnrec;
using refrain::examples::add_force_option;
using refrain::examples::add_log_option;
using refrain::examples::add_recommend_options;
using refrain::examples::add_run_options;
using refrain::examples::add_switch;
using refrain::examples::add_training_options;
using refrain::examples::add_value;
using refrain::examples::between;
using refrain::examples::Command;
using refrain::examples::not_negative;
using refrain::examples::run_command;

void add_files(CLI::App& app, DataOptions& data) {
  const auto add = [&](const char* name, auto& value, const char* text,
                       const std::optional<CLI::Validator>& range = {}) {
    return add_value(app, name, value, text, range)->group("Data");
  };
  add("--data", data.files, "Behaviour, from one or more files")
      ->delimiter(',')
      ->check(CLI::ExistingFile);
  add("--format", data.format, refrain::examples::format_names)->capture_default_str();
  add("--skip-bad-lines", data.skip_bad_lines, "Malformed lines to pass over in a file",
      not_negative())
      ->capture_default_str();
  app.add_flag("--in-file-order", data.in_file_order, refrain::examples::in_file_order_text)
      ->group("Data");
}

void add_preparation(CLI::App& app, DataOptions& data) {
  const auto add = [&](const char* name, auto& value, const char* text,
                       const std::optional<CLI::Validator>& range = {}) {
    return add_value(app, name, value, text, range)->group("Sequences");
  };
  add("--min-item-count", data.min_item_count, "Items that occur less often are left out",
      between(1, 1000000000))
      ->capture_default_str();
  add("--length", data.length,
      "T: steps that a network reads; a sequence has one item more, the last target",
      between(1, 100000))
      ->capture_default_str();
  add("--min-length", data.min_length, "Sequences of fewer items are left out", between(2, 100001))
      ->capture_default_str();
  add("--split", data.split, "Shares of the sequences: training, validation, test")
      ->delimiter(',')
      ->expected(3)
      ->capture_default_str();
  add("--split-seed", data.split_seed, "Seed of the split")->capture_default_str();
  add_switch(app, "--leave-last-out", data.leave_last_out,
             "Split in time instead: each user's last item is the test, the one before it the "
             "validation")
      ->group("Sequences");
}

void add_model(CLI::App& app, Options& options) {
  const auto add = [&](const char* name, auto& value, const char* text,
                       const std::optional<CLI::Validator>& range = {}) {
    return add_value(app, name, value, text, range)->group("Model")->capture_default_str();
  };
  NetworkOptions& network = options.network;
  add("--words", network.words, "Memory words N; 0: as many as slots", between(0, 4096));
  add("--word-size", network.word_size, "Width W of a memory word", between(1, 4096));
  add("--heads", network.heads, "Read heads", between(1, 64));
  add("--controller", network.controller, "Of cmnrec and srmn")
      ->check(CLI::IsMember({"lstm", "gru"}));
  add("--hidden", network.hidden, "Width H of the recurrent networks", between(1, 8192));
  add("--embedding", network.embedding, "Width E of the item vectors", between(1, 8192));
  add("--attention", network.attention, "Width of the chunk attention", between(1, 4096));
  add("--layers", network.layers, "Recurrent layers", between(1, 64));
  add("--keep", network.keep, "Share that dropout keeps in training", between(1e-3, 1.0));
  add("--order", network.order,
      "What happens first at a chunk step: as in the paper or in its authors' code")
      ->check(CLI::IsMember({"paper", "reference"}));
  add_switch(app, "--recompute", network.recompute,
             "Compute gates again in the backward pass instead of keeping them: less memory")
      ->group("Model");
  add("--channels", network.channels, "Width of NextItNet", between(1, 4096));
  add("--dilations", network.dilations, "Dilations of NextItNet's blocks")->delimiter(',');
}

void add_loss(CLI::App& app, LossOptions& loss) {
  const auto add = [&](const char* name, auto& value, const char* text,
                       const std::optional<CLI::Validator>& range = {}) {
    return add_value(app, name, value, text, range)->group("Training")->capture_default_str();
  };
  add("--loss", loss.kind, "Softmax over all items, or against log-uniform samples")
      ->check(CLI::IsMember({"full", "sampled"}));
  add("--negatives", loss.negatives, "Samples of --loss sampled; 0: a tenth of the items",
      between(0, 1000000000));
  add("--loss-at", loss.at, "Steps whose prediction counts")->check(CLI::IsMember({"all", "last"}));
  add("--stop-on", loss.stop_on, "What early stopping watches on the validation part")
      ->check(CLI::IsMember({"loss", "ndcg"}));
  add("--shift", loss.shift,
      "Training batches leave out up to so many of their newest items, at random: chunks then end "
      "at other items each time",
      between(0, 100000));
}

void add_checkpoint(CLI::App& app, std::string& file) {
  add_value(app, "--checkpoint", file, "Trained model, as written by train")->capture_default_str();
}

void add_protocol(CLI::App& app, Options& options) {
  add_value(app, "--protocol", options.protocol, "What the target is ranked among: all items")
      ->check(CLI::IsMember({"full"}))
      ->capture_default_str();
  add_switch(app, "--without-seen", options.without_seen, "Rank without the items of the history");
}

void add_train(CLI::App& app, Options& options) {
  add_run_options(app, options.run);
  add_log_option(app, options.run);
  add_force_option(app, options.run);
  add_files(app, options.data);
  add_preparation(app, options.data);
  add_value(app, "--model", options.model, "What to train")
      ->check(CLI::IsMember({"cmnrec", "srmn", "gru4rec", "lstm4rec", "nextitnet", "mostpop"}))
      ->group("Model")
      ->capture_default_str();
  add_value(app, "--schedule", options.schedule,
            "Chunk steps of cmnrec: pec, tsc, exc (--slots of them), every, every:G, or steps "
            "5,10,20 that end at --length")
      ->group("Model")
      ->capture_default_str();
  add_value(app, "--slots", options.slots, "Chunks m", between(1, 100000))
      ->group("Model")
      ->capture_default_str();
  add_model(app, options);
  add_training_options(app, options.train, "", "Training");
  add_loss(app, options.loss);
  add_protocol(app, options);
  add_value(app, "--out", options.checkpoint, "File to write")->capture_default_str();
  add_value(app, "--resume", options.state_file,
            "Keep the state of training in this file and go on from it");
}

void add_evaluate(CLI::App& app, Options& options) {
  add_run_options(app, options.run);
  add_log_option(app, options.run);
  add_files(app, options.data);
  add_checkpoint(app, options.checkpoint);
}

void add_recommend(CLI::App& app, Options& options) {
  add_run_options(app, options.run);
  add_files(app, options.data);
  add_checkpoint(app, options.checkpoint);
  add_value(app, "--titles", options.data.titles, "Item titles: movies.csv, movies.dat or u.item")
      ->check(CLI::ExistingFile);
  add_recommend_options(app, options.recommend);
}

void add_compare(CLI::App& app, Options& options) {
  add_run_options(app, options.run);
  add_log_option(app, options.run);
  add_files(app, options.data);
  add_preparation(app, options.data);
  add_model(app, options);
  add_training_options(app, options.train, "", "Training");
  add_loss(app, options.loss);
  add_protocol(app, options);
  CompareOptions& compare = options.compare;
  add_value(app, "--models", compare.models,
            "What to compare; pec, tsc, exc: CmnRec under this schedule")
      ->delimiter(',')
      ->check(CLI::IsMember(
          {"srmn", "tsc", "pec", "exc", "lstm4rec", "gru4rec", "nextitnet", "mostpop"}))
      ->default_str("srmn,tsc,pec,exc,lstm4rec,gru4rec,nextitnet,mostpop");
  add_value(app, "--slots", compare.slots,
            "Chunks m; several train each schedule with each of them", between(1, 100000))
      ->delimiter(',')
      ->default_str("4");
  add_value(app, "--seeds", compare.seeds,
            "Train with each of these seeds; means and spreads are printed")
      ->delimiter(',')
      ->default_str("the one of --seed");
  add_value(app, "--results", compare.results,
            "Keep finished runs in this file, a JSON line each; runs that it has already are "
            "not done again");
  add_value(app, "--curves", compare.curves,
            "Write learning curves to PREFIX-curves.jsonl and PREFIX-curves.svg")
      ->type_name("PREFIX");
  add_value(app, "--prediction-batch", options.prediction_batch,
            "Sequences scored at a time when predictions are timed", between(1, 100000))
      ->capture_default_str();
  add_switch(app, "--generate", compare.generate,
             "Make data with dependencies over long distances instead of reading --data; sizes "
             "that are not given are small");
}

void settle_compare(const CLI::App& app, Options& options) {
  const auto unless_given = [&](const char* name, auto& value, auto small) {
    if (app.count(name) == 0) value = small;
  };
  if (options.compare.generate) {
    unless_given(
        "--models", options.compare.models,
        std::vector<std::string>{"mostpop", "lstm4rec", "gru4rec", "srmn", "tsc", "pec", "exc"});
    unless_given("--hidden", options.network.hidden, 64);
    unless_given("--embedding", options.network.embedding, 32);
    unless_given("--word-size", options.network.word_size, 32);
    unless_given("--attention", options.network.attention, 16);
    unless_given("--channels", options.network.channels, 32);
    unless_given("--epochs", options.train.epochs, 20);
    unless_given("--batch", options.train.batch, 64);
    unless_given("--learning-rate", options.train.learning_rate, 0.005);
    unless_given("--patience", options.train.patience, 20);
  }
  if (app.count("--seeds") == 0) options.compare.seeds = {options.run.seed};
}

constexpr Command<Options> commands[] = {
    {.name = "train",
     .text = "Train one model on behaviour sequences",
     .add = add_train,
     .run = train},
    {.name = "evaluate",
     .text = "Measure a trained model on the test part of its split",
     .add = add_evaluate,
     .run = evaluate},
    {.name = "recommend",
     .text = "Print recommendations for users and histories",
     .add = add_recommend,
     .run = recommend},
    {.name = "compare",
     .text = "Train models side by side and print accuracy and speed",
     .add = add_compare,
     .run = compare,
     .settle = settle_compare},
};

constexpr const char* about =
    "CmnRec: next-item recommendation with an external memory that is used at chunk steps alone.\n"
    "Start with 'cmnrec compare --generate', which makes its own data.";

}  // namespace

int main(int argc, char** argv) {
  return refrain::examples::guarded(
      "cmnrec", [&] { return run_command<Options>("cmnrec", about, commands, argc, argv); });
}
