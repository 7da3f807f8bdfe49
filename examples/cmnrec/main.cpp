// Command line of the CmnRec example.

#include "cmnrec/commands.hpp"
#include "common/command_line.hpp"
#include "common/prepare.hpp"
#include "common/transports.hpp"

namespace {

using namespace refrain::cmnrec;
using namespace refrain::examples;

void add_data(CLI::App& app, Options& options) {
  add_log_options(app, options.log, "Behaviour files");
}

void add_sequences(CLI::App& app, Options& options) {
  const FieldOptions add(app, "Sequences");
  add("length", options.model.length,
      "T, the number of time steps that a network reads; a sequence has one item more, the last "
      "target",
      Between{1, 100'000});
  visit_data(options.data, add);
  app.get_option("--min-length")->default_str("5, or 2 with --leave-last-out");
}

/// The defaults of leave-last-out, which takes two items from each sequence: users with few items
/// still train the model, and the validation part, one item per user, is large enough for a ranking
/// metric.
void settle_split(const CLI::App& app, Options& options) {
  if (!options.data.leave_last_out) return;
  if (app.count("--min-length") == 0) options.data.min_length = 2;
  if (app.count("--stop-on") == 0) options.loss.stop_on = refrain::StopOn::ndcg;
}

void add_training(CLI::App& app, Options& options) {
  visit_sizes(options.model, FieldOptions(app, "Model"));
  const OptionGroup model(app, "Model");
  model("--tied,!--no-tied", options.model.tied,
        "One item table for input and output; recurrent networks project their features to width E "
        "(--embedding)");
  model(
      "--dropout", options.model.dropout,
      "Probability of dropping elements of item vectors and of the outputs of recurrent layers or "
      "blocks in training",
      from_zero_below_one());
  model("--recompute", options.model.recompute,
        "Recompute gates in the backward pass instead of storing them: less memory");
  add_training_options(app, options.train, "", "Training");
  app.get_option("--learning-rate")
      ->default_str(refrain::detail::concat(default_learning_rate(ModelKind::gru4rec),
                                            ", of nextitnet ",
                                            default_learning_rate(ModelKind::nextitnet)));
  LossOptions& loss = options.loss;
  const OptionGroup add(app, "Training");
  add("--loss", loss.kind, "Softmax loss over all items, or against log-uniform samples");
  add("--negatives", loss.negatives, "Number of samples of --loss sampled; 0: a tenth of the items",
      between(0, 1'000'000'000));
  add("--loss-at", loss.at, "Time steps whose predictions enter the loss");
  add("--stop-on", loss.stop_on, "Figure of the validation part that early stopping uses")
      ->default_str("loss, or ndcg with --leave-last-out");
  add("--shift", loss.shift,
      "Maximum number of newest items that a training batch omits, at random, so that chunks end "
      "at different items",
      between(0, 100'000));
  add_value(app, "--protocol", options.protocol, "Items that the target is ranked among");
  add_value(app, "--without-seen", options.without_seen,
            "Exclude the items of the history from the ranking");
}

void add_trained_model(CLI::App& app, Options& options) {
  add_model_file(app, options.model_file, ",--checkpoint", "Trained model, as written by train");
}

void add_train(CLI::App& app, Options& options) {
  add_run_options(app, options.run);
  add_log_option(app, options.run);
  add_force_option(app, options.run);
  add_data(app, options);
  add_sequences(app, options);
  const OptionGroup add(app, "Model");
  add("--kind,--model", options.model.kind, "Model to train");
  add("--schedule", options.model.schedule,
      "Chunk steps of cmnrec; pec, tsc and exc have --slots chunk steps; a list of steps ends at "
      "--length");
  add("--slots", options.model.slots, "Number of chunks m", between(1, 100'000));
  add_training(app, options);
  add_search_options(app, options.search, true);
  add_from_option(app, options.from);
  add_value(app, "--out", options.model_file, "Output file");
  add_resume_option(app, options.state_file);
  add_deadline_option(app, options.run);
}

void settle_train(const CLI::App& app, Options& options) {
  settle_split(app, options);
  settle_search(app, options.search);
  settle_from(app, options.from);
}

void add_evaluate(CLI::App& app, Options& options) {
  add_run_options(app, options.run);
  add_log_option(app, options.run);
  add_ranks_option(app, options.run);
  add_data(app, options);
  add_trained_model(app, options);
  add_deadline_option(app, options.run);
}

void add_recommend(CLI::App& app, Options& options) {
  add_run_options(app, options.run);
  add_data(app, options);
  add_titles(app, options.log);
  add_trained_model(app, options);
  add_recommend_options(app, options.recommend);
}

void settle_recommending(const CLI::App& app, Options& options) {
  settle_recommend(app, options.recommend);
}

void add_compare(CLI::App& app, Options& options) {
  add_run_options(app, options.run);
  add_log_option(app, options.run);
  add_ranks_option(app, options.run);
  add_data(app, options);
  add_sequences(app, options);
  add_training(app, options);
  CompareOptions& compare = options.compare;
  add_value(
      app, "--models", compare.models,
      "Models to compare; pec, tsc, exc: CmnRec with this schedule; mostpop, ngram (trigrams), "
      "cooccurrence: baselines that count items");
  add_value(app, "--slots", compare.slots,
            "Numbers of chunks m; each schedule is trained with each of them", between(1, 100'000));
  add_value(app, "--seeds", compare.seeds,
            "Train with each of these seeds; means and spreads are printed")
      ->default_str("the value of --seed");
  add_value(app, "--results", compare.results,
            "Save finished runs to this file as JSON lines; runs that it already contains are not "
            "repeated");
  add_value(app, "--curves", compare.curves,
            "Write learning curves to PREFIX-curves.jsonl and PREFIX-curves.svg")
      ->type_name("PREFIX");
  add_value(app, "--prediction-batch", compare.prediction_batch,
            "Batch size for the timing of predictions", between(1, 100'000));
  add_value(app, "--generate", compare.generate,
            "Generate data with long-range dependencies instead of reading --data; the default "
            "sizes are smaller");
}

void settle_compare(const CLI::App& app, Options& options) {
  settle_split(app, options);
  if (app.count("--seeds") == 0) options.compare.seeds = {options.run.seed};
  if (!options.compare.generate) return;
  const auto unless_given = [&](const char* name, auto& value, auto small) {
    if (app.count(name) == 0) value = small;
  };
  using enum Contender;
  unless_given("--models", options.compare.models,
               std::vector{mostpop, ngram, cooccurrence, lstm4rec, gru4rec, srmn, tsc, pec, exc});
  unless_given("--hidden", options.model.hidden, 64);
  unless_given("--embedding", options.model.embedding, 32);
  unless_given("--word-size", options.model.word_size, 32);
  unless_given("--attention", options.model.attention, 16);
  unless_given("--channels", options.model.channels, 32);
  unless_given("--tied", options.model.tied, false);
  unless_given("--dropout", options.model.dropout, 0);
  unless_given("--epochs", options.train.epochs, 20);
  unless_given("--batch", options.train.batch, 64);
  unless_given("--learning-rate", options.train.learning_rate, 0.005);
  unless_given("--patience", options.train.patience, 20);
}

void add_prepare(CLI::App& app, Options& options) {
  add_prepare_options(app, options.log, options.prepare);
}

constexpr Command<Options> commands[] = {
    {.name = "train",
     .text = "Train one model on behaviour sequences",
     .add = add_train,
     .run = train,
     .settle = settle_train,
     .launch = Launch::together},
    {.name = "evaluate",
     .text = "Measure a trained model on the test part of its split",
     .add = add_evaluate,
     .run = evaluate,
     .launch = Launch::together},
    {.name = "recommend",
     .text = "Print recommendations for users and histories",
     .add = add_recommend,
     .run = recommend,
     .settle = settle_recommending,
     .launch = Launch::separate},
    {.name = "compare",
     .text = "Train models side by side and print accuracy and speed",
     .add = add_compare,
     .run = compare,
     .settle = settle_compare},
    {.name = "prepare",
     .text = "Write a log as a sequence store, for data larger than memory",
     .add = add_prepare,
     .run = [](const Options& options) { return prepare_log(options.log, options.prepare); }},
};

constexpr const char* about =
    "CmnRec: next-item recommendation with an external memory that is used only at chunk steps.\n"
    "Start with 'cmnrec compare --generate', which generates its own data.";

}  // namespace

int main(int argc, char** argv) {
  return guarded("cmnrec", [&] {
    return run_command<Options>("cmnrec", about, commands, argc, argv, transports);
  });
}
