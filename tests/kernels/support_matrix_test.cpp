/// docs/kernels.md says what the CPU table has. The CUDA column is checked by tests/cuda/, which
/// has that table.

#include "support/support_matrix.hpp"

#include "support/catch.hpp"

using namespace refrain;
using namespace refrain::test;

TEST_CASE("support matrix: docs/kernels.md has a row for each entry and what the CPU has",
          "[docs]") {
  const std::string page = text_of("docs/kernels.md");
  CHECK(matrix_problems(page, entries_of(kernels::table(Device::cpu)), &MatrixRow::cpu) ==
        std::vector<std::string>{});
  for (const MatrixRow& row : matrix_rows(page)) CHECK(row.cpu.starts_with("f32, f64"));
}

TEST_CASE("support matrix: entries are told apart by whether they are filled", "[docs]") {
  kernels::Table table = kernels::table(Device::cpu);
  table.lstm_backward = {};
  for (const TableEntry& entry : entries_of(table)) {
    INFO(entry.name);
    CHECK(entry.is_filled == (entry.name != "lstm_backward"));
  }
  CHECK(entries_of(table).front().name == "causal_conv_forward");
}

TEST_CASE("support matrix: every disagreement is found", "[docs]") {
  using Problems = std::vector<std::string>;
  const std::vector<TableEntry> entries{{"dot", true}, {"top_k", false}, {"adam", true}};
  const auto problems = [&](const std::string& rows) {
    return matrix_problems("Text.\n| entry | CPU | CUDA | FLOPs |\n|---|---|---|---|\n" + rows +
                               "\n\n| `later` | | |\n",
                           entries, &MatrixRow::cuda);
  };
  const std::string adam_and_dot = "| `adam`, `dot` | f32, f64 | f32, f64 (fused) | n |\n";
  CHECK(problems(adam_and_dot + "| `top_k` | f32, f64 | Sorting waits for a radix sort. | |\n") ==
        Problems{});
  CHECK(problems(adam_and_dot).front() == "top_k: has no row");
  CHECK(problems(adam_and_dot + "| `top_k` | f32, f64 | | |\n").size() == 1);     // blank
  CHECK(problems(adam_and_dot + "| `top_k` | f32, f64 | no | |\n").size() == 1);  // no reason
  CHECK(problems(adam_and_dot + "| `top_k` | f32, f64 | f32, f64 | |\n").size() ==
        1);  // claimed, and not there
  CHECK(problems("| `adam`, `dot`, `top_k` | f32 | Later, for good reasons. | |\n").size() ==
        2);  // there, and not told
  CHECK(problems(adam_and_dot + "| `top_k`, `sgd` | f32 | Sorting waits for a radix sort. | |\n")
            .back() == "sgd: has a row and is no entry");
  CHECK(problems(adam_and_dot + adam_and_dot +
                 "| `top_k` | f32 | Sorting waits for a radix sort. | |\n")
            .size() == 2);
}
