#include "common/search_record.hpp"

#include <fmt/format.h>

#include <cmath>

#include "refrain/core/text.hpp"

namespace refrain::examples {

std::string SearchCandidate::text() const {
  return fmt::format("learning rate {}", learning_rate) +
         (dropout ? fmt::format(", dropout {}", *dropout) : std::string());
}

std::string SearchRecord::setting() const {
  std::string list;
  for (const SearchCandidate& each : candidates) list += (list.empty() ? "" : "; ") + each.text();
  return fmt::format("{}; {} in the first round", list, counted(first_epochs, "epoch"));
}

std::string SearchRecord::summary() const {
  return fmt::format("chose {} among {} candidates: best {} {:.4f} in at most {}", choice().text(),
                     candidates.size(), metric, choice().figure, counted(choice().epochs, "epoch"));
}

std::vector<SearchCandidate> candidates_of(const SearchOptions& options) {
  const auto expect_distinct = [](const char* option, const std::vector<double>& values) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        if (values[i] == values[j]) {
          throw OptionError(
              fmt::format("{}: expected different values, got {} twice", option, values[i]));
        }
      }
    }
  };
  expect_distinct("--search", options.learning_rates);
  expect_distinct("--search-dropout", options.dropouts);
  std::vector<SearchCandidate> candidates;
  for (const double rate : options.learning_rates) {
    if (options.dropouts.empty()) candidates.push_back({.learning_rate = rate});
    for (const double dropout : options.dropouts)
      candidates.push_back({.learning_rate = rate, .dropout = dropout});
  }
  if (candidates.size() < 2) {
    throw OptionError(fmt::format("--search: expected at least two candidates, got {}",
                                  candidates.empty() ? "none" : candidates.front().text()));
  }
  return candidates;
}

nlohmann::json json_of(const SearchRecord& record) {
  nlohmann::json candidates = nlohmann::json::array();
  for (const SearchCandidate& each : record.candidates) {
    nlohmann::json& one = candidates.emplace_back(nlohmann::json{
        {"learning_rate", each.learning_rate}, {"epochs", each.epochs}, {"figure", each.figure}});
    if (each.dropout) one["dropout"] = *each.dropout;
  }
  return {{"metric", record.metric},
          {"first_epochs", record.first_epochs},
          {"chosen", record.chosen},
          {"candidates", std::move(candidates)}};
}

SearchRecord search_record(const JsonFields& fields) {
  SearchRecord record{.metric = fields.text("metric"),
                      .first_epochs = fields.integer("first_epochs", {.least = 1})};
  for (const JsonFields& each : fields.objects("candidates")) {
    SearchCandidate& candidate = record.candidates.emplace_back(
        SearchCandidate{.learning_rate = each.number("learning_rate"),
                        .epochs = each.integer("epochs", {.least = 1}),
                        .figure = each.number("figure")});
    if (each.has("dropout")) candidate.dropout = each.share("dropout");
    if (!(candidate.learning_rate > 0 && std::isfinite(candidate.learning_rate)))
      fields.fail("expected learning rates above 0 in the search");
  }
  if (record.candidates.size() < 2) fields.fail("expected at least two candidates of the search");
  record.chosen = static_cast<std::size_t>(
      fields.integer("chosen", {.most = static_cast<std::int64_t>(record.candidates.size()) - 1}));
  return record;
}

}  // namespace refrain::examples
