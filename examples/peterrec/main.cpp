// Command line of the PeterRec example.

#include "common/behaviour.hpp"
#include "common/command_line.hpp"
#include "peterrec/commands.hpp"
#include "refrain/core/parallel.hpp"

namespace {

using namespace refrain::peterrec;
using refrain::examples::add_run_options;
using refrain::examples::add_training_options;

void add_data_options(CLI::App& app, DataOptions& data) {
  const auto add = [&](const char* name, auto& value, const char* text) {
    return app.add_option(name, value, text)->group("Data");
  };
  add("--data", data.files, "Behaviour: the first file names the users, further ones only pre-train")
      ->delimiter(',')
      ->check(CLI::ExistingFile);
  add("--format", data.format, refrain::examples::format_names)->capture_default_str();
  add("--profiles", data.profiles,
      "User profiles: a table whose header names a user column and attributes, or users.dat, u.user")
      ->check(CLI::ExistingFile);
  add("--titles", data.titles, "Item titles: movies.csv, movies.dat or u.item")->check(CLI::ExistingFile);
  add("--split-domains-at", data.split_domains_at, "Item numbers from here on are the target domain; 0: one domain")
      ->capture_default_str();
  add("--skip-bad-lines", data.skip_bad_lines, "Malformed lines to pass over in a file")->capture_default_str();
  add("--min-count", data.min_count, "Source items that occur less often are unknown")->capture_default_str();
  add("--target-min-count", data.target_min_count, "Target items that occur less often are left out")->capture_default_str();
  add("--length", data.length, "Newest items of a user that the network reads")
      ->check(CLI::Range(2, 100000))
      ->capture_default_str();
  add("--split", data.split, "Shares of users: training, validation, test")->delimiter(',')->expected(3);
  add("--split-seed", data.split_seed, "Seed of the split")->capture_default_str();
}

void add_base_options(CLI::App& app, BaseOptions& base) {
  const auto add = [&](const char* name, auto& value, const char* text) {
    return app.add_option(name, value, text)->group("Base network")->capture_default_str();
  };
  add("--channels", base.channels, "Width C")->check(CLI::Range(1, 4096));
  add("--dilations", base.dilations, "Dilation of each residual block's first convolution")->delimiter(',');
  app.add_flag("--causal,!--non-causal", base.causal, "One-way (next item) or two-way (masked item) base")
      ->group("Base network")
      ->default_str("true");
  add("--pretrain-loss", base.loss, "softmax over all items, or sampled")->check(CLI::IsMember({"softmax", "sampled"}));
  add("--sampled-share", base.sampled_share, "Share of the items that sampled softmax draws")->check(CLI::Range(1e-6, 1.0));
  add("--mask-share", base.mask_share, "Share of the items that two-way pre-training hides")->check(CLI::Range(1e-6, 1.0));
}

void add_task_names(CLI::App& app, TaskOptions& task) {
  app.add_option(
         "--task", task.names,
         "Tasks: attributes of --profiles (gender, age, ...), items (of the other domain), next (item of the same domain)")
      ->delimiter(',')
      ->group("Tasks");
}

void add_task_options(CLI::App& app, TaskOptions& task) {
  const auto add = [&](const char* name, auto& value, const char* text) {
    return app.add_option(name, value, text)->group("Tasks")->capture_default_str();
  };
  const auto flag = [&](const char* name, bool& value, const char* text) {
    return app.add_flag(name, value, text)->group("Tasks");
  };
  add("--bottleneck", task.bottleneck, "Width D of a patch; 0: channels / 4");
  add("--cardinality", task.cardinality, "Parallel paths of a patch")->check(CLI::Range(1, 4096));
  flag("--random-start", task.random_start, "Start patches at random instead of as the identity");
  flag("--norm2,!--no-norm2", task.norm2, "Each task learns its own second normalisations")->default_str("true");
  flag("--own-tcl,!--no-own-tcl", task.own_tcl, "Each task learns its own [TCL] vector")->default_str("true");
  add("--item-loss", task.item_loss, "Loss of item tasks")->check(CLI::IsMember({"bpr", "logistic", "softmax"}));
  add("--negatives", task.negatives, "Negatives of bpr and logistic")->check(CLI::IsMember({"uniform", "rank"}));
  add("--rho", task.rho, "Of --negatives rank: smaller draws more popular items")->check(CLI::PositiveNumber);
}

void add_base_file(CLI::App& app, std::string& file) {
  app.add_option("--base", file, "Base network, as written by pretrain")->capture_default_str();
}

int run(int argc, char** argv) {
  CLI::App app{
      "PeterRec: learn users from their behaviour once, then adapt to each task with a small patch.\n"
      "Start with 'peterrec compare --generate', which makes its own data."};
  app.require_subcommand(1);
  app.fallthrough();
  app.set_config("--config", "",
                 "Read options from this TOML file: one section a sub-command, [pretrain], with the long option names as keys");
  Options options;
  Outcome outcome = Outcome::done;
  const auto start = [&](Outcome (*command)(const Options&)) {
    refrain::set_threads(static_cast<int>(options.run.threads));
    outcome = command(options);
  };

  CLI::App* pretrain_app = app.add_subcommand("pretrain", "Train a base network on behaviour sequences");
  add_run_options(*pretrain_app, options.run);
  add_data_options(*pretrain_app, options.data);
  add_base_options(*pretrain_app, options.base);
  add_training_options(*pretrain_app, options.pretrain, "", "Training");
  pretrain_app->add_flag("--hold-out-last", options.data.hold_out_last,
                         "Keep the last two items of every sequence of all files out, which --task next needs afterwards");
  pretrain_app->add_option("--out", options.base_file, "File to write")->capture_default_str();
  pretrain_app->add_option("--resume", options.state_file, "Keep the state of training in this file and go on from it");
  pretrain_app->callback([&] { start(pretrain); });

  CLI::App* finetune_app = app.add_subcommand("finetune", "Train a patch set for each task on a base");
  add_run_options(*finetune_app, options.run);
  add_data_options(*finetune_app, options.data);
  add_base_file(*finetune_app, options.base_file);
  add_task_names(*finetune_app, options.task);
  add_task_options(*finetune_app, options.task);
  finetune_app
      ->add_option("--insertion", options.task.insertion,
                   "Where patches sit: serial, parallel, or none (the head alone learns)")
      ->check(CLI::IsMember({"parallel", "serial", "none"}))
      ->group("Tasks")
      ->capture_default_str();
  finetune_app->add_flag("--one-per-block", options.task.one_per_block, "One patch per block instead of two")->group("Tasks");
  add_training_options(*finetune_app, options.finetune, "", "Training");
  finetune_app->add_option("--out", options.patch_files, "Files to write, one a task; default: <task>.patch.safetensors")
      ->delimiter(',');
  finetune_app->add_option("--resume", options.state_file, "Keep the state of training in this file and go on from it");
  finetune_app->callback([&] { start(finetune); });

  CLI::App* evaluate_app = app.add_subcommand("evaluate", "Measure patch sets on the test part");
  add_run_options(*evaluate_app, options.run);
  add_data_options(*evaluate_app, options.data);
  add_base_file(*evaluate_app, options.base_file);
  evaluate_app->add_option("--patch", options.patch_files, "Patch files; none: the base's own next-item scores")
      ->delimiter(',');
  evaluate_app->add_option("--sampled", options.sampled_negatives, "Negatives of the sampled protocol")
      ->check(CLI::Range(1, 1000000000))
      ->capture_default_str();
  evaluate_app->callback([&] {
    const auto given = [&](const char* name) { return evaluate_app->count(name) > 0; };
    options.evaluate = {.split = given("--split"), .split_seed = given("--split-seed"), .length = given("--length")};
    start(evaluate);
  });

  CLI::App* recommend_app = app.add_subcommand("recommend", "Print recommendations and predictions for users");
  add_run_options(*recommend_app, options.run);
  add_data_options(*recommend_app, options.data);
  add_base_file(*recommend_app, options.base_file);
  recommend_app->add_option("--patch", options.patch_files, "Patch files, all loaded onto the one base")->delimiter(',');
  add_task_names(*recommend_app, options.task);
  recommend_app->add_option("--user", options.recommend.users, "User ids of --data")->delimiter(',');
  recommend_app
      ->add_option("--history", options.recommend.histories,
                   "A history as item ids: a,b,c (may be empty; may be given several times)")
      ->expected(0, 1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  recommend_app->add_option("--count", options.recommend.count, "Recommendations a user")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  recommend_app->add_flag("--keep-seen", options.recommend.keep_seen, "Also recommend what the user has seen");
  recommend_app->callback([&] { start(recommend); });

  CLI::App* compare_app = app.add_subcommand("compare", "Train every method on every task and print one table");
  add_run_options(*compare_app, options.run);
  add_data_options(*compare_app, options.data);
  add_base_options(*compare_app, options.base);
  add_task_names(*compare_app, options.task);
  add_task_options(*compare_app, options.task);
  add_training_options(*compare_app, options.pretrain, "pretrain-", "Pre-training");
  add_training_options(*compare_app, options.finetune, "", "Fine-tuning");
  compare_app
      ->add_option("--base", options.base_file, "Start from this base; if there is no such file, pre-train one and write it")
      ->default_str("");
  compare_app
      ->add_option("--methods", options.compare.methods,
                   "peterrec-parallel, peterrec-serial, peterrec-one, fine-all, fine-cls, fine-last1, fine-last2, "
                   "fine-zero, mtl; default: all")
      ->delimiter(',')
      ->check(CLI::IsMember({"peterrec-serial", "peterrec-parallel", "peterrec-one", "fine-all", "fine-cls", "fine-last1",
                             "fine-last2", "fine-zero", "mtl"}));
  compare_app->add_option("--few-shot", options.compare.few_shot, "Also with these shares of the training examples: 0.05,0.1")
      ->delimiter(',')
      ->check(CLI::Range(1e-6, 1.0));
  compare_app
      ->add_option("--learning-rates", options.compare.learning_rates,
                   "Train each method with each of these and keep the one that is best on the validation part")
      ->delimiter(',')
      ->check(CLI::PositiveNumber);
  compare_app->add_option("--seeds", options.compare.seeds, "Fine-tune with this many seeds and print the means")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  compare_app->add_option("--sampled", options.sampled_negatives, "Negatives of the sampled protocol")
      ->check(CLI::Range(1, 1000000000))
      ->capture_default_str();
  compare_app->add_flag("--generate", options.compare.generate, "Make data with planted structure instead of reading --data");
  compare_app->add_option("--show-users", options.compare.show_users, "Users to print with their recommendations")
      ->capture_default_str();
  compare_app->callback([&] {
    if (compare_app->count("--base") == 0) options.base_file.clear();
    start(compare);
  });

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  return static_cast<int>(outcome);
}

}  // namespace

int main(int argc, char** argv) {
  return refrain::examples::guarded("peterrec", [&] { return run(argc, argv); });
}
