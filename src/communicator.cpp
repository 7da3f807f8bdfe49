#include "refrain/distributed/communicator.hpp"

#include <algorithm>
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

/// Copies the message of a rank to itself.
void copy_own(std::span<std::byte> to, std::span<const std::byte> from, Device device) {
  if (to.data() != from.data()) copy_bytes(to.data(), device, from.data(), device, from.size());
}

/// The first bytes of a buffer, which grows when it is smaller.
std::span<std::byte> first_bytes(PinnedBuffer& buffer, std::size_t bytes, Device device) {
  if (buffer.bytes() < bytes) buffer = PinnedBuffer(bytes, device);
  return {static_cast<std::byte*>(buffer.data()), bytes};
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
  return detail::concat("rank ", rank, " (", host(rank), ")");
}

void Communicator::run(Collective collective, int root,
                       std::span<const std::span<const std::byte>> to,
                       std::span<const std::span<std::byte>> from, Device device) {
  ++counts_.calls;
  if (size() == 1) return;
  if (device != Device::cpu && is_capturing()) {
    throw DeviceError(detail::concat(
        collective, ": expected work that is not captured; ranks wait for each other in a call"));
  }
  const Transfer messages{
      .collective = collective, .root = root, .call = counts_.calls, .to = to, .from = from};
  device == Device::cpu ? transfer(messages) : transfer_on_device(messages, device);
  for (const std::span<const std::byte> sent : to) counts_.bytes_sent += std::ssize(sent);
  for (const std::span<std::byte> got : from) counts_.bytes_received += std::ssize(got);
}

void Communicator::transfer_on_device(const Transfer& transfer, Device device) {
  // What a rank sends in an all_gather or a broadcast is one block.
  const bool is_one_block = transfer.collective != Collective::exchange;
  std::size_t sent_bytes = 0, received_bytes = 0;
  for (const std::span<const std::byte> message : transfer.to)
    sent_bytes = is_one_block ? std::max(sent_bytes, message.size()) : sent_bytes + message.size();
  for (const std::span<std::byte> message : transfer.from) received_bytes += message.size();

  const std::span<std::byte> sent = first_bytes(sent_, sent_bytes, device);
  std::vector<std::span<const std::byte>> to;
  std::size_t end = 0;
  for (const std::span<const std::byte> message : transfer.to) {
    const std::size_t begin = is_one_block ? 0 : end;
    if (begin == end) {
      sent_.fetch(message.data(), begin, message.size());
      end += message.size();
    }
    to.push_back(sent.subspan(begin, message.size()));
  }
  const std::span<std::byte> received = first_bytes(received_, received_bytes, device);
  std::vector<std::span<std::byte>> from;
  end = 0;
  for (const std::span<std::byte> message : transfer.from) {
    from.push_back(received.subspan(end, message.size()));
    end += message.size();
  }

  synchronize(device);
  this->transfer({.collective = transfer.collective,
                  .root = transfer.root,
                  .call = transfer.call,
                  .to = to,
                  .from = from});
  end = 0;
  for (const std::span<std::byte> message : transfer.from) {
    received_.send(message.data(), end, message.size());
    end += message.size();
  }
  synchronize(device);
}

void Communicator::broadcast(std::span<std::byte> bytes, int root, Device device) {
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
  run(Collective::broadcast, root, to, from, device);
}

void Communicator::all_gather(std::span<const std::byte> own,
                              std::span<const std::span<std::byte>> blocks, Device device) {
  expect_entries("all_gather", blocks.size(), size());
  const auto self = static_cast<std::size_t>(rank_);
  expect_own_size("all_gather", own.size(), blocks[self].size());
  std::vector<std::span<const std::byte>> to(blocks.size(), own);
  std::vector<std::span<std::byte>> from(blocks.begin(), blocks.end());
  to[self] = {};
  from[self] = {};
  run(Collective::all_gather, 0, to, from, device);
  copy_own(blocks[self], own, device);
}

void Communicator::exchange(std::span<const std::span<const std::byte>> to,
                            std::span<const std::span<std::byte>> from, Device device) {
  expect_entries("exchange", to.size(), size());
  expect_entries("exchange", from.size(), size());
  const auto self = static_cast<std::size_t>(rank_);
  expect_own_size("exchange", to[self].size(), from[self].size());
  std::vector<std::span<const std::byte>> sent(to.begin(), to.end());
  std::vector<std::span<std::byte>> received(from.begin(), from.end());
  sent[self] = {};
  received[self] = {};
  run(Collective::exchange, 0, sent, received, device);
  copy_own(from[self], to[self], device);
}

void Communicator::abort(const std::string& reason) {
  const std::string message = detail::concat(text(), ": ", reason);
  end_all(message);
  throw CommunicationError(message);
}

}  // namespace refrain
