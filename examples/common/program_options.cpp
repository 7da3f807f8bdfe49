#include "common/command_line.hpp"

#include <charconv>
#include <limits>

#include "refrain/data/sequence_store.hpp"

namespace refrain::examples {
namespace {

/// Accepts a file or the folder of a sequence store.
CLI::Validator log_or_store() {
  return CLI::Validator(
      [](std::string& path) { return is_store(path) ? std::string() : CLI::ExistingFile(path); },
      "FILE");
}

/// Accepts a file or "-".
CLI::Validator file_or_input() {
  return CLI::Validator(
      [](std::string& path) { return path == "-" ? std::string() : CLI::ExistingFile(path); },
      "FILE");
}

/// A number of bytes with an optional unit of 1024: 8388608, 512M, 4G. Throws OptionError about
/// --memory.
std::int64_t bytes_of(const std::string& text) {
  std::int64_t bytes = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bytes);
  const std::string unit(end, text.data() + text.size());
  const std::string units = "KMGT";
  const std::size_t power = unit.empty() ? 0 : units.find(unit.front()) + 1;
  const bool is_known = unit.empty() || (power != 0 && (unit.size() == 1 || unit.substr(1) == "B"));
  if (error != std::errc() || bytes < 0 || !is_known ||
      bytes > std::numeric_limits<std::int64_t>::max() >> (10 * power))
    throw OptionError(
        concat("--memory: expected a size such as 8388608, 512M or 4G, got '", text, "'"));
  return bytes << (10 * power);
}

void add_reader_options(CLI::App& app, LogOptions& log) {
  const OptionGroup add(app, "Data");
  add("--format", log.format, "Format of all files");
  add("--skip-bad-lines", log.skip_bad_lines, "Maximum number of malformed lines to skip in a file",
      not_negative());
  const auto add_column = [&](const char* name, std::string& column, const char* help) {
    add(name, column, help)->type_name("NAME");
  };
  add_column("--user-column", log.user_column,
             "Column of the user in the header of a table; default: found by its name (user_id, "
             "customer_id, ...)");
  add_column("--item-column", log.item_column,
             "Column of the item; default: found by its name (item_id, product_id, ...)");
  add_column("--time-column", log.time_column,
             "Column of the time, numbers or ISO 8601 dates; default: found by its name "
             "(timestamp, created_at, ...)");
  add("--in-file-order", log.in_file_order,
      "Ignore timestamps: each user's events are in time order in the file");
}

}  // namespace

void add_run_options(CLI::App& app, RunOptions& run) {
  add_value(app, "--seed", run.seed, "Random seed");
  add_value(app, "--threads", run.threads,
            "Threads of a process; 0: one for each core that it may use, which processes on one "
            "host share",
            between(0, 1024));
  add_value(app, "--device", run.device, "Device to compute on");
}

void add_log_options(CLI::App& app, LogOptions& log, const std::string& text) {
  OptionGroup(app, "Data")("--data", log.files, text + "; logs, or stores that prepare wrote",
                           log_or_store());
  add_reader_options(app, log);
}

void add_prepare_options(CLI::App& app, LogOptions& log, PrepareOptions& prepare) {
  OptionGroup(app, "Data")("--data", log.files, "Behaviour file; - for the standard input",
                           file_or_input());
  add_reader_options(app, log);
  add_value(app, "--out", prepare.store, "Folder to write, which must not exist");
  app.add_option_function<std::string>(
         "--memory", [&prepare](const std::string& text) { prepare.memory_bytes = bytes_of(text); },
         "Memory for tables and buffers, such as 512M or 4G; the store does not depend on it")
      ->default_str("1G")
      ->type_name("SIZE");
}

void add_titles(CLI::App& app, LogOptions& log) {
  OptionGroup(app, "Data")("--titles", log.titles,
                           "File of item titles: movies.csv, movies.dat or u.item",
                           CLI::ExistingFile);
}

void add_model_file(CLI::App& app, std::string& file, const std::string& names,
                    const std::string& text) {
  add_value(app, "--model" + names, file, text);
}

void add_log_option(CLI::App& app, RunOptions& run) {
  add_value(app, "--log", run.log, "Append progress and figures to this file as JSON lines");
}

void add_ranks_option(CLI::App& app, RunOptions& run) {
  add_value(app, "--ranks", run.ranks,
            "Append the rank of each test example to this file as JSON lines");
}

void add_training_options(CLI::App& app, TrainOptions& train, const std::string& prefix,
                          const std::string& group) {
  const auto add = [&, grouped = OptionGroup(app, group)](
                       const char* name, auto& value, const char* text,
                       const std::optional<CLI::Validator>& range = {}) {
    grouped("--" + prefix + name, value, text, range);
  };
  add("epochs", train.epochs, "Maximum number of epochs", between(1, 1000000));
  const bool is_automatic = train.batch == 0;
  add("batch", train.batch,
      is_automatic ? "Sequences per training step; 0: a tenth of the training examples, rounded to "
                     "8, 16, 32 or 64"
                   : "Sequences per training step",
      between(is_automatic ? 0 : 1, 1000000));
  add("slices", train.slices,
      "Slices of a training step: their gradients are added up, the memory for activations is "
      "that of one slice, and several processes (mpirun) share them",
      between(1, 65536));
  add("learning-rate", train.learning_rate, "Learning rate of Adam", above_zero());
  add("shuffle", train.shuffle,
      "Order of an epoch: full takes 8 bytes of memory per sequence, blocks none, and blocks reads "
      "data larger than memory from one part of the disk after the other");
  add("warmup", train.warmup,
      "Number of epochs, such as 0.5, in which the learning rate grows linearly to its value",
      not_negative());
  add("rate-schedule", train.rate_schedule,
      "Learning rate after the warm-up: constant, or a decay to 0 in the last epoch of --epochs");
  add("patience", train.patience,
      "Stop after this many epochs without improvement on the validation part",
      between(1, 1000000));
  add("plateau-margin", train.plateau_margin,
      "Patience counts only after an improvement over the first epoch by this share of its figure",
      not_negative());
  add("clip", train.clip, "Maximum gradient norm; 0: no clipping", not_negative());
  add("l2", train.l2, "L2 regularization of the head, with tied tables of the item table",
      not_negative());
  add("decay", train.decay,
      "Decoupled weight decay of dense weights; biases, norms and tables that are only looked up "
      "do not decay",
      not_negative());
}

void add_search_options(CLI::App& app, SearchOptions& search, bool has_dropout) {
  const OptionGroup add(app, "Search");
  // A value that is no list; a configuration file may turn the search on or off.
  const auto is_bare = [](const std::string& text) {
    return text.empty() || text == "true" || text == "false";
  };
  const auto set = [&search, is_bare](const std::vector<std::string>& given) {
    const bool has_list = given.size() != 1 || !is_bare(given.front());
    search.is_on = has_list || given.front() != "false";
    if (!has_list) return;
    search.learning_rates.clear();
    for (std::string text : given) {
      if (const std::string error = above_zero()(text); !error.empty())
        throw CLI::ValidationError("--search", error);
      CLI::detail::lexical_cast(text, search.learning_rates.emplace_back());
    }
  };
  app.add_option_function<std::vector<std::string>>(
         "--search", set,
         "Choose the learning rate on the validation part by successive halving, from this list "
         "or, without a list, from 0.0003,0.001,0.003,0.01")
      ->group("Search")
      ->expected(0, 1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->delimiter(',')
      ->type_name("LIST")
      ->check(CLI::Validator(
          [is_bare, number = above_zero()](std::string& text) {
            return is_bare(text) ? std::string() : number(text);
          },
          ""));
  if (has_dropout)
    add("--search-dropout", search.dropouts,
        "Choose the dropout from this list, too: each learning rate is tried with each of them",
        from_zero_below_one());
  add("--search-epochs", search.epochs,
      "Epochs of the first round; each further round keeps the better half and doubles the epochs",
      between(1, 1000000));
}

void settle_search(const CLI::App& app, const SearchOptions& search) {
  const auto given = [&](const char* name) {
    const CLI::Option* const option = app.get_option_no_throw(name);
    return option != nullptr && option->count() > 0;
  };
  if (!search.is_on) {
    for (const char* name : {"--search-dropout", "--search-epochs"}) {
      if (given(name)) throw OptionError(concat(name, ": expected --search beside it"));
    }
    return;
  }
  if (given("--learning-rate"))
    throw OptionError("--search: expected no --learning-rate, which the search chooses");
  if (given("--search-dropout") && given("--dropout"))
    throw OptionError("--search-dropout: expected no --dropout, which the search chooses");
}

void add_from_option(CLI::App& app, WarmStart& warm) {
  add_value(app, "--from", warm.file,
            "Start from this trained model: its network and all its items, to which the new items "
            "of --data are added");
}

void settle_from(const CLI::App& app, WarmStart& warm) {
  for (const CLI::Option* option : app.get_options()) {
    if (option->count() > 0) warm.given.insert(option->get_name());
  }
}

void add_force_option(CLI::App& app, RunOptions& run) {
  add_value(app, "--force", run.force, "Write the result even if it is worse than chance");
}

void add_deadline_option(CLI::App& app, RunOptions& run) {
  add_value(app, "--deadline", run.deadline,
            "Under mpirun: seconds that a process waits for another before it ends the job",
            between(1, 1'000'000));
}

void add_resume_option(CLI::App& app, std::string& state_file) {
  add_value(app, "--resume", state_file,
            "Save the training state to this file, and resume from it if it exists");
}

void add_recommend_options(CLI::App& app, RecommendOptions& recommend) {
  add_value(app, "--user", recommend.users, "Users of --data to recommend to");
  app.add_option("--history", recommend.histories,
                 "A history as item ids, separated by commas or blanks: a,b,c (may be empty; may "
                 "be given several times)")
      ->expected(0, 1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  add_value(app, "--count,--k", recommend.count, "Recommendations per user", between(1, 1000000));
  add_value(app, "--keep-seen", recommend.keep_seen, "Also recommend items that the user has seen");
  add_value(app, "--output", recommend.output,
            "Output format: readable text, JSON lines (one object per answer) or CSV (one line per "
            "item); with --all JSON lines by default");
  const OptionGroup add(app, "All users");
  add("--all", recommend.all, "Recommend to all users of --data, into numbered files");
  add("--out", recommend.folder,
      "Folder of the files, part-00000.jsonl and so on; finished files are kept");
  add("--part", recommend.share,
      "Compute only every N-th file, from the I-th: the share of one of N processes")
      ->type_name("I/N");
  add("--part-users", recommend.part_users, "Users in a file", between(1, 1'000'000'000));
  add("--force", recommend.force,
      "Remove the files of a run with other settings from the folder and start anew");
}

void settle_recommend(const CLI::App& app, RecommendOptions& recommend) {
  const auto given = [&](const char* name) { return app.count(name) > 0; };
  if (!recommend.all) {
    for (const char* name : {"--out", "--part", "--part-users", "--force"}) {
      if (given(name)) throw OptionError(concat(name, ": expected --all beside it"));
    }
    return;
  }
  for (const char* name : {"--user", "--history"}) {
    if (given(name)) throw OptionError(concat(name, ": expected no --all beside it"));
  }
  if (recommend.folder.empty())
    throw OptionError("--all: expected the folder of the files in --out, got none");
  if (!given("--output")) recommend.output = Output::json_lines;
  if (recommend.output == Output::text)
    throw OptionError("--output: expected jsonl or csv with --all, got text");
}

}  // namespace refrain::examples
