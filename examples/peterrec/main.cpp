// Command line of the PeterRec example.

#include "common/command_line.hpp"
#include "common/prepare.hpp"
#include "common/transports.hpp"
#include "peterrec/commands.hpp"

namespace {

using namespace refrain::peterrec;
using namespace refrain::examples;

void add_data_options(CLI::App& app, DataOptions& data) {
  add_log_options(app, data,
                  "Behaviour files: the first one defines the users, further files are used only "
                  "in pre-training");
  add_titles(app, data);
  const OptionGroup add(app, "Data");
  add("--profiles", data.profiles,
      "User profiles: a table whose header names a user column and attributes, or users.dat, "
      "u.user",
      CLI::ExistingFile);
  add("--split-domains-at", data.split_domains_at,
      "First item number of the target domain; 0: one domain");
  add("--min-count", data.min_count, "Source items with fewer occurrences are unknown");
  add("--target-min-count", data.target_min_count,
      "Target items with fewer occurrences are excluded");
  add("--length", data.length, "Number of newest items of a user that the network reads",
      between(2, 100000));
}

void add_split_seed(CLI::App& app, DataOptions& data) {
  OptionGroup(app, "Data")("--split-seed", data.split_seed, "Seed of the split");
}

void add_split(CLI::App& app, DataOptions& data) {
  OptionGroup(app, "Data")("--split", data.split, "Shares of users: training, validation, test")
      ->expected(3);
  add_split_seed(app, data);
}

void add_base_options(CLI::App& app, BaseOptions& base) {
  const OptionGroup add(app, "Base network");
  add("--channels", base.channels, "Width C of the network", between(1, 4096));
  add("--dilations", base.dilations, "Dilation of each residual block's first convolution",
      between(1, 1 << 20));
  add("--causal,!--non-causal", base.causal, "Causal (next item) or non-causal (masked item) base");
  add("--pretrain-loss", base.loss, "Loss over all items or over sampled items");
  add("--sampled-share", base.sampled_share, "Share of the items that sampled softmax draws",
      between(1e-6, 1.0));
  add("--tied,!--no-tied", base.tied, "One item table for input and output");
  add("--dropout", base.dropout,
      "Probability of dropping elements of item vectors and of block outputs in pre-training; "
      "fine-tuning never drops in the base",
      from_zero_below_one());
  add("--mask-share", base.mask_share, "Share of the items that non-causal pre-training masks",
      between(1e-6, 1.0));
}

void add_task_options(CLI::App& app, TaskOptions& task) {
  const OptionGroup add(app, "Tasks");
  add("--task", task.names,
      "Tasks: attributes of --profiles (gender, age, ...), one value of an attribute against all "
      "others (occupation=12), all attributes (all), items (of the other domain), next (item of "
      "the same domain)");
  add("--tasks-at-once", task.at_once,
      "Tasks that train in one pass, with the same results for every number; 0: as many as have "
      "batches of 256 sequences together; 1: one after the other",
      between(0, 65536));
  add("--bottleneck", task.bottleneck, "Width D of a patch; 0: channels / 4", between(0, 4096));
  add("--cardinality", task.cardinality, "Parallel paths of a patch", between(1, 4096));
  add("--random-start", task.random_start,
      "Initialize patches at random instead of as the identity");
  add("--norm2,!--no-norm2", task.norm2, "Each task learns its own second normalizations");
  add("--own-tcl,!--no-own-tcl", task.own_tcl, "Each task learns its own [TCL] vector");
  add("--item-loss", task.item_loss, "Loss of item tasks");
  add("--negatives", task.negatives, "Sampling of negatives for bpr and logistic");
  add("--rho", task.rho, "Parameter of --negatives rank; smaller values draw more popular items",
      above_zero());
  add("--smoothing", task.smoothing,
      "Label smoothing in training: share of the uniform distribution; tasks of --profiles only",
      from_zero_below_one());
}

void add_base_file(CLI::App& app, std::string& file, const char* text) {
  add_model_file(app, file, ",--base", text);
}

constexpr const char* base_to_read = "Base network, as written by pretrain";

void add_sampled(CLI::App& app, Options& options) {
  add_value(app, "--sampled", options.sampled_negatives, "Negatives of the sampled protocol",
            between(1, 1000000000));
}

/// The options of every command that trains.
void add_training_command(CLI::App& app, Options& options) {
  add_run_options(app, options.run);
  add_log_option(app, options.run);
  add_force_option(app, options.run);
  add_data_options(app, options.data);
}

void add_pretrain(CLI::App& app, Options& options) {
  add_training_command(app, options);
  add_split_seed(app, options.data);
  add_base_options(app, options.base);
  add_training_options(app, options.pretrain, "", "Training");
  add_search_options(app, options.search, true);
  add_value(app, "--hold-out-last", options.data.hold_out_last,
            "Exclude the last two items of every sequence, which --task next requires");
  add_from_option(app, options.from);
  add_value(app, "--out", options.base_file, "Output file");
  add_resume_option(app, options.state_file);
  add_deadline_option(app, options.run);
}

void add_finetune(CLI::App& app, Options& options) {
  add_training_command(app, options);
  add_split(app, options.data);
  add_base_file(app, options.base_file, base_to_read);
  add_task_options(app, options.task);
  const OptionGroup add(app, "Tasks");
  add("--insertion", options.task.insertion, "Position of the patches; none: train only the head");
  add("--one-per-block", options.task.one_per_block, "One patch per block instead of two");
  add_training_options(app, options.finetune, "", "Training");
  add_search_options(app, options.search, false);
  add_value(app, "--out", options.patch_files,
            "Output files, one per task; default: <task>.patch.safetensors");
  add_resume_option(app, options.state_file);
  add_deadline_option(app, options.run);
}

void settle_training(const CLI::App& app, Options& options) {
  settle_search(app, options.search);
  settle_from(app, options.from);
}

void add_evaluate(CLI::App& app, Options& options) {
  add_run_options(app, options.run);
  add_log_option(app, options.run);
  add_ranks_option(app, options.run);
  add_data_options(app, options.data);
  add_split(app, options.data);
  add_base_file(app, options.base_file, base_to_read);
  add_value(app, "--patch", options.patch_files,
            "Patch files to measure; default: the base's own next-item scores");
  add_sampled(app, options);
  add_deadline_option(app, options.run);
}

void settle_evaluate(const CLI::App& app, Options& options) {
  const auto given = [&](const char* name) { return app.count(name) > 0; };
  options.given = {
      .split = given("--split"), .split_seed = given("--split-seed"), .length = given("--length")};
}

void add_recommend(CLI::App& app, Options& options) {
  add_run_options(app, options.run);
  add_data_options(app, options.data);
  add_base_file(app, options.base_file, base_to_read);
  add_value(app, "--patch", options.patch_files, "Patch files, all for this base");
  OptionGroup(app, "Tasks")(
      "--task", options.task.names,
      "Tasks: next (item) and those of the --patch files; base: the base's own head, even with a "
      "patch for next; default: the tasks of the patches, or next without patches");
  add_recommend_options(app, options.recommend);
}

void settle_recommending(const CLI::App& app, Options& options) {
  settle_recommend(app, options.recommend);
}

void add_compare(CLI::App& app, Options& options) {
  add_training_command(app, options);
  add_ranks_option(app, options.run);
  add_split(app, options.data);
  add_base_options(app, options.base);
  add_task_options(app, options.task);
  add_training_options(app, options.pretrain, "pretrain-", "Pre-training");
  add_training_options(app, options.finetune, "", "Fine-tuning");
  options.base_file.clear();
  add_base_file(
      app, options.base_file,
      "Base to start from; if the file does not exist, pre-train a base and write it there");
  CompareOptions& compare = options.compare;
  add_value(app, "--methods", compare.methods, "Methods to train; default: all");
  add_value(app, "--few-shot", compare.few_shot,
            "Also train with these shares of the training examples, such as 0.05,0.1",
            between(1e-6, 1.0));
  add_value(app, "--learning-rates", compare.learning_rates,
            "Train each method with each of these learning rates and keep the best on the "
            "validation part",
            above_zero());
  add_value(app, "--seeds", compare.seeds, "Fine-tune with this many seeds and print the means",
            between(1, 1000));
  add_sampled(app, options);
  add_value(app, "--generate", compare.generate,
            "Generate data with planted structure instead of reading --data");
  add_value(app, "--show-users", compare.show_users,
            "Number of users to print with their recommendations");
}

void add_prepare(CLI::App& app, Options& options) {
  add_prepare_options(app, options.data, options.prepare);
}

Outcome prepare(const Options& options) { return prepare_log(options.data, options.prepare); }

constexpr Command<Options> commands[] = {
    {.name = "pretrain",
     .text = "Train a base network on behaviour sequences",
     .add = add_pretrain,
     .run = pretrain,
     .settle = settle_training,
     .launch = Launch::together},
    {.name = "finetune",
     .text = "Train a patch set for each task on a base",
     .add = add_finetune,
     .run = finetune,
     .settle = settle_training,
     .launch = Launch::together},
    {.name = "evaluate",
     .text = "Measure patch sets on the test part",
     .add = add_evaluate,
     .run = evaluate,
     .settle = settle_evaluate,
     .launch = Launch::together},
    {.name = "recommend",
     .text = "Print recommendations and predictions for users",
     .add = add_recommend,
     .run = recommend,
     .settle = settle_recommending,
     .launch = Launch::separate},
    {.name = "compare",
     .text = "Train every method on every task and print a table for each task",
     .add = add_compare,
     .run = compare},
    {.name = "prepare",
     .text = "Write a log as a sequence store, for data larger than memory",
     .add = add_prepare,
     .run = prepare},
};

constexpr const char* about =
    "PeterRec: pre-train a user model on behaviour once, then adapt it to each task with a small "
    "patch.\n"
    "Start with 'peterrec compare --generate', which generates its own data.";

}  // namespace

int main(int argc, char** argv) {
  return guarded("peterrec", [&] {
    return run_command<Options>("peterrec", about, commands, argc, argv, transports);
  });
}
