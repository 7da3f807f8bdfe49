#pragma once
/// Running a kernel in several orders of threads and blocks.

#include <string>

#include "support/catch.hpp"
#include "support/simt/machine.hpp"
#include "support/simt/sanitizers.hpp"

namespace refrain::test {

/// Calls body() under each schedule. A plain build runs all orders; a sanitizer build, whose
/// findings do not depend on the order, two.
template <class Body>
void for_each_order(Body body) {
  using simt::emulation::Order;
  struct Named {
    const char* name;
    simt::emulation::Schedule schedule;
    bool sanitized;
  };
  static constexpr Named all[] = {
      {"forward", {Order::forward, 0}, true},        {"reverse", {Order::reverse, 0}, false},
      {"random, seed 1", {Order::random, 1}, true},  {"random, seed 2", {Order::random, 2}, false},
      {"random, seed 3", {Order::random, 3}, false},
  };
  for (const Named& order : all) {
    if ((simt::emulation::under_asan || simt::emulation::under_tsan) && !order.sanitized) continue;
    INFO("threads run in order: " << order.name);
    simt::emulation::set_schedule(order.schedule);
    body();
  }
  simt::emulation::set_schedule({});
}

}  // namespace refrain::test
