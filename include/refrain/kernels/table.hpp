#pragma once
/// The kernels of a device: a table generated from the list of contracts.

#include "refrain/core/device.hpp"
#include "refrain/core/export.hpp"
#include "refrain/kernels/contracts.hpp"
#include "refrain/kernels/entry.hpp"

namespace refrain::kernels {

namespace detail {

template <class List>
struct Entries;
template <class... Args>
struct Entries<ContractList<Args...>> : Entry<Args>... {
  template <class Make>
  static constexpr Entries made_by(Make make) {
    return {make.template operator()<Args>()...};
  }
  template <class Visit>
  constexpr void for_each(Visit&& visit) const {
    (visit(static_cast<const Entry<Args>&>(*this)), ...);
  }
};

}  // namespace detail

/// One entry for each contract, in the order of the list.
struct Table : detail::Entries<Contracts> {
  /// `make.operator()<Args>()` returns the entry of each contract.
  template <class Make>
  static constexpr Table made_by(Make make) {
    return {Entries::made_by(make)};
  }

  template <class Args>
  constexpr const Entry<Args>& entry() const noexcept {
    static_assert(Contracts::contains<Args>, "the contract is not listed in kernels/contracts.hpp");
    return *this;
  }
  template <class Args>
  constexpr Entry<Args>& entry() noexcept {
    static_assert(Contracts::contains<Args>, "the contract is not listed in kernels/contracts.hpp");
    return *this;
  }

  /// Calls visit(const Entry<Args>&) for each entry.
  template <class Visit>
  constexpr void for_each(Visit&& visit) const {
    Entries::for_each(visit);
  }
};

/// The kernels of a device. Throws Unsupported when this build has no backend for it.
REFRAIN_API const Table& table(Device device);

}  // namespace refrain::kernels
