/// docs/kernels.md lists the kernels in the tables of the devices and the reasons for missing ones.

#include "support/support_matrix.hpp"

#include <set>

#include "support/catch.hpp"

using namespace refrain;
using namespace refrain::test;

TEST_CASE(
    "support matrix: docs/kernels.md has a row for each contract with the kernels of the devices",
    "[docs]") {
  const std::string page = text_of("docs/kernels.md");
  using Problems = std::vector<std::string>;
  CHECK(matrix_problems(page, entries_of(kernels::table(Device::cpu)), &MatrixRow::cpu) ==
        Problems{});
  CHECK(matrix_problems(page, entries_on<Device::cuda>(), &MatrixRow::cuda) == Problems{});
  for (const MatrixRow& row : matrix_rows(page)) CHECK(row.cpu.starts_with("f32, f64"));
}

TEST_CASE("support matrix: the list of contracts has each contract once", "[docs]") {
  std::set<std::string> names;
  const std::vector<TableEntry> entries = entries_of(kernels::table(Device::cpu));
  for (const TableEntry& entry : entries) names.insert(entry.name);
  CHECK(names.size() == kernels::Contracts::size);
  CHECK(entries.size() == kernels::Contracts::size);
}

TEST_CASE("support matrix: a planted absence is detected", "[docs]") {
  const char* const reason = "The kernel was taken out for a test.";
  kernels::Table table = kernels::table(Device::cpu);
  table.entry<kernels::LstmBackward>() = {.absent = reason};
  for (const TableEntry& entry : entries_of(table)) {
    INFO(entry.name);
    CHECK(entry.absent == (entry.name == "lstm_backward" ? reason : ""));
  }
  const std::vector<std::string> problems =
      matrix_problems(text_of("docs/kernels.md"), entries_of(table), &MatrixRow::cpu);
  REQUIRE(problems.size() == 1);
  CHECK(problems.front().starts_with("lstm_backward: is not in the table"));
  CHECK_THROWS_MATCHES(
      kernels::run(table.entry<kernels::LstmBackward>(), kernels::LstmBackward{}), Unsupported,
      message_contains(std::string("lstm_backward: Device::cpu has no such kernel: ") + reason));
}

TEST_CASE("support matrix: every disagreement is detected", "[docs]") {
  using Problems = std::vector<std::string>;
  const std::vector<TableEntry> entries{
      {"dot"}, {"top_k", "Sorting waits for a radix sort."}, {"adam"}};
  const auto problems = [&](const std::string& rows) {
    return matrix_problems("Text.\n| entry | CPU | CUDA | FLOPs |\n|---|---|---|---|\n" + rows +
                               "\n\n| `later` | | |\n",
                           entries, &MatrixRow::cuda);
  };
  const std::string adam_and_dot = "| `adam`, `dot` | f32, f64 | f32, f64 (fused) | n |\n";
  CHECK(problems(adam_and_dot + "| `top_k` | f32, f64 | Sorting waits for a radix sort. | |\n") ==
        Problems{});
  CHECK(problems(adam_and_dot).front() == "top_k: has no row");
  CHECK(problems(adam_and_dot + "| `top_k` | f32, f64 | | |\n").size() == 1);     // an empty cell
  CHECK(problems(adam_and_dot + "| `top_k` | f32, f64 | no | |\n").size() == 1);  // no reason
  // Claimed, but absent.
  CHECK(problems(adam_and_dot + "| `top_k` | f32, f64 | f32, f64 | |\n").size() == 1);
  CHECK(problems(adam_and_dot + "| `top_k` | f32, f64 | Another reason is given. | |\n").size() ==
        1);
  // Present, but not listed.
  CHECK(problems("| `adam`, `dot`, `top_k` | f32 | Sorting waits for a radix sort. | |\n").size() ==
        2);
  CHECK(problems(adam_and_dot + "| `top_k`, `sgd` | f32 | Sorting waits for a radix sort. | |\n")
            .back() == "sgd: has a row but no entry");
  CHECK(problems(adam_and_dot + adam_and_dot +
                 "| `top_k` | f32 | Sorting waits for a radix sort. | |\n")
            .size() == 2);
}
