/// Finished runs, one JSON line each: what is read is the same after it was appended to another
/// file.

#include "cmnrec/results.hpp"
#include "fuzz/program.hpp"

namespace refrain::fuzz {
namespace {

const char* const line =
    R"({"model":"SRMN","slots":4,"seed":1,"parameters":10,"epochs":2,"seconds_per_epoch":0.5,"prediction_ms":1.5,"prediction_batch":8,)"
    R"("full":{"hr@5":0.5},"without_seen":{},"metric":"loss","curve":[{"epoch":1,"loss":2.5,"validation":2,"seconds":0.25}],)"
    R"("setting":{"model":"srmn","seed":1}})";

}  // namespace

void try_input(std::string_view input) {
  const std::string& path = file_with("results.jsonl", input);
  std::map<std::string, cmnrec::Run> runs;
  if (!accepted(path, [&] { runs = cmnrec::Results(path).runs(); })) return;
  const std::string& again = file_with("again.jsonl", "");
  const auto write_all = [&](const std::map<std::string, cmnrec::Run>& all) {
    file_with("again.jsonl", "");
    cmnrec::Results results(again);
    for (const auto& [key, run] : all) results.add(run);
    return contents_of(again);
  };
  const std::string written = write_all(runs);
  const std::map<std::string, cmnrec::Run> back = cmnrec::Results(again).runs();
  require(back.size() == runs.size(), "as many runs come back");
  require(write_all(back) == written, "runs come back");
  // A run added after any end of the file is read back together with the earlier runs.
  cmnrec::Run one;
  one.key = "{\"setting\":\"of this test alone\"}";
  cmnrec::Results(path).add(one);
  const cmnrec::Results longer(path);
  require(longer.find(one.key) != nullptr && longer.runs().size() >= runs.size(),
          "a run that was added is found");
}

std::vector<std::string> seeds() {
  const std::string whole(line);
  return {whole + "\n", whole + "\n\n" + whole.substr(0, 100), "{}\n" + whole};
}

}  // namespace refrain::fuzz
