/// Readers on real data: numbers of users, items and events counted by other programs.

#include <algorithm>
#include <filesystem>
#include <string>

#include "refrain/data/readers.hpp"
#include "support/catch.hpp"
#include "support/scratch.hpp"
#include "support/skip.hpp"

using namespace refrain;
using refrain::test::data_folder;

namespace {

bool exists(const std::string& name) { return std::filesystem::exists(data_folder() + "/" + name); }

struct Counts {
  std::int64_t rows, items, events;
  friend bool operator==(const Counts&, const Counts&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Counts& counts) {
    return out << counts.rows << " rows, " << counts.items << " items, " << counts.events
               << " events";
  }
};

Counts count(const Sequences& sequences) {
  return {sequences.rows.rows(), sequences.items.size(), sequences.rows.total()};
}

Counts count_file(const std::string& name) {
  return count(read_sequences(data_folder() + "/" + name));
}

}  // namespace

#define NEEDS(name) \
  if (!exists(name)) REFRAIN_SKIP("no " name " in " + data_folder())

TEST_CASE("data: ml-latest-small", "[data][sets]") {
  NEEDS("ml-latest-small/ratings.csv");
  CHECK(count_file("ml-latest-small/ratings.csv") == Counts{610, 9724, 100836});
  const Titles titles = read_titles(data_folder() + "/ml-latest-small/movies.csv");
  CHECK(titles.titles.size() == 9742);
  CHECK(titles.find("1") == "Toy Story (1995)");
  CHECK(titles.find("11") == "American President, The (1995)");
}

TEST_CASE("data: ml-100k", "[data][sets]") {
  NEEDS("ml-100k/u.data");
  CHECK(count_file("ml-100k/u.data") == Counts{943, 1682, 100000});
  const Profiles profiles = read_profiles(data_folder() + "/ml-100k/u.user");
  CHECK(profiles.users.size() == 943);
  CHECK(profiles.attribute("occupation").values.size() == 21);
  const Profiles::Attribute& gender = profiles.attribute("gender");
  CHECK(std::count(gender.of_user.begin(), gender.of_user.end(), gender.values.find("F")) == 273);
  CHECK(label_users(read_sequences(data_folder() + "/ml-100k/u.data"), profiles, "age")
            .source.rows.rows() == 943);
  const Titles titles = read_titles(data_folder() + "/ml-100k/u.item");
  CHECK(titles.titles.size() == 1682);
  CHECK(titles.find("543") == "Mis\xC3\xA9rables, Les (1995)");
}

TEST_CASE("data: ml-1m", "[data][sets]") {
  NEEDS("ml-1m/derived/sequences.txt");
  const Sequences sequences = read_sequences(data_folder() + "/ml-1m/derived/sequences.txt");
  CHECK(count(sequences) == Counts{6040, 3416, 999611});
  const Profiles profiles = read_profiles(data_folder() + "/ml-1m/users.dat");
  CHECK(profiles.users.size() == 6040);
  CHECK(profiles.attribute("age").values.size() == 7);
  CHECK(label_users(sequences, profiles, "gender").source.rows.rows() == 6040);
  CHECK(read_titles(data_folder() + "/ml-1m/movies.dat").titles.size() == 3883);
}

TEST_CASE("data: amazon-food-kitchen", "[data][sets]") {
  NEEDS("amazon-food-kitchen/train_overlap.txt");
  const Sequences overlap =
      read_sequences(data_folder() + "/amazon-food-kitchen/train_overlap.txt");
  CHECK(count(overlap) == Counts{7501, 25198, 99170});
  const TransferSequences parts = split_domains(overlap, 8661);
  CHECK(parts.source.rows.total() == 45849);
  CHECK(parts.target.rows.total() == 53321);
  CHECK(count_file("amazon-food-kitchen/valid.txt") == Counts{960, 7205, 18133});
  CHECK(count_file("amazon-food-kitchen/test.txt") == Counts{937, 6185, 15726});
  CHECK(count_file("amazon-food-kitchen/train_A.txt") == Counts{5472, 7856, 37281});
  CHECK(count_file("amazon-food-kitchen/train_B.txt") == Counts{38191, 27117, 265817});
}

TEST_CASE("data: amazon-beauty", "[data][sets]") {
  NEEDS("amazon-beauty/beauty.txt");
  CHECK(count_file("amazon-beauty/beauty.txt") == Counts{40226, 54542, 353962});
}

TEST_CASE("data: sample files of the CmnRec and PeterRec authors", "[data][sets]") {
  NEEDS("peterrec-demo");
  NEEDS("cmnrec-demo");
  CHECK(count_file("cmnrec-demo/demo.csv") == Counts{1804, 2794, 9020});
  const std::string stem = "peterrec-demo/history_sequences_20181014_fajie_transfer_";
  CHECK(count_file(stem + "pretrain_small.csv") == Counts{30, 174, 270});
  const TransferSequences rows = read_transfer(data_folder() + "/" + stem + "finetune_small.csv");
  CHECK(count(rows.source) == Counts{30, 174, 270});
  CHECK(rows.target.rows.rows() == 30);
}

TEST_CASE("data: globo", "[data][sets]") {
  NEEDS("globo/sequences.txt");
  CHECK(count_file("globo/sequences.txt") == Counts{322897, 46033, 2988181});
  CHECK(read_transfer(data_folder() + "/globo/old_to_new_articles.csv").target.rows.rows() ==
        73818);
  CHECK(read_profiles(data_folder() + "/globo/user_attributes.csv").users.size() == 322897);
}

TEST_CASE("data: tafeng", "[data][sets]") {
  NEEDS("tafeng/sequences.txt");
  CHECK(count_file("tafeng/sequences.txt") == Counts{32266, 23812, 817741});
  CHECK(count_file("tafeng/subclass_sequences.txt") == Counts{32266, 2012, 817741});
  CHECK(read_transfer(data_folder() + "/tafeng/food_to_nonfood.csv").target.rows.rows() == 18772);
  CHECK(read_profiles(data_folder() + "/tafeng/profiles.csv").users.size() == 32266);
}

TEST_CASE("data: chess", "[data][sets]") {
  NEEDS("chess/t100.txt");
  CHECK(count_file("chess/t100.txt") == Counts{85656, 3160, 101 * 85656});
  CHECK(read_profiles(data_folder() + "/chess/labels.csv").users.size() == 85656);
}

TEST_CASE("data: s3rec", "[data][sets]") {
  NEEDS("s3rec/Beauty.txt");
  CHECK(count_file("s3rec/Beauty.txt") == Counts{22363, 12101, 198502});
  CHECK(count_file("s3rec/Sports_and_Outdoors.txt") == Counts{35598, 18357, 296337});
}
