#include "refrain/distributed/agreement.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <string_view>

#include "refrain/core/isa.hpp"
#include "refrain/core/math_mode.hpp"
#include "refrain/version.hpp"
#include "src/cores.hpp"
#include "src/host_name.hpp"
#include "src/probe.hpp"
#include "src/ranks.hpp"

namespace refrain {
namespace {

/// Names and values, each ended by a zero byte.
std::string packed(const Identity& identity) {
  std::string text;
  for (const auto& [name, value] : identity) {
    text.append(name.c_str(), name.size() + 1);
    text.append(value.c_str(), value.size() + 1);
  }
  return text;
}

Identity unpacked(std::span<const std::byte> bytes) {
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const auto next = [&] {
    const std::size_t end = std::min(text.find('\0'), text.size());
    const std::string field(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    return field;
  };
  Identity identity;
  while (!text.empty()) {
    std::string name = next();
    identity.emplace_back(std::move(name), next());
  }
  return identity;
}

const std::string* find(const Identity& identity, std::string_view name) {
  for (const auto& [key, value] : identity) {
    if (key == name) return &value;
  }
  return nullptr;
}

/// The differences of a rank from rank 0; empty when there are none.
std::string differences(const Identity& first, const Identity& other, const std::string& first_text,
                        const std::string& text) {
  std::string all;
  const auto compare = [&](const std::string& name) {
    const auto value = [&](const Identity& identity) {
      const std::string* found = find(identity, name);
      return found != nullptr ? *found : "no value";
    };
    if (value(first) == value(other)) return;
    all += detail::concat("\n  ", name, ": ", text, " has ", value(other), ", ", first_text,
                          " has ", value(first));
  };
  for (const auto& entry : first) compare(entry.first);
  for (const auto& entry : other) {
    if (find(first, entry.first) == nullptr) compare(entry.first);
  }
  return all;
}

}  // namespace

std::vector<std::vector<std::byte>> gather_bytes(Communicator& communicator,
                                                 std::span<const std::byte> own) {
  const std::array<std::uint64_t, 1> size{own.size()};
  std::vector<std::vector<std::byte>> all;
  for (const std::uint64_t bytes : gather_values<std::uint64_t>(communicator, size))
    all.emplace_back(bytes);
  const std::vector<std::span<std::byte>> blocks(all.begin(), all.end());
  communicator.all_gather(own, blocks);
  return all;
}

std::uint64_t any_bits(Communicator& communicator, std::uint64_t own) {
  std::uint64_t any = 0;
  for (const std::uint64_t bits :
       gather_values(communicator, std::span<const std::uint64_t>(&own, 1)))
    any |= bits;
  return any;
}

GatheredRows gather_rows(Communicator& communicator, const Tensor& ids, const Tensor& values) {
  if (ids.rank() != 1 || values.rank() != 2 || ids.size(0) != values.size(0)) {
    throw ShapeError(detail::concat("gather_rows: expected ids [n] and values [n, C], got ",
                                    ids.shape(), " and ", values.shape()));
  }
  if (ids.dtype() != DType::i32 || !is_floating(values.dtype())) {
    throw DTypeError(
        detail::concat("gather_rows: expected ids of i32 and values of f32 or f64, got ",
                       ids.dtype(), " and ", values.dtype()));
  }
  if (ids.device() != values.device()) {
    throw DeviceError(detail::concat("gather_rows: expected ids and values on one device, got ",
                                     ids.device(), " and ", values.device()));
  }
  const std::array<std::int64_t, 3> own{ids.size(0), values.size(1),
                                        static_cast<std::int64_t>(values.dtype())};
  const std::vector<std::int64_t> all = gather_values<std::int64_t>(communicator, own);
  std::vector<std::int64_t> counts;
  for (int rank = 0; rank < communicator.size(); ++rank) {
    const std::span other = std::span(all).subspan(3 * at(rank), 3);
    counts.push_back(other[0]);
    if (other[1] != all[1]) {
      throw ShapeError(detail::concat("gather_rows: ", communicator.text(rank), " has rows of ",
                                      other[1], " elements, ", communicator.text(0), " of ",
                                      all[1]));
    }
    if (other[2] != all[2]) {
      throw DTypeError(detail::concat("gather_rows: ", communicator.text(rank), " has values of ",
                                      static_cast<DType>(other[2]), ", ", communicator.text(0),
                                      " of ", static_cast<DType>(all[2])));
    }
  }
  Tensor all_ids = gather_tensors(communicator, ids, counts);
  return {.ids = std::move(all_ids), .values = gather_tensors(communicator, values, counts)};
}

Identity build_identity() {
  return {{"Refrain version", version()},
          {"CPU level", cpu_isa()},
          {"math mode", name(math_mode())},
          {"byte order", std::endian::native == std::endian::little ? "little" : "big"},
          {"arithmetic", arithmetic_probe()}};
}

void handshake(Communicator& communicator, const Identity& own) {
  const std::string text = packed(own);
  const std::vector<std::vector<std::byte>> all =
      gather_bytes(communicator, std::as_bytes(std::span(text)));
  const Identity first = unpacked(all.front());
  std::string problems;
  for (int rank = 1; rank < communicator.size(); ++rank) {
    problems +=
        differences(first, unpacked(all[at(rank)]), communicator.text(0), communicator.text(rank));
  }
  if (problems.empty()) return;
  throw CommunicationError("handshake: ranks of one job must agree, but" + problems);
}

int thread_share(Communicator& communicator) {
  const std::vector<int> cores = usable_cores();
  std::string place = host_name();
  for (const int core : cores) place += detail::concat(" ", core);
  const std::vector<std::vector<std::byte>> all =
      gather_bytes(communicator, std::as_bytes(std::span(place)));
  const std::int64_t sharing = std::count(all.begin(), all.end(), all[at(communicator.rank())]);
  return std::max(1, static_cast<int>(std::ssize(cores) / sharing));
}

}  // namespace refrain
