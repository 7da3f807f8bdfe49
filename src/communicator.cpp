#include "refrain/distributed/communicator.hpp"

#include <cstring>
#include <utility>

#include "src/host_name.hpp"

namespace refrain {
namespace {

class Alone final : public Communicator {
 public:
  Alone() : Communicator(0, {host_name()}) {}

 private:
  void transfer(const Transfer&) override {}
  void end_all(const std::string&) override {}
};

void expect_entries(const char* what, std::size_t got, int size) {
  if (got == static_cast<std::size_t>(size)) return;
  throw OptionError(detail::concat(what, ": expected ", size, " entries, one per rank, got ", got));
}

void expect_own_size(const char* what, std::size_t sent, std::size_t received) {
  if (sent == received) return;
  throw OptionError(detail::concat(what, ": expected ", sent,
                                   " bytes in the entry of the own rank, got ", received));
}

}  // namespace

std::unique_ptr<Communicator> alone() { return std::make_unique<Alone>(); }

std::string Communicator::Transfer::str() const {
  return detail::concat(collective, " (call ", call, ")");
}

Communicator::Communicator(int rank, std::vector<std::string> hosts)
    : rank_(rank), hosts_(std::move(hosts)) {}

Communicator::~Communicator() = default;

std::string Communicator::text(int rank) const {
  return detail::concat("rank ", rank, " (", hosts_.at(static_cast<std::size_t>(rank)), ")");
}

void Communicator::run(Collective collective, int root,
                       std::span<const std::span<const std::byte>> to,
                       std::span<const std::span<std::byte>> from) {
  ++counts_.calls;
  if (size() == 1) return;
  transfer({.collective = collective, .root = root, .call = counts_.calls, .to = to, .from = from});
  for (const std::span<const std::byte> sent : to) counts_.bytes_sent += std::ssize(sent);
  for (const std::span<std::byte> got : from) counts_.bytes_received += std::ssize(got);
}

void Communicator::broadcast(std::span<std::byte> bytes, int root) {
  if (root < 0 || root >= size()) {
    throw OptionError(
        detail::concat("broadcast: expected a root from 0 to ", size() - 1, ", got ", root));
  }
  const auto ranks = static_cast<std::size_t>(size());
  std::vector<std::span<const std::byte>> to(ranks);
  std::vector<std::span<std::byte>> from(ranks);
  if (rank_ == root) {
    to.assign(ranks, bytes);
    to[static_cast<std::size_t>(root)] = {};
  } else {
    from[static_cast<std::size_t>(root)] = bytes;
  }
  run(Collective::broadcast, root, to, from);
}

void Communicator::all_gather(std::span<const std::byte> own,
                              std::span<const std::span<std::byte>> blocks) {
  expect_entries("all_gather", blocks.size(), size());
  const auto self = static_cast<std::size_t>(rank_);
  expect_own_size("all_gather", own.size(), blocks[self].size());
  std::vector<std::span<const std::byte>> to(blocks.size(), own);
  std::vector<std::span<std::byte>> from(blocks.begin(), blocks.end());
  to[self] = {};
  from[self] = {};
  run(Collective::all_gather, 0, to, from);
  if (!own.empty()) std::memmove(blocks[self].data(), own.data(), own.size());
}

void Communicator::exchange(std::span<const std::span<const std::byte>> to,
                            std::span<const std::span<std::byte>> from) {
  expect_entries("exchange", to.size(), size());
  expect_entries("exchange", from.size(), size());
  const auto self = static_cast<std::size_t>(rank_);
  expect_own_size("exchange", to[self].size(), from[self].size());
  std::vector<std::span<const std::byte>> sent(to.begin(), to.end());
  std::vector<std::span<std::byte>> received(from.begin(), from.end());
  sent[self] = {};
  received[self] = {};
  run(Collective::exchange, 0, sent, received);
  if (!to[self].empty()) std::memmove(from[self].data(), to[self].data(), to[self].size());
}

void Communicator::abort(const std::string& reason) {
  const std::string message = detail::concat(text(), ": ", reason);
  end_all(message);
  throw CommunicationError(message);
}

}  // namespace refrain
