#include <fmt/core.h>

#include <set>

#include "common/concat.hpp"
#include "common/device.hpp"
#include "common/run_log.hpp"
#include "common/standard_streams.hpp"
#include "peterrec/commands.hpp"
#include "peterrec/evaluation.hpp"

namespace refrain::peterrec {
namespace {

void print(const std::string& task, const std::string& who, const Figures& figures,
           examples::RunLog& log) {
  fmt::print("\n{}: {}\n{}\n", task, who, figures.text());
  if (figures.accuracy) {
    log.write({{"accuracy", figures.accuracy->value()}, {"cross_entropy", figures.cross_entropy}},
              {{"task", task}, {"method", who}});
  } else {
    log.write({{"hr5_sampled", figures.sampled->hr(5)},
               {"mrr5_sampled", figures.sampled->mrr(5)},
               {"hr5_full", figures.full->hr(5)},
               {"mrr5_full", figures.full->mrr(5)}},
              {{"task", task}, {"method", who}});
  }
}

/// The options under which the patch was trained, so that the test part is what it has not seen.
/// Throws OptionError when the command line asks for others.
DataOptions options_of(const PatchNote& note, const std::string& path, const Options& options) {
  DataOptions data = options.data;
  data.split = note.split;
  data.split_seed = note.split_seed;
  data.length = note.length;
  const EvaluateOptions& given = options.evaluate;
  if (given.length && options.data.length != note.length) {
    throw OptionError(examples::concat("--length: ", path, " was trained with --length ",
                                       note.length, ", got --length ", options.data.length,
                                       "; leave it out"));
  }
  const bool other_split = (given.split && options.data.split != note.split) ||
                           (given.split_seed && options.data.split_seed != note.split_seed);
  if (task_kind(note.task) == TaskKind::next || !other_split)
    return data;  // the next-item task splits by time
  DataOptions asked = data;
  if (given.split) asked.split = options.data.split;
  if (given.split_seed) asked.split_seed = options.data.split_seed;
  throw OptionError(examples::concat(
      "--split: with another split than in training, the test part has users that ", path,
      " was trained on; expected ", split_text(data), ", got ", split_text(asked),
      "; leave both out"));
}

/// The next-item task is tested on each user's last item of then. Otherwise the split is drawn over
/// rows: other users, and the same ones in another order of the file, give another test part.
void warn_of_other_users(const PatchNote& note, const TaskData& task, const std::string& path) {
  if (task.kind == TaskKind::next) {
    if (note.test_users.empty() || task.test_users == note.test_users) return;
    examples::say(
        "warning: {} was trained on other sequences than these: items of the test part may "
        "be among those that it "
        "learned\n",
        path);
  } else if (task.users != note.users) {
    examples::say(
        "warning: {} was trained on data of {} users, this has {}: if some of them are the "
        "same, the test part has users "
        "of the training\n",
        path, note.users, task.users);
  } else if (!note.test_users.empty() && task.test_users != note.test_users) {
    examples::say(
        "warning: {} was trained with another test part, of users {}; this one is of users {}: "
        "other users, or the same ones "
        "in another order of their lines, and then the test part has users of the training\n",
        path, note.test_users, task.test_users);
  }
}

}  // namespace

Outcome evaluate(const Options& options) {
  examples::CommandFiles files = common_files(options);
  files.read.push_back({"--base", options.base_file});
  for (const std::string& path : options.patch_files) files.read.push_back({"--patch", path});
  examples::expect_files(files);
  examples::RunLog log(options.run.log);
  const LoadedBase base = load_base(options.base_file, examples::device_of(options.run));
  const RawData raw = read_data(options.data);
  const Protocols protocols{.negatives = options.sampled_negatives, .seed = options.run.seed};
  if (options.patch_files.empty()) {
    expect_held_out(base, "evaluate without --patch");
    if (!base.network->is_causal())
      throw OptionError("evaluate: a two-way base has no next-item scores; give a patch file");
    expect_length(raw, options.data);
    const TaskData task = task_data(raw, base.vocabulary, "next", options.data);
    print("next", "base",
          measure(task, task.test, {.length = options.data.length}, protocols,
                  base_scorer(*base.network, task)),
          log);
    print("next", "most popular",
          measure(task, task.test, {.length = options.data.length}, protocols,
                  popularity_scorer(task)),
          log);
    return Outcome::done;
  }
  std::set<std::string> measured;
  for (const std::string& path : options.patch_files) {
    if (!measured.insert(path).second)
      throw OptionError("--patch: expected each file once, got " + path + " twice");
    const LoadedPatch patch = load_patch_set(path, base);
    if (task_kind(patch.note.task) == TaskKind::next) expect_held_out(base, path);
    const DataOptions data = options_of(patch.note, path, options);
    const TaskData task =
        task_data(raw, base.vocabulary, patch.note.task, data, &patch.note.targets);
    warn_of_other_users(patch.note, task, path);
    const SequenceForm form{.length = data.length, .placement = placement_of(*base.network)};
    print(task.name, path,
          measure(task, task.test, form, protocols, scorer_of(*patch.set, *base.network)), log);
    if (task.kind == TaskKind::next && base.network->is_causal()) {
      print(task.name, "base",
            measure(task, task.test, form, protocols, base_scorer(*base.network, task)), log);
    }
    print(task.name, task.kind == TaskKind::profile ? "label frequency" : "most popular",
          measure(task, task.test, form, protocols, popularity_scorer(task)), log);
  }
  return Outcome::done;
}

}  // namespace refrain::peterrec
