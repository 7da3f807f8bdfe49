#pragma once
/// Reference loops for segments of recurrent layers and their gradients. Shapes and letters are
/// those of refrain/kernels/recurrent.hpp.

#include "refrain/kernels/recurrent.hpp"
#include "support/naive.hpp"

namespace refrain::test::naive {

/// Extents of a segment, and the index of (l, b, column) in [L,B,count * H].
struct Segment {
  std::int64_t steps, batch, hidden;

  std::size_t in(std::int64_t l, std::int64_t b, std::int64_t j, std::int64_t gates = 1,
                 std::int64_t gate = 0) const {
    return at(((l * batch + b) * gates + gate) * hidden + j);
  }
  std::size_t weight(std::int64_t gate, std::int64_t j, std::int64_t k) const {
    return at((gate * hidden + j) * hidden + k);
  }
  Values zeros(std::int64_t rows, std::int64_t gates = 1) const {
    return Values(at(rows * batch * gates * hidden));
  }

  template <class Visit>
  void each(Visit visit) const {
    for (std::int64_t b = 0; b < batch; ++b) {
      for (std::int64_t j = 0; j < hidden; ++j) visit(b, j);
    }
  }
  /// The state before step l: `first`, or a row of the states after each step.
  Values before(std::int64_t l, const Values& first, const Values& all) const {
    if (l == 0) return first;
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(in(l - 1, 0, 0));
    return Values(begin, begin + static_cast<std::ptrdiff_t>(batch * hidden));
  }
  /// sum_k weight[gate H + j, k] x[b,k]
  double product(const Values& w, std::int64_t gate, std::int64_t b, std::int64_t j,
                 const Values& x) const {
    double sum = 0;
    for (std::int64_t k = 0; k < hidden; ++k) sum += w[weight(gate, j, k)] * x[in(0, b, k)];
    return sum;
  }
};

struct LstmStates {
  Values h, c, gates;
};

/// `shared` may be empty.
inline LstmStates lstm(const Segment& s, const Values& inputs, const Values& shared,
                       const Values& weight, const Values& h0, const Values& c0) {
  LstmStates out{s.zeros(s.steps), s.zeros(s.steps), s.zeros(s.steps, 4)};
  for (std::int64_t l = 0; l < s.steps; ++l) {
    const Values h = s.before(l, h0, out.h), c = s.before(l, c0, out.c);
    s.each([&](std::int64_t b, std::int64_t j) {
      double a[4];
      for (std::int64_t g = 0; g < 4; ++g) {
        a[g] = inputs[s.in(l, b, j, 4, g)] + s.product(weight, g, b, j, h);
        if (!shared.empty()) a[g] += shared[s.in(0, b, j, 4, g)];
        a[g] = g == 2 ? std::tanh(a[g]) : sigmoid(a[g]);
        out.gates[s.in(l, b, j, 4, g)] = a[g];
      }
      const double cell = a[1] * c[s.in(0, b, j)] + a[0] * a[2];
      out.c[s.in(l, b, j)] = cell;
      out.h[s.in(l, b, j)] = a[3] * std::tanh(cell);
    });
  }
  return out;
}

struct LstmGradients {
  Values dinputs, dshared, dweight, dh0, dc0;
};

/// dh and dc_last may be empty.
inline LstmGradients lstm_gradients(const Segment& s, const Values& weight, const Values& h0,
                                    const Values& c0, const LstmStates& states, const Values& dh,
                                    const Values& dc_last) {
  LstmGradients out{s.zeros(s.steps, 4), s.zeros(1, 4), Values(weight.size()), s.zeros(1),
                    s.zeros(1)};
  Values dstate = s.zeros(1), dcell = dc_last.empty() ? s.zeros(1) : dc_last;
  for (std::int64_t l = s.steps - 1; l >= 0; --l) {
    const Values h = s.before(l, h0, states.h), c = s.before(l, c0, states.c);
    Values dbefore = s.zeros(1);
    s.each([&](std::int64_t b, std::int64_t j) {
      const auto gate = [&](std::int64_t g) { return states.gates[s.in(l, b, j, 4, g)]; };
      const double t = std::tanh(states.c[s.in(l, b, j)]);
      const double dy = dstate[s.in(0, b, j)] + (dh.empty() ? 0 : dh[s.in(l, b, j)]);
      double& dc = dcell[s.in(0, b, j)];
      dc += dy * gate(3) * (1 - t * t);
      const double da[4] = {
          dc * gate(2) * gate(0) * (1 - gate(0)), dc * c[s.in(0, b, j)] * gate(1) * (1 - gate(1)),
          dc * gate(0) * (1 - gate(2) * gate(2)), dy * t * gate(3) * (1 - gate(3))};
      dc *= gate(1);
      for (std::int64_t g = 0; g < 4; ++g) {
        out.dinputs[s.in(l, b, j, 4, g)] = da[g];
        out.dshared[s.in(0, b, j, 4, g)] += da[g];
        for (std::int64_t k = 0; k < s.hidden; ++k) {
          out.dweight[s.weight(g, j, k)] += da[g] * h[s.in(0, b, k)];
          dbefore[s.in(0, b, k)] += da[g] * weight[s.weight(g, j, k)];
        }
      }
    });
    dstate = dbefore;
  }
  out.dh0 = dstate;
  out.dc0 = dcell;
  return out;
}

struct GruStates {
  Values h, gates, u_n;  ///< u_n: the recurrent part of n, for either reset
};

inline GruStates gru(const Segment& s, kernels::GruReset reset, const Values& inputs,
                     const Values& shared, const Values& weight, const Values& bias,
                     const Values& h0) {
  GruStates out{s.zeros(s.steps), s.zeros(s.steps, 3), s.zeros(s.steps)};
  for (std::int64_t l = 0; l < s.steps; ++l) {
    const Values h = s.before(l, h0, out.h);
    const auto input = [&](std::int64_t b, std::int64_t j, std::int64_t g) {
      return inputs[s.in(l, b, j, 3, g)] + (shared.empty() ? 0 : shared[s.in(0, b, j, 3, g)]);
    };
    const auto recurrent = [&](std::int64_t b, std::int64_t j, std::int64_t g, const Values& x) {
      return s.product(weight, g, b, j, x) + bias[at(g * s.hidden + j)];
    };
    Values reset_h = h;
    s.each([&](std::int64_t b, std::int64_t j) {
      for (std::int64_t g = 0; g < 2; ++g) {
        out.gates[s.in(l, b, j, 3, g)] = sigmoid(input(b, j, g) + recurrent(b, j, g, h));
      }
      reset_h[s.in(0, b, j)] *= out.gates[s.in(l, b, j, 3, 0)];
    });
    s.each([&](std::int64_t b, std::int64_t j) {
      const bool after = reset == kernels::GruReset::after;
      const double u = recurrent(b, j, 2, after ? h : reset_h);
      const double z = out.gates[s.in(l, b, j, 3, 1)];
      const double n = std::tanh(input(b, j, 2) + (after ? out.gates[s.in(l, b, j, 3, 0)] * u : u));
      out.u_n[s.in(l, b, j)] = u;
      out.gates[s.in(l, b, j, 3, 2)] = n;
      out.h[s.in(l, b, j)] = (1 - z) * n + z * h[s.in(0, b, j)];
    });
  }
  return out;
}

struct GruGradients {
  Values dinputs, dshared, dweight, dbias, dh0;
};

inline GruGradients gru_gradients(const Segment& s, kernels::GruReset reset, const Values& weight,
                                  const Values& h0, const GruStates& states, const Values& dh) {
  const bool after = reset == kernels::GruReset::after;
  GruGradients out{s.zeros(s.steps, 3), s.zeros(1, 3), Values(weight.size()),
                   Values(at(3 * s.hidden)), s.zeros(1)};
  Values dstate = s.zeros(1);
  for (std::int64_t l = s.steps - 1; l >= 0; --l) {
    const Values h = s.before(l, h0, states.h);
    const auto gate = [&](std::int64_t b, std::int64_t j, std::int64_t g) {
      return states.gates[s.in(l, b, j, 3, g)];
    };
    Values dbefore = s.zeros(1);
    /// Propagates the gradient du of one recurrent sum weight x + bias to weight, bias and x.
    const auto spread = [&](std::int64_t b, std::int64_t j, std::int64_t g, double du,
                            const Values& x, Values& dx) {
      out.dbias[at(g * s.hidden + j)] += du;
      for (std::int64_t k = 0; k < s.hidden; ++k) {
        out.dweight[s.weight(g, j, k)] += du * x[s.in(0, b, k)];
        dx[s.in(0, b, k)] += du * weight[s.weight(g, j, k)];
      }
    };
    Values reset_h = h, dreset_h = s.zeros(1), dr = s.zeros(1);
    s.each([&](std::int64_t b, std::int64_t j) { reset_h[s.in(0, b, j)] *= gate(b, j, 0); });
    s.each([&](std::int64_t b, std::int64_t j) {
      const double dy = dh[s.in(l, b, j)] + dstate[s.in(0, b, j)];
      const double r = gate(b, j, 0), z = gate(b, j, 1), n = gate(b, j, 2);
      const double dn = dy * (1 - z) * (1 - n * n), dz = dy * (h[s.in(0, b, j)] - n) * z * (1 - z);
      out.dinputs[s.in(l, b, j, 3, 1)] = dz;
      out.dinputs[s.in(l, b, j, 3, 2)] = dn;
      dbefore[s.in(0, b, j)] += dy * z;
      spread(b, j, 1, dz, h, dbefore);
      if (after) {
        dr[s.in(0, b, j)] = dn * states.u_n[s.in(l, b, j)];
        spread(b, j, 2, dn * r, h, dbefore);
      } else {
        spread(b, j, 2, dn, reset_h, dreset_h);
      }
    });
    s.each([&](std::int64_t b, std::int64_t j) {
      const double r = gate(b, j, 0);
      if (!after) {
        dr[s.in(0, b, j)] = dreset_h[s.in(0, b, j)] * h[s.in(0, b, j)];
        dbefore[s.in(0, b, j)] += dreset_h[s.in(0, b, j)] * r;
      }
      const double da = dr[s.in(0, b, j)] * r * (1 - r);
      out.dinputs[s.in(l, b, j, 3, 0)] = da;
      spread(b, j, 0, da, h, dbefore);
      for (std::int64_t g = 0; g < 3; ++g)
        out.dshared[s.in(0, b, j, 3, g)] += out.dinputs[s.in(l, b, j, 3, g)];
    });
    dstate = dbefore;
  }
  out.dh0 = dstate;
  return out;
}

}  // namespace refrain::test::naive
