/// Progress display.

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "refrain/core/error.hpp"
#include "refrain/train/metric_log.hpp"
#include "refrain/train/progress.hpp"
#include "support/catch.hpp"
#include "support/scratch.hpp"

using namespace refrain;
using namespace refrain::test;

TEST_CASE("progress: plain lines at intervals of seconds", "[train][progress]") {
  std::ostringstream out;
  double now = 100;
  Progress progress(
      {.label = "epoch 1", .total = 200, .out = &out, .seconds = [&] { return now; }});
  for (int i = 0; i < 100; ++i) {
    now += 0.125;
    if (i == 60) progress.set_note("loss 1.5");
    progress.advance();
  }
  const std::string text = out.str();
  CHECK_THAT(text, contains("epoch 1  40/200 steps 20%  8.00/s  0:20 left\n"));
  CHECK(std::count(text.begin(), text.end(), '\n') == 2);
  progress.advance(100);
  now += 1;
  progress.finish();
  progress.finish();
  CHECK_THAT(out.str(), contains("epoch 1  200/200 steps 100%  14.8/s  0:14  loss 1.5\n"));
  const std::string ended = out.str();
  now += 100;
  progress.advance();
  CHECK(out.str() == ended);
}

TEST_CASE("progress: the end does not repeat the last line", "[train][progress]") {
  for (const bool is_new : {false, true}) {
    std::ostringstream out;
    double now = 0;
    Progress progress(
        {.label = "a", .unit = "epochs", .out = &out, .seconds = [&] { return now; }});
    now = 6;
    progress.set_note("loss 1");
    progress.advance();
    if (is_new) progress.set_note("loss 1, held-out loss 2");
    progress.finish();
    CHECK(out.str() == std::string("a  1 epoch  0.17/s  0:06  loss 1\n") +
                           (is_new ? "a  1 epoch  0.17/s  0:06  loss 1, held-out loss 2\n" : ""));
  }
}

TEST_CASE("progress: a bar overwrites itself and the rest of a longer line", "[train][progress]") {
  std::ostringstream out;
  double now = 0;
  {
    Progress progress(
        {.total = 4, .style = Progress::Style::bar, .out = &out, .seconds = [&] { return now; }});
    now = 1;
    progress.set_note("a long note");
    progress.advance();
    CHECK(out.str() ==
          "\r[######..................]  1/4 steps 25%  1.00/s  0:03 left  a long note");
    const std::size_t width = out.str().size() - 1;
    now = 1.05;
    progress.advance();  // too soon
    CHECK(out.str().size() == width + 1);
    now = 2;
    progress.set_note("");
    progress.advance();
    CHECK(out.str().size() == 2 * (width + 1));
    CHECK(out.str().find('\n') == std::string::npos);
  }
  CHECK(out.str().back() == '\n');
}

TEST_CASE("progress: unknown totals, quiet and times", "[train][progress]") {
  std::ostringstream out;
  double now = 0;
  Progress open({.unit = "rows", .out = &out, .seconds = [&] { return now; }});
  now = 10;
  open.advance(5000);
  CHECK(out.str() == "5000 rows  500/s  0:10\n");

  std::ostringstream nothing;
  {
    Progress quiet({.total = 1, .style = Progress::Style::quiet, .out = &nothing, .seconds = [&] {
                      return now;
                    }});
    now = 100;
    quiet.advance();
    quiet.finish();
    CHECK(quiet.elapsed_seconds() == 90);
  }
  CHECK(nothing.str().empty());

  CHECK(clock_time(0) == "0:00");
  CHECK(clock_time(75.4) == "1:15");
  CHECK(clock_time(3675) == "1:01:15");
  CHECK(clock_time(-1) == "?");
  CHECK(clock_time(std::numeric_limits<double>::infinity()) == "?");
}

TEST_CASE("metric_log: appends complete JSON lines", "[train][progress]") {
  const ScratchFolder folder;
  const std::string path = folder.write("log.jsonl", "{\"cut\":");
  {
    MetricLog log(path);
    log.write({{"epoch", 1}, {"loss", 0.1}}, {{"split", "va\"lid\n"}});
    log.write({{"loss", NAN}, {"worst", INFINITY}});
  }
  {
    MetricLog log(path);
    log.write({{"step", 3000000000.0}, {"tiny", 1e-300}}, {{"bad", "\xFF"}});
  }
  std::istringstream lines(read_file(path));
  std::vector<std::string> got;
  for (std::string line; std::getline(lines, line);) got.push_back(line);
  REQUIRE(got.size() == 4);
  CHECK(got[0] == "{\"cut\":");
  CHECK(got[1] == R"({"epoch":1,"loss":0.1,"split":"va\"lid\n"})");
  CHECK(got[2] == R"({"loss":null,"worst":null})");
  const nlohmann::json last = nlohmann::json::parse(got[3]);
  CHECK(last["step"] == 3000000000);
  CHECK(last["tiny"] == 1e-300);
  CHECK(read_file(path).back() == '\n');
  CHECK_THROWS_AS(MetricLog(folder.path("none/log")), DataError);
  MetricLog full("/dev/full");
  CHECK_THROWS_MATCHES(full.write({{"x", 1}}), DataError, message_contains("No space left"));
}
