/// Profiles and titles of users and items.

#include "data/read_texts.hpp"

using namespace refrain;
using namespace refrain::test;

TEST_CASE("readers: profiles label users", "[data]") {
  const ScratchFolder folder;
  const Profiles coded =
      read_profiles(folder.write("users.dat", "1::F::1::10::48067\n2::M::56::16::70072\n"));
  CHECK(coded.value("1", "gender") == "F");
  CHECK(coded.value("2", "age") == "56");
  CHECK(coded.value("2", "occupation") == "16");
  CHECK_FALSE(coded.value("3", "age").has_value());
  CHECK_THROWS_MATCHES(coded.value("1", "shoe"), OptionError,
                       message_contains("\"gender\", \"age\", \"occupation\""));

  std::string text;
  const std::vector<std::pair<int, std::string>> ages{
      {7, "1"},   {17, "1"},  {18, "18"}, {24, "18"}, {25, "25"}, {34, "25"}, {35, "35"},
      {44, "35"}, {45, "45"}, {49, "45"}, {50, "50"}, {55, "50"}, {56, "56"}, {73, "56"}};
  for (const auto& [age, band] : ages) text += detail::concat("u", age, "|", age, "|M|writer|1\n");
  const Profiles years = read_profiles(folder.write("u.user", text));
  for (const auto& [age, band] : ages) CHECK(years.value(detail::concat("u", age), "age") == band);

  const std::string bad = folder.write(
      "users.dat",
      "1::F::2::10::4\n1::F::1::10::4\n1::M::1::1::1\n2::F\n3::F::x::1::1\n4::::1::1::1\n");
  ReadReport report;
  CHECK(read_profiles(bad, {.skip_bad_lines = 5, .report = &report}).users.size() == 1);
  REQUIRE(report.bad_lines.size() == 5);
  CHECK_THAT(report.bad_lines[0].reason, contains("age 2: expected one of the codes"));
  CHECK_THAT(report.bad_lines[1].reason, contains("duplicate profile"));
  CHECK_THROWS_AS(read_profiles(bad), DataError);

  const Sequences sequences = read_sequences(folder.write("rows", "2 a b\n9 a c\n1 c\n"));
  const TransferSequences task = label_users(sequences, coded, "gender");
  CHECK(words(task.source) == Words{{"a", "b"}, {"c"}});
  CHECK(words(task.target) == Words{{"M"}, {"F"}});
  CHECK(row_users(task.source) == std::vector<std::string>{"2", "1"});
  CHECK_THROWS_AS(label_users(sequences, years, "gender"), DataError);
  CHECK_THROWS_AS(label_users(read_sequences(folder.write("nameless", "a,b\n")), coded, "gender"),
                  OptionError);
}

TEST_CASE("readers: one value of an attribute against all others", "[data]") {
  const ScratchFolder folder;
  const Profiles profiles =
      read_profiles(folder.write("users.csv",
                                 "user,likes,town,a=b\nu1,war|drama,Oslo,x\nu2,drama,Rome,y\nu3,,"
                                 "Oslo,x\nu4, |sci fi | war,,\n"));
  const Profiles::Attribute& likes = profiles.attribute("likes");
  CHECK(likes.has_several_values());
  CHECK(likes.single_values() == std::vector<std::string>{"war", "drama", "sci fi"});
  const Profiles::Attribute war = likes.one_against_all("war");
  CHECK(war.name == "likes=war");
  CHECK(war.values[0] == "no");
  CHECK(war.values[1] == "yes");
  CHECK(war.of_user == std::vector<std::int32_t>{1, 0, absent_id, 1});
  CHECK_FALSE(profiles.attribute("town").has_several_values());
  CHECK_THROWS_MATCHES(likes.one_against_all("wa"), OptionError,
                       message_contains("expected a value of \"likes\", got \"wa\""));

  const Sequences sequences = read_sequences(folder.write("rows", "u1 a b\nu2 b\nu3 c\nu4 a\n"));
  const auto labels = [&](const char* task) {
    return words(label_users(sequences, profiles, task).target);
  };
  CHECK(labels("likes=sci fi") == Words{{"no"}, {"no"}, {"yes"}});
  CHECK(labels("town=Rome") == Words{{"no"}, {"yes"}, {"no"}});
  CHECK(labels("a=b") == Words{{"x"}, {"y"}, {"x"}});  // an attribute of this name
  CHECK(labels("a=b=y") == Words{{"no"}, {"yes"}, {"no"}});
  CHECK_THROWS_AS(labels("towns=Rome"), OptionError);
}

TEST_CASE("readers: profiles from a table with a header", "[data]") {
  const ScratchFolder folder;
  ReadReport report;
  const Profiles commas =
      read_profiles(folder.write("users.csv",
                                 "churned,Customer_ID,\"home, town\"\nno,anna,\"Oslo, "
                                 "N\"\nyes,ben,\n\n,cleo,\"\"\"Rome\"\"\"\n"),
                    {.report = &report});
  CHECK(report.read_as == "profiles: user \"Customer_ID\", \"churned\", \"home, town\"");
  CHECK(commas.value("anna", "home, town") == "Oslo, N");
  CHECK(commas.value("cleo", "home, town") == "\"Rome\"");
  CHECK_FALSE(commas.value("ben", "home, town").has_value());
  CHECK_FALSE(commas.value("cleo", "churned").has_value());
  CHECK(commas.value("ben", "churned") == "yes");

  const Profiles tabs =
      read_profiles(folder.write("a.user", "user_id:token\t age :float\n7\t24.5\n8\t 30 \n"));
  CHECK(tabs.value("7", "age") == "24.5");
  CHECK(tabs.value("8", "age") == "30");

  const Sequences sequences =
      read_sequences(folder.write("rows", "cleo a b\nben a c\nanna c\nx a\n"));
  const TransferSequences task = label_users(sequences, commas, "churned");
  CHECK(words(task.source) == Words{{"a", "c"}, {"c"}});
  CHECK(words(task.target) == Words{{"yes"}, {"no"}});
  CHECK_THROWS_MATCHES(label_users(sequences, tabs, "age"), DataError, message_contains("\"age\""));

  const auto refused = [&](const std::string& text, const std::string& why) {
    INFO(text);
    CHECK_THROWS_MATCHES(read_profiles(folder.write("bad.csv", text)), DataError,
                         message_contains(why));
  };
  refused("user,a\n1,2,3\n", ":2: expected 2 fields separated by \",\", got 3");
  refused("user,a\n1,2\n1,3\n", ":3: duplicate profile of user \"1\"");
  refused("user,a\n,3\n", "the user id is empty");
  refused("user,a\n", "holds no profiles");
  refused("user\n1\n", "no attribute");
  refused("user,a,a:token\n1,2,3\n", "two columns of the header are named \"a\"");
  refused("user,,b\n1,2,3\n", "column 2 of the header has no name");
  refused("name,a\n1,2\n", "MovieLens' users.dat or u.user, got \"name,a\"");
  refused("user,\"a\n1,2\n", "expected a header that names a user column");
}

TEST_CASE("readers: titles are converted to UTF-8", "[data]") {
  const ScratchFolder folder;
  const std::string utf8 = "L\xC3\xA9on";  // é
  const Titles bars =
      read_titles(folder.write("u.item", "1|L\xE9on|x|y\n2|Plain|x\n3|L\xC3\xA9on\n"));
  CHECK(bars.find("1") == utf8);
  CHECK(bars.find("2") == "Plain");
  CHECK(bars.find("3") == utf8);
  CHECK_FALSE(bars.find("4").has_value());
  CHECK(read_titles(folder.write("movies.dat", "1::L\xE9on, the (1994)::Drama|War\n")).find("1") ==
        utf8 + ", the (1994)");
  const Titles quoted = read_titles(
      folder.write("movies.csv", "movieId,title,genres\n11,\"A, \"\"B\"\" (1995)\",X\n12,C,Y|Z\n"));
  CHECK(quoted.find("11") == "A, \"B\" (1995)");
  CHECK(quoted.find("12") == "C");
  CHECK_THROWS_MATCHES(read_titles(folder.write("movies.csv", "movieId,title,genres\n1\n")),
                       DataError, message_contains(":2:"));
  CHECK_THROWS_MATCHES(read_titles(folder.write("movies.csv", "movieId,title\n1,a\n1,b\n")),
                       DataError, message_contains("duplicate title"));
}
