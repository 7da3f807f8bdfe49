// Command line of the PeterRec example.

#include "common/behaviour.hpp"
#include "common/command_line.hpp"
#include "peterrec/commands.hpp"

namespace {

using namespace refrain::peterrec;
using refrain::examples::above_zero;
using refrain::examples::add_force_option;
using refrain::examples::add_log_option;
using refrain::examples::add_recommend_options;
using refrain::examples::add_run_options;
using refrain::examples::add_switch;
using refrain::examples::add_training_options;
using refrain::examples::add_value;
using refrain::examples::between;
using refrain::examples::Command;
using refrain::examples::run_command;

void add_data_options(CLI::App& app, DataOptions& data) {
  const auto add = [&](const char* name, auto& value, const char* text,
                       const std::optional<CLI::Validator>& range = {}) {
    return add_value(app, name, value, text, range)->group("Data");
  };
  add("--data", data.files,
      "Behaviour: the first file names the users, further ones only pre-train")
      ->delimiter(',')
      ->check(CLI::ExistingFile);
  add("--format", data.format, refrain::examples::format_names)->capture_default_str();
  add("--profiles", data.profiles,
      "User profiles: a table whose header names a user column and attributes, or users.dat, "
      "u.user")
      ->check(CLI::ExistingFile);
  add("--titles", data.titles, "Item titles: movies.csv, movies.dat or u.item")
      ->check(CLI::ExistingFile);
  add("--split-domains-at", data.split_domains_at,
      "Item numbers from here on are the target domain; 0: one domain")
      ->capture_default_str();
  add("--skip-bad-lines", data.skip_bad_lines, "Malformed lines to pass over in a file")
      ->capture_default_str();
  app.add_flag("--in-file-order", data.in_file_order, refrain::examples::in_file_order_text)
      ->group("Data");
  add("--min-count", data.min_count, "Source items that occur less often are unknown")
      ->capture_default_str();
  add("--target-min-count", data.target_min_count,
      "Target items that occur less often are left out")
      ->capture_default_str();
  add("--length", data.length, "Newest items of a user that the network reads", between(2, 100000))
      ->capture_default_str();
}

void add_split_seed(CLI::App& app, DataOptions& data) {
  add_value(app, "--split-seed", data.split_seed, "Seed of the split")
      ->group("Data")
      ->capture_default_str();
}

void add_split(CLI::App& app, DataOptions& data) {
  add_value(app, "--split", data.split, "Shares of users: training, validation, test")
      ->delimiter(',')
      ->expected(3)
      ->group("Data")
      ->capture_default_str();
  add_split_seed(app, data);
}

void add_base_options(CLI::App& app, BaseOptions& base) {
  const auto add = [&](const char* name, auto& value, const char* text,
                       const std::optional<CLI::Validator>& range = {}) {
    return add_value(app, name, value, text, range)->group("Base network")->capture_default_str();
  };
  add("--channels", base.channels, "Width C", between(1, 4096));
  add("--dilations", base.dilations, "Dilation of each residual block's first convolution",
      between(1, 1 << 20))
      ->delimiter(',');
  add_switch(app, "--causal,!--non-causal", base.causal,
             "One-way (next item) or two-way (masked item) base")
      ->group("Base network")
      ->default_str("true");
  add("--pretrain-loss", base.loss, "softmax over all items, or sampled")
      ->check(CLI::IsMember({"softmax", "sampled"}));
  add("--sampled-share", base.sampled_share, "Share of the items that sampled softmax draws",
      between(1e-6, 1.0));
  add("--mask-share", base.mask_share, "Share of the items that two-way pre-training hides",
      between(1e-6, 1.0));
}

void add_task_names(CLI::App& app, TaskOptions& task, const char* text) {
  add_value(app, "--task", task.names, text)->delimiter(',')->group("Tasks");
}

constexpr const char* tasks_to_train =
    "Tasks: attributes of --profiles (gender, age, ...), items (of the other domain), next (item "
    "of the same domain)";
constexpr const char* tasks_to_answer =
    "Tasks: base (the next item, by the base's own head) and those of the --patch files; default: "
    "those of the patches, base without any";

void add_task_options(CLI::App& app, TaskOptions& task) {
  const auto add = [&](const char* name, auto& value, const char* text,
                       const std::optional<CLI::Validator>& range = {}) {
    return add_value(app, name, value, text, range)->group("Tasks")->capture_default_str();
  };
  const auto flag = [&](const char* name, bool& value, const char* text) {
    return add_switch(app, name, value, text)->group("Tasks");
  };
  add("--bottleneck", task.bottleneck, "Width D of a patch; 0: channels / 4", between(0, 4096));
  add("--cardinality", task.cardinality, "Parallel paths of a patch", between(1, 4096));
  flag("--random-start", task.random_start, "Start patches at random instead of as the identity");
  flag("--norm2,!--no-norm2", task.norm2, "Each task learns its own second normalizations")
      ->default_str("true");
  flag("--own-tcl,!--no-own-tcl", task.own_tcl, "Each task learns its own [TCL] vector")
      ->default_str("true");
  add("--item-loss", task.item_loss, "Loss of item tasks")
      ->check(CLI::IsMember({"bpr", "logistic", "softmax"}));
  add("--negatives", task.negatives, "Negatives of bpr and logistic")
      ->check(CLI::IsMember({"uniform", "rank"}));
  add("--rho", task.rho, "Of --negatives rank: smaller draws more popular items", above_zero());
}

void add_base_file(CLI::App& app, std::string& file) {
  add_value(app, "--base", file, "Base network, as written by pretrain")->capture_default_str();
}

void add_pretrain(CLI::App& app, Options& options) {
  add_run_options(app, options.run);
  add_log_option(app, options.run);
  add_force_option(app, options.run);
  add_data_options(app, options.data);
  add_split_seed(app, options.data);
  add_base_options(app, options.base);
  add_training_options(app, options.pretrain, "", "Training");
  add_switch(app, "--hold-out-last", options.data.hold_out_last,
             "Keep the last two items of every sequence of all files out, which --task next "
             "needs afterwards");
  add_value(app, "--out", options.base_file, "File to write")->capture_default_str();
  add_value(app, "--resume", options.state_file,
            "Keep the state of training in this file and go on from it");
}

void add_finetune(CLI::App& app, Options& options) {
  add_run_options(app, options.run);
  add_log_option(app, options.run);
  add_force_option(app, options.run);
  add_data_options(app, options.data);
  add_split(app, options.data);
  add_base_file(app, options.base_file);
  add_task_names(app, options.task, tasks_to_train);
  add_task_options(app, options.task);
  add_value(app, "--insertion", options.task.insertion,
            "Where patches sit: serial, parallel, or none (the head alone learns)")
      ->check(CLI::IsMember({"parallel", "serial", "none"}))
      ->group("Tasks")
      ->capture_default_str();
  add_switch(app, "--one-per-block", options.task.one_per_block,
             "One patch per block instead of two")
      ->group("Tasks");
  add_training_options(app, options.finetune, "", "Training");
  add_value(app, "--out", options.patch_files,
            "Files to write, one a task; default: <task>.patch.safetensors")
      ->delimiter(',');
  add_value(app, "--resume", options.state_file,
            "Keep the state of training in this file and go on from it");
}

void add_sampled(CLI::App& app, Options& options) {
  add_value(app, "--sampled", options.sampled_negatives, "Negatives of the sampled protocol",
            between(1, 1000000000))
      ->capture_default_str();
}

void add_evaluate(CLI::App& app, Options& options) {
  add_run_options(app, options.run);
  add_log_option(app, options.run);
  add_data_options(app, options.data);
  add_split(app, options.data);
  add_base_file(app, options.base_file);
  add_value(app, "--patch", options.patch_files,
            "Patch files; none: the base's own next-item scores")
      ->delimiter(',');
  add_sampled(app, options);
}

void settle_evaluate(const CLI::App& app, Options& options) {
  const auto given = [&](const char* name) { return app.count(name) > 0; };
  options.evaluate = {
      .split = given("--split"), .split_seed = given("--split-seed"), .length = given("--length")};
}

void add_recommend(CLI::App& app, Options& options) {
  add_run_options(app, options.run);
  add_data_options(app, options.data);
  add_base_file(app, options.base_file);
  add_value(app, "--patch", options.patch_files, "Patch files, all loaded onto the one base")
      ->delimiter(',');
  add_task_names(app, options.task, tasks_to_answer);
  add_recommend_options(app, options.recommend);
}

void add_compare(CLI::App& app, Options& options) {
  add_run_options(app, options.run);
  add_log_option(app, options.run);
  add_force_option(app, options.run);
  add_data_options(app, options.data);
  add_split(app, options.data);
  add_base_options(app, options.base);
  add_task_names(app, options.task, tasks_to_train);
  add_task_options(app, options.task);
  add_training_options(app, options.pretrain, "pretrain-", "Pre-training");
  add_training_options(app, options.finetune, "", "Fine-tuning");
  options.base_file.clear();
  add_value(app, "--base", options.base_file,
            "Start from this base; if there is no such file, pre-train one and write it")
      ->default_str("");
  add_value(app, "--methods", options.compare.methods,
            "peterrec-parallel, peterrec-serial, peterrec-one, fine-all, fine-cls, "
            "fine-last1, fine-last2, "
            "fine-zero, mtl; default: all")
      ->delimiter(',')
      ->check(CLI::IsMember({"peterrec-serial", "peterrec-parallel", "peterrec-one", "fine-all",
                             "fine-cls", "fine-last1", "fine-last2", "fine-zero", "mtl"}));
  add_value(app, "--few-shot", options.compare.few_shot,
            "Also with these shares of the training examples: 0.05,0.1", between(1e-6, 1.0))
      ->delimiter(',');
  add_value(app, "--learning-rates", options.compare.learning_rates,
            "Train each method with each of these and keep the one that is best on the "
            "validation part",
            above_zero())
      ->delimiter(',');
  add_value(app, "--seeds", options.compare.seeds,
            "Fine-tune with this many seeds and print the means", between(1, 1000))
      ->capture_default_str();
  add_sampled(app, options);
  add_switch(app, "--generate", options.compare.generate,
             "Make data with planted structure instead of reading --data");
  add_value(app, "--show-users", options.compare.show_users,
            "Users to print with their recommendations")
      ->capture_default_str();
}

constexpr Command<Options> commands[] = {
    {.name = "pretrain",
     .text = "Train a base network on behaviour sequences",
     .add = add_pretrain,
     .run = pretrain},
    {.name = "finetune",
     .text = "Train a patch set for each task on a base",
     .add = add_finetune,
     .run = finetune},
    {.name = "evaluate",
     .text = "Measure patch sets on the test part",
     .add = add_evaluate,
     .run = evaluate,
     .settle = settle_evaluate},
    {.name = "recommend",
     .text = "Print recommendations and predictions for users",
     .add = add_recommend,
     .run = recommend},
    {.name = "compare",
     .text = "Train every method on every task and print one table",
     .add = add_compare,
     .run = compare},
};

constexpr const char* about =
    "PeterRec: learn users from their behaviour once, then adapt to each task with a small patch.\n"
    "Start with 'peterrec compare --generate', which makes its own data.";

}  // namespace

int main(int argc, char** argv) {
  return refrain::examples::guarded(
      "peterrec", [&] { return run_command<Options>("peterrec", about, commands, argc, argv); });
}
