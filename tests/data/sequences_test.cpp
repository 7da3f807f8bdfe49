/// Sequences that are joined.

#include "data/read_texts.hpp"

using namespace refrain;
using namespace refrain::test;

TEST_CASE("sequences: appending joins items, and users where both have them", "[data]") {
  const ScratchFolder folder;
  Sequences named = read_sequences(folder.write("a", "1 x y\n2 z z\n"));
  append(named, read_sequences(folder.write("b", "3 z z\n2 y w\n")));
  CHECK(words(named) == Words{{"x", "y"}, {"z", "z", "y", "w"}, {"z", "z"}});
  CHECK(row_users(named) == std::vector<std::string>{"1", "2", "3"});
  CHECK(named.items.size() == 4);
  append(named, read_sequences(folder.write("c", "3 q x\n4 y y\n1 z y\n")));
  CHECK(words(named) ==
        Words{{"x", "y", "z", "y"}, {"z", "z", "y", "w"}, {"z", "z", "q", "x"}, {"y", "y"}});
  CHECK(row_users(named) == std::vector<std::string>{"1", "2", "3", "4"});
  append(named, read_sequences(folder.write("d", "x,p\n")));
  CHECK(named.user.empty());
  CHECK(named.users.empty());
  CHECK(named.rows.rows() == 5);
  CHECK(named.items.size() == 6);
  append(named, read_sequences(folder.write("e", "1 x\n2 z z\n")));
  CHECK(named.rows.rows() == 7);
}

TEST_CASE("sequences: a user's rows are joined in their order, and an empty one is a row",
          "[data]") {
  // Row by row: user, items as letters.
  const auto made = [](const std::vector<std::pair<std::string, std::string>>& rows) {
    Sequences sequences;
    for (const auto& [user, items] : rows) {
      for (const char item : items)
        sequences.rows.add(sequences.items.intern(std::string(1, item)));
      sequences.rows.end_row();
      sequences.user.push_back(sequences.users.intern(user));
    }
    return sequences;
  };
  Sequences all = made({{"a", "xy"}, {"b", ""}, {"a", "z"}});
  append(all, made({{"c", ""}, {"b", "w"}, {"a", ""}, {"b", "x"}, {"a", "y"}}));
  CHECK(words(all) == Words{{"x", "y", "z", "y"}, {"w", "x"}, {}});
  CHECK(row_users(all) == std::vector<std::string>{"a", "b", "c"});
  Sequences none;
  append(none, made({{"b", "w"}, {"a", "x"}, {"b", "y"}}));
  CHECK(words(none) == Words{{"w", "y"}, {"x"}});
}
