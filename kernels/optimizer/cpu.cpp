// Parameter updates: one pass over parameter, gradient and moments, in the element type; the bias
// corrections are computed in double beforehand. The row variants update only the listed rows.

#include <cmath>
#include <numeric>

#include "kernels/kernel.hpp"
#include "kernels/tiling/row_blocks.hpp"
#include "refrain/core/parallel.hpp"
#include "refrain/kernels/optimizer.hpp"

namespace refrain::kernels::cpu {
namespace {

/// The constants of one Adam step, as the inner loop reads them.
template <class T>
struct AdamStep {
  template <class Args>
  explicit AdamStep(const Args& args)
      : learning_rate(static_cast<T>(args.learning_rate)),
        beta1(static_cast<T>(args.beta1)),
        beta2(static_cast<T>(args.beta2)),
        one_minus_beta1(static_cast<T>(1 - args.beta1)),
        one_minus_beta2(static_cast<T>(1 - args.beta2)),
        inverse_correction1(
            static_cast<T>(1 / (1 - std::pow(args.beta1, static_cast<double>(args.step))))),
        inverse_correction2(
            static_cast<T>(1 / (1 - std::pow(args.beta2, static_cast<double>(args.step))))),
        epsilon(static_cast<T>(args.epsilon)),
        l2(static_cast<T>(args.l2)),
        decay(static_cast<T>(args.decay)) {
    if (!args.rates) return;
    const double* rates = args.rates.template as<double>();
    learning_rate = static_cast<T>(rates[0]);
    inverse_correction1 = static_cast<T>(rates[1]);
    inverse_correction2 = static_cast<T>(rates[2]);
  }

  void operator()(T* __restrict parameter, const T* __restrict gradient, T* __restrict m,
                  T* __restrict v, std::int64_t count) const {
    const AdamStep s = *this;  // a local copy, which stores through the pointers cannot change
    for (std::int64_t i = 0; i < count; ++i) {
      const T g = gradient[i] + s.l2 * parameter[i];
      const T m_new = s.beta1 * m[i] + s.one_minus_beta1 * g;
      const T v_new = s.beta2 * v[i] + s.one_minus_beta2 * g * g;
      const T direction =
          m_new * s.inverse_correction1 / (std::sqrt(v_new * s.inverse_correction2) + s.epsilon);
      m[i] = m_new;
      v[i] = v_new;
      parameter[i] -= s.learning_rate * (direction + s.decay * parameter[i]);
    }
  }

  T learning_rate, beta1, beta2, one_minus_beta1, one_minus_beta2, inverse_correction1,
      inverse_correction2, epsilon, l2, decay;
};

template <class T>
void sgd_step(T* __restrict parameter, const T* __restrict gradient, T learning_rate, T l2,
              std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i)
    parameter[i] -= learning_rate * (gradient[i] + l2 * parameter[i]);
}

template <class T>
void momentum_step(T* __restrict parameter, const T* __restrict gradient, T* __restrict velocity,
                   T learning_rate, T l2, T momentum, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    const T updated = momentum * velocity[i] + (gradient[i] + l2 * parameter[i]);
    velocity[i] = updated;
    parameter[i] -= learning_rate * updated;
  }
}

template <class Args>
double learning_rate_of(const Args& args) {
  return args.rates ? *args.rates.template as<double>() : args.learning_rate;
}

/// Calls update(j * width, rows[j] * width, width) for the entries that are not negative.
template <class Update>
void for_named_rows(const View& rows, std::int64_t numel, Update update) {
  const std::int64_t count = rows.shape.numel();
  if (count == 0) return;
  const std::int64_t width = numel / count;
  const std::int32_t* ids = rows.as<std::int32_t>();
  parallel_for(count, rows_per_task(width), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t j = begin; j < end; ++j) {
      if (ids[j] >= 0) update(j * width, ids[j] * width, width);
    }
  });
}

}  // namespace

template <>
void kernel(const Adam& args) {
  for_floating<Adam>(args.parameter.dtype, [&]<class T>(T) {
    const AdamStep<T> step(args);
    parallel_for(args.parameter.shape.numel(), task_elements,
                 [&](std::int64_t begin, std::int64_t end) {
                   step(args.parameter.as<T>() + begin, args.gradient.as<T>() + begin,
                        args.m.as<T>() + begin, args.v.as<T>() + begin, end - begin);
                 });
  });
}

template <>
void kernel(const AdamRows& args) {
  for_floating<AdamRows>(args.parameter.dtype, [&]<class T>(T) {
    const AdamStep<T> step(args);
    for_named_rows(args.rows, args.values.shape.numel(),
                   [&](std::int64_t from, std::int64_t to, std::int64_t width) {
                     step(args.parameter.as<T>() + to, args.values.as<T>() + from,
                          args.m.as<T>() + to, args.v.as<T>() + to, width);
                   });
  });
}

template <>
void kernel(const AdamMany& args) {
  for (const Adam& one : args.dense) kernel(one);
  for (const AdamRows& one : args.sparse) kernel(one);
}

template <>
void kernel(const Sgd& args) {
  for_floating<Sgd>(args.parameter.dtype, [&]<class T>(T) {
    const T learning_rate = static_cast<T>(learning_rate_of(args));
    const T l2 = static_cast<T>(args.l2);
    const T momentum = static_cast<T>(args.momentum);
    parallel_for(args.parameter.shape.numel(), task_elements,
                 [&](std::int64_t begin, std::int64_t end) {
                   T* parameter = args.parameter.as<T>() + begin;
                   const T* gradient = args.gradient.as<T>() + begin;
                   if (args.velocity) {
                     momentum_step(parameter, gradient, args.velocity.as<T>() + begin,
                                   learning_rate, l2, momentum, end - begin);
                   } else {
                     sgd_step(parameter, gradient, learning_rate, l2, end - begin);
                   }
                 });
  });
}

template <>
void kernel(const SgdRows& args) {
  for_floating<SgdRows>(args.parameter.dtype, [&]<class T>(T) {
    const T learning_rate = static_cast<T>(learning_rate_of(args));
    const T l2 = static_cast<T>(args.l2);
    for_named_rows(args.rows, args.values.shape.numel(),
                   [&](std::int64_t from, std::int64_t to, std::int64_t width) {
                     sgd_step(args.parameter.as<T>() + to, args.values.as<T>() + from,
                              learning_rate, l2, width);
                   });
  });
}

template <>
void kernel(const ClipFactor& args) {
  for_floating<ClipFactor>(args.squares.dtype, [&]<class T>(T) {
    const T* squares = args.squares.as<T>();
    const double norm =
        std::sqrt(std::accumulate(squares, squares + args.squares.shape.numel(), 0.0));
    *args.norm.as<T>() = static_cast<T>(norm);
    *args.factor.as<T>() =
        std::isfinite(norm) && norm > args.max_norm ? static_cast<T>(args.max_norm / norm) : T{1};
  });
}

template void entry(const Adam&, ScratchMemory&);
template void entry(const AdamRows&, ScratchMemory&);
template void entry(const AdamMany&, ScratchMemory&);
template void entry(const Sgd&, ScratchMemory&);
template void entry(const SgdRows&, ScratchMemory&);
template void entry(const ClipFactor&, ScratchMemory&);

}  // namespace refrain::kernels::cpu
