/// The names and shapes of weights in docs/interop.md are those of the models.

#include <cstdint>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "refrain_models/cmnrec.hpp"
#include "refrain_models/nextitnet.hpp"
#include "refrain_models/peterrec.hpp"
#include "support/catch.hpp"
#include "support/source_dir.hpp"

using namespace refrain;

namespace {

/// The rows "| `name` | `[shape]` |" below a heading: name pattern -> shape.
std::map<std::string, std::string> documented(const std::string& heading) {
  std::ifstream page(refrain::test::source_dir() + "/docs/interop.md");
  std::map<std::string, std::string> rows;
  bool inside = false;
  for (std::string line; std::getline(page, line);) {
    if (line.starts_with("#")) inside = line == "### " + heading;
    if (!inside || !line.starts_with("| `")) continue;
    const std::size_t name_end = line.find('`', 3);
    const std::size_t shape_begin = line.find('`', name_end + 1) + 1;
    rows[line.substr(3, name_end - 3)] =
        line.substr(shape_begin, line.find('`', shape_begin) - shape_begin);
  }
  return rows;
}

/// A documented shape such as "[K,C,C]" with letters for sizes that are all different.
Shape shape_of(const std::string& text, const std::map<std::string, std::int64_t>& sizes) {
  std::vector<std::int64_t> extents;
  for (std::size_t begin = 1; begin < text.size();) {
    const std::size_t end = text.find_first_of(",]", begin);
    const std::string extent = text.substr(begin, end - begin);
    INFO("extent " << extent << " of " << text);
    REQUIRE(sizes.count(extent) == 1);
    extents.push_back(sizes.at(extent));
    begin = end + 1;
  }
  return Shape(extents);
}

using Sizes = std::map<std::string, std::int64_t>;

struct Described {
  const Module& model;
  Sizes sizes;
};

void check_names(const std::string& heading, const std::vector<Described>& models) {
  const std::map<std::string, std::string> rows = documented(heading);
  REQUIRE_FALSE(rows.empty());
  std::set<std::string> seen;
  for (const Described& described : models) {
    for (const ConstNamedParameter& parameter : described.model.parameters()) {
      INFO(parameter.name);
      int found = 0;
      for (const auto& [pattern, shape] : rows) {
        if (!detail::matches(pattern, parameter.name)) continue;
        ++found;
        seen.insert(pattern);
        CHECK(parameter.parameter->shape() == shape_of(shape, described.sizes));
      }
      CHECK(found == 1);
    }
  }
  for (const auto& [pattern, shape] : rows) {
    INFO("documented parameter " << pattern);
    CHECK(seen.count(pattern) == 1);
  }
}

}  // namespace

TEST_CASE("docs: names and shapes of the models' weights", "[docs]") {
  Random random(1);
  const models::NextItNet base({.items = 31, .channels = 8, .dilations = {1, 2}, .width = 3},
                               random);
  check_names("NextItNet", {{base, {{"items", 31}, {"C", 8}, {"K", 3}}}});

  const models::PatchSet patches(
      base, {.patches = {.bottleneck = 5}, .head = {.targets = 13}, .tcl_id = 1}, random);
  check_names("PeterRec's patch sets",
              {{patches, {{"targets", 13}, {"C", 8}, {"D", 5}, {"1", 1}}}});

  // One layer, because the input of a second layer has size H instead of E.
  const auto options = [](auto network) {
    network.items = 29, network.embedding = 7, network.hidden = 11, network.words = 3,
    network.word_size = 6, network.heads = 2;
    network.attention = 5;
    return network;
  };
  const models::CmnRec<Lstm> lstm(options(models::CmnRec<Lstm>::Options{}), random);
  const models::CmnRec<Gru> gru(options(models::CmnRec<Gru>::Options{}), random);
  Sizes sizes{{"items", 29}, {"E", 7},    {"H", 11},
              {"A", 5},      {"R W", 12}, {"R W + 3 W + 5 R + 3", 43},
              {"4H", 44},    {"3H", 33}};
  Sizes gru_sizes = sizes;
  gru_sizes["4H"] = gru_sizes["3H"];
  check_names("CmnRec", {{lstm, sizes}, {gru, gru_sizes}});
}
