/// Recurrent segments, memory steps and LSTM layers as cases of gpu_kernels.

#include "gpu_cases.hpp"
#include "refrain/core/math_mode.hpp"
#include "refrain/kernels/matmul.hpp"
#include "refrain/kernels/memory.hpp"
#include "refrain/kernels/recurrent.hpp"

namespace {

using namespace refrain;

/// The arguments of an LSTM segment with inputs [steps,batch,4 hidden].
kernels::LstmForward lstm_forward(bench::Tensors& t, View inputs) {
  const std::int64_t steps = inputs.shape[0], batch = inputs.shape[1];
  const std::int64_t hidden = inputs.shape[2] / 4;
  return {.inputs = inputs,
          .weight = t.normal({4 * hidden, hidden}, 0.05),
          .h0 = t.normal({batch, hidden}),
          .c0 = t.normal({batch, hidden}),
          .h = t.zeros({steps, batch, hidden}),
          .c = t.zeros({steps, batch, hidden}),
          .gates = t.zeros({steps, batch, 4 * hidden}),
          .c_last = t.zeros({batch, hidden})};
}

}  // namespace

void refrain::bench::add_recurrences(Cases& all) {
  const std::int64_t steps = 50, batch = 128, hidden = 256;
  all.add("lstm_forward", refrain::detail::concat("L ", steps, " B ", batch, " H ", hidden),
          8 * product({steps, batch, hidden, hidden}), [=](Tensors& t) {
            return lstm_forward(t, t.normal({steps, batch, 4 * hidden}));
          });
  for (const std::int64_t words : {9, 64}) {
    all.add("memory_step_forward",
            refrain::detail::concat("B ", batch, " N ", words, " W ", hidden, " R 1"),
            product({batch, words, 15 * hidden + 8 * words}), [=](Tensors& t) {
              const Shape cells{batch, words, hidden}, row{batch, words},
                  square{batch, words, words}, heads{batch, 1, words};
              return kernels::MemoryStepForward{
                  .interface = t.normal({batch, 4 * hidden + 8}),
                  .before = {t.normal(cells), t.uniform(row), t.uniform(row), t.uniform(square),
                             t.uniform(row), t.uniform(heads)},
                  .after = {t.zeros(cells), t.zeros(row), t.zeros(row), t.zeros(square),
                            t.zeros(row), t.zeros(heads)},
                  .read_vectors = t.zeros({batch, 1, hidden})};
            });
  }
}

void refrain::bench::add_lstm_layers(Cases& all, const kernels::cudnn::Entries& cudnn) {
  const std::int64_t steps = 50, batch = 128, hidden = 256, width = 256, rows = steps * batch;
  const std::string sizes =
      refrain::detail::concat("L ", steps, " B ", batch, " H ", hidden, " E ", width);
  const double forward_flops = 8 * product({rows, hidden, width + hidden});
  const auto ours = [=](bool backward, Tensors& t) {
    const View x = t.normal({rows, width}), input_weight = t.normal({4 * hidden, width}, 0.05);
    const MutableView inputs = t.zeros({rows, 4 * hidden}), dinputs = t.zeros({rows, 4 * hidden});
    const auto as_steps = [=](MutableView view) {
      view.shape = {steps, batch, 4 * hidden};
      return view;
    };
    const kernels::LstmForward forward = lstm_forward(t, as_steps(inputs));
    const kernels::LstmBackward gradients{.weight = forward.weight,
                                          .h0 = forward.h0,
                                          .c0 = forward.c0,
                                          .h = forward.h,
                                          .c = forward.c,
                                          .gates = forward.gates,
                                          .dh = t.normal({steps, batch, hidden}),
                                          .dinputs = as_steps(dinputs),
                                          .dweight = t.zeros({4 * hidden, hidden})};
    const MutableView dx = t.zeros({rows, width}), dinput_weight = t.zeros({4 * hidden, width});
    return [=] {
      kernels::run<kernels::Matmul>({.a = x, .b = input_weight, .c = inputs, .transpose_b = true});
      kernels::run(forward);
      if (!backward) return;
      kernels::run(gradients);
      kernels::run<kernels::Matmul>({.a = dinputs, .b = input_weight, .c = dx});
      kernels::run<kernels::Matmul>(
          {.a = dinputs, .b = x, .c = dinput_weight, .transpose_a = true});
    };
  };
  const auto theirs = [=, &cudnn](bool backward, Tensors& t) {
    kernels::cudnn::LstmLayerBackward args;
    args.forward = {.x = t.normal({steps, batch, width}),
                    .input_weight = t.normal({4 * hidden, width}, 0.05),
                    .weight = t.normal({4 * hidden, hidden}, 0.05),
                    .h0 = t.normal({batch, hidden}),
                    .c0 = t.normal({batch, hidden}),
                    .h = t.zeros({steps, batch, hidden}),
                    .c_last = t.zeros({batch, hidden})};
    args.dh = t.normal({steps, batch, hidden});
    args.dx = t.zeros({steps, batch, width});
    args.dinput_weight = t.zeros({4 * hidden, width});
    args.dweight = t.zeros({4 * hidden, hidden});
    if (cudnn.lstm_reserve_bytes != nullptr && math_mode() != MathMode::bf16) {
      args.forward.reserve =
          t.zeros({static_cast<std::int64_t>(cudnn.lstm_reserve_bytes(args.forward) + 3) / 4});
    }
    return [=, &cudnn] {
      kernels::run(cudnn.lstm_layer, args.forward);
      if (backward) kernels::run(cudnn.lstm_layer_backward, args);
    };
  };
  for (const bool backward : {false, true}) {
    const std::string name = backward ? "lstm_layer_both_ways" : "lstm_layer";
    const double flops = backward ? 3 * forward_flops : forward_flops;
    all.add(name, [=](Tensors& t) { return Case{name, sizes, flops, ours(backward, t)}; });
    all.add("cudnn_" + name, [=](Tensors& t) {
      return Case{"cudnn_" + name, sizes, flops, theirs(backward, t)};
    });
  }
}
