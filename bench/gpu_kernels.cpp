/// Times of single kernels on a GPU by CUDA events: one JSON object a line.
///
///   gpu_kernels [FILTER]      cases whose names contain FILTER; by default all
///
/// Before each timed call a block larger than the second-level cache is overwritten. A result is
/// the median of 30 calls after 5 warm-up calls. Cases named cudnn_... run cuDNN, in a build with
/// it; compare lstm_layer with cudnn_lstm_layer. bytes and flops are counted from the sizes: each
/// tensor once, two operations per multiply-add.

#include <algorithm>
#include <array>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "refrain/core/math_mode.hpp"
#include "refrain/core/random.hpp"
#include "refrain/core/stream.hpp"
#include "refrain/kernels/causal_conv.hpp"
#include "refrain/kernels/conv_norm.hpp"
#include "refrain/kernels/layer_norm.hpp"
#include "refrain/kernels/loss.hpp"
#include "refrain/kernels/matmul.hpp"
#include "refrain/kernels/memory.hpp"
#include "refrain/kernels/optimizer.hpp"
#include "refrain/kernels/patch.hpp"
#include "refrain/kernels/recurrent.hpp"
#include "refrain/kernels/run.hpp"
#include "refrain/kernels/table.hpp"
#include "refrain/kernels/top_k.hpp"
#include "support/cudnn/cudnn.hpp"

namespace {

using namespace refrain;

constexpr int warm_up = 5;
constexpr int calls = 30;
constexpr std::int64_t flushed_elements = std::int64_t{64}
                                          << 20;  // 256 MiB, more than the cache of any card so far

/// One timed call.
struct Case {
  std::string name;
  std::string sizes;
  double flops = 0;
  std::function<void()> run{};
};

/// The tensors of a case, which live as long as the case, and their size in bytes.
class Tensors {
 public:
  View normal(const Shape& shape, double deviation = 1) {
    Tensor host(shape, DType::f32);
    Random(kept_.size() + 1).fill_normal(host, deviation);
    return keep(host);
  }
  View ids(const Shape& shape, std::int64_t bound) {
    Tensor host(shape, DType::i32);
    Random random(kept_.size() + 1);
    for (std::int32_t& id : host.span<std::int32_t>())
      id = static_cast<std::int32_t>(random.below(bound));
    return keep(host);
  }
  View uniform(const Shape& shape) {
    Tensor host(shape, DType::f32);
    Random(kept_.size() + 1).fill_uniform(host, 0.1, 0.9);
    return keep(host);
  }
  MutableView zeros(const Shape& shape, DType dtype = DType::f32) {
    kept_.push_back(Tensor::zeros(shape, dtype, Device::cuda));
    return kept_.back().mutable_view();
  }
  double bytes() const {
    double sum = 0;
    for (const Tensor& tensor : kept_) sum += static_cast<double>(tensor.bytes());
    return sum;
  }

 private:
  View keep(const Tensor& host) {
    kept_.push_back(host.to(Device::cuda));
    return kept_.back().view();
  }
  std::vector<Tensor> kept_;
};

double median_ms(const std::function<void()>& run, Tensor& flushed) {
  std::vector<double> times;
  for (int call = 0; call < warm_up + calls; ++call) {
    flushed.zero();
    Event before(Device::cuda);
    Event after(Device::cuda);
    before.record();
    run();
    after.record();
    after.synchronize();
    if (call >= warm_up) times.push_back(after.milliseconds_since(before));
  }
  std::nth_element(times.begin(), times.begin() + calls / 2, times.end());
  return times[calls / 2];
}

void measure(const Case& item, const Tensors& tensors, Tensor& flushed) {
  std::printf("{\"case\": \"%s\", \"sizes\": \"%s\", \"math\": \"%s\"", item.name.c_str(),
              item.sizes.c_str(), name(math_mode()));
  try {
    const double ms = median_ms(item.run, flushed);
    std::printf(", \"ms\": %.5f, \"GB_per_s\": %.1f, \"GFLOP_per_s\": %.1f}\n", ms,
                tensors.bytes() / ms / 1e6, item.flops / ms / 1e6);
  } catch (const Unsupported& error) {
    std::printf(", \"skipped\": \"%s\"}\n", error.what());
  }
  std::fflush(stdout);
}

double product(std::initializer_list<std::int64_t> sizes) {
  double all = 1;
  for (const std::int64_t size : sizes) all *= static_cast<double>(size);
  return all;
}

/// Creates one case, whose tensors are allocated on demand.
using Make = std::function<Case(Tensors&)>;

void add_products(std::vector<std::pair<std::string, Make>>& all) {
  for (const auto& [rows, columns, depth] :
       {std::array<std::int64_t, 3>{6400, 64, 64}, {6400, 1024, 256}, {2048, 2048, 2048}}) {
    all.push_back({"matmul", [=](Tensors& t) {
                     const kernels::Matmul args{.a = t.normal({rows, depth}),
                                                .b = t.normal({columns, depth}),
                                                .c = t.zeros({rows, columns}),
                                                .transpose_b = true};
                     return Case{
                         .name = "matmul",
                         .sizes = refrain::detail::concat("M ", rows, " N ", columns, " K ", depth),
                         .flops = 2 * product({rows, columns, depth}),
                         .run = [=] { kernels::run(args); }};
                   }});
  }
}

void add_convolutions(std::vector<std::pair<std::string, Make>>& all) {
  const std::int64_t batch = 128, steps = 50, taps = 3;
  for (const std::int64_t channels : {64, 128, 256}) {
    const std::string sizes =
        refrain::detail::concat("B ", batch, " T ", steps, " C ", channels, " K ", taps);
    const Shape shape{batch, steps, channels};
    const double flops = 2 * product({batch, steps, taps, channels, channels});
    all.push_back({"conv_norm_forward", [=](Tensors& t) {
                     const kernels::ConvNormForward args{
                         .x = t.normal(shape),
                         .w = t.normal({taps, channels, channels}, 0.05),
                         .bias = t.normal({channels}),
                         .gamma = t.normal({channels}),
                         .beta = t.normal({channels}),
                         .residual = t.normal(shape),
                         .y = t.zeros(shape),
                         .normalized = t.zeros(shape),
                         .inv_std = t.zeros({batch, steps}),
                         .dilation = 4};
                     return Case{"conv_norm_forward", sizes, flops, [=] { kernels::run(args); }};
                   }});
    all.push_back(
        {"conv_norm_backward", [=](Tensors& t) {
           const kernels::ConvNormBackward args{.x = t.normal(shape),
                                                .w = t.normal({taps, channels, channels}, 0.05),
                                                .gamma = t.normal({channels}),
                                                .beta = t.normal({channels}),
                                                .normalized = t.normal(shape),
                                                .inv_std = t.uniform({batch, steps}),
                                                .dy = t.normal(shape),
                                                .dx = t.zeros(shape),
                                                .dw = t.zeros({taps, channels, channels}),
                                                .dbias = t.zeros({channels}),
                                                .dgamma = t.zeros({channels}),
                                                .dbeta = t.zeros({channels}),
                                                .dilation = 4};
           return Case{"conv_norm_backward", sizes, 2 * flops, [=] { kernels::run(args); }};
         }});
    all.push_back({"layer_norm_forward", [=](Tensors& t) {
                     const kernels::LayerNormForward args{.x = t.normal({batch * steps, channels}),
                                                          .gamma = t.normal({channels}),
                                                          .beta = t.normal({channels}),
                                                          .y = t.zeros({batch * steps, channels})};
                     return Case{"layer_norm_forward", sizes, 8 * product({batch, steps, channels}),
                                 [=] { kernels::run(args); }};
                   }});
  }
}

/// Patches with a quarter of the channels: single, and after the convolution of a frozen half.
void add_patches(std::vector<std::pair<std::string, Make>>& all) {
  const std::int64_t batch = 128, steps = 50, taps = 3, rows = batch * steps;
  for (const std::int64_t channels : {64, 256}) {
    const std::int64_t width = channels / 4;
    const std::string sizes =
        refrain::detail::concat("B ", batch, " T ", steps, " C ", channels, " D ", width);
    const Shape shape{batch, steps, channels}, hidden{batch, steps, width};
    const double flops = 4 * product({rows, channels, width});
    const auto patch_of = [=](Tensors& t) {
      return kernels::PatchViews{.down = t.normal({channels, width}, 0.05),
                                 .down_bias = t.normal({width}),
                                 .up = t.normal({width, channels}, 0.05),
                                 .up_bias = t.normal({channels})};
    };
    const auto gradients_of = [=](Tensors& t) {
      return kernels::PatchGradients{.down = t.zeros({channels, width}),
                                     .down_bias = t.zeros({width}),
                                     .up = t.zeros({width, channels}),
                                     .up_bias = t.zeros({channels})};
    };
    all.push_back({"patch_forward", [=](Tensors& t) {
                     const kernels::PatchForward args{.x = t.normal(shape),
                                                      .patch = patch_of(t),
                                                      .y = t.zeros(shape),
                                                      .bottleneck = t.zeros(hidden)};
                     return Case{"patch_forward", sizes, flops, [=] { kernels::run(args); }};
                   }});
    all.push_back({"patch_backward", [=](Tensors& t) {
                     const kernels::PatchBackward args{.x = t.normal(shape),
                                                       .patch = patch_of(t),
                                                       .bottleneck = t.normal(hidden),
                                                       .dy = t.normal(shape),
                                                       .dx = t.zeros(shape),
                                                       .dpatch = gradients_of(t)};
                     return Case{"patch_backward", sizes, 2 * flops, [=] { kernels::run(args); }};
                   }});
    const double conv_flops = 2 * product({rows, taps, channels, channels});
    all.push_back({"conv_norm_forward_patched", [=](Tensors& t) {
                     const kernels::ConvNormForward args{
                         .x = t.normal(shape),
                         .w = t.normal({taps, channels, channels}, 0.05),
                         .bias = t.normal({channels}),
                         .gamma = t.normal({channels}),
                         .beta = t.normal({channels}),
                         .residual = t.normal(shape),
                         .patch = patch_of(t),
                         .y = t.zeros(shape),
                         .normalized = t.zeros(shape),
                         .inv_std = t.zeros({batch, steps}),
                         .conv = t.zeros(shape),
                         .bottleneck = t.zeros(hidden),
                         .dilation = 4,
                         .insertion = kernels::Insertion::serial};
                     return Case{"conv_norm_forward_patched", sizes, conv_flops + flops,
                                 [=] { kernels::run(args); }};
                   }});
    all.push_back({"conv_norm_backward_frozen", [=](Tensors& t) {
                     const kernels::ConvNormBackward args{
                         .w = t.normal({taps, channels, channels}, 0.05),
                         .gamma = t.normal({channels}),
                         .beta = t.normal({channels}),
                         .patch = patch_of(t),
                         .normalized = t.normal(shape),
                         .inv_std = t.uniform({batch, steps}),
                         .conv = t.normal(shape),
                         .bottleneck = t.normal(hidden),
                         .dy = t.normal(shape),
                         .dx = t.zeros(shape),
                         .dpatch = gradients_of(t),
                         .dilation = 4,
                         .insertion = kernels::Insertion::serial};
                     return Case{"conv_norm_backward_frozen", sizes, conv_flops + 2 * flops,
                                 [=] { kernels::run(args); }};
                   }});
  }
}

/// Single convolutions, by the table and by cuDNN. Times of cuDNN include the cost of its layouts:
/// reordering the weight, adding the bias.
void add_plain_convolutions(std::vector<std::pair<std::string, Make>>& all,
                            const std::string& prefix,
                            const kernels::Entry<kernels::CausalConvForward>& forward,
                            const kernels::Entry<kernels::CausalConvBackward>& backward) {
  const std::int64_t batch = 128, steps = 50, taps = 3;
  for (const std::int64_t channels : {64, 128, 256}) {
    const std::string sizes =
        refrain::detail::concat("B ", batch, " T ", steps, " C ", channels, " K ", taps);
    const Shape shape{batch, steps, channels}, weight{taps, channels, channels};
    const double flops = 2 * product({batch, steps, taps, channels, channels});
    all.push_back({prefix + "causal_conv_forward", [=, &forward](Tensors& t) {
                     const kernels::CausalConvForward args{.x = t.normal(shape),
                                                           .w = t.normal(weight, 0.05),
                                                           .bias = t.normal({channels}),
                                                           .y = t.zeros(shape),
                                                           .dilation = 4};
                     return Case{prefix + "causal_conv_forward", sizes, flops,
                                 [=, &forward] { kernels::run(forward, args); }};
                   }});
    all.push_back({prefix + "causal_conv_backward", [=, &backward](Tensors& t) {
                     const kernels::CausalConvBackward args{.x = t.normal(shape),
                                                            .w = t.normal(weight, 0.05),
                                                            .dy = t.normal(shape),
                                                            .dx = t.zeros(shape),
                                                            .dw = t.zeros(weight),
                                                            .dbias = t.zeros({channels}),
                                                            .dilation = 4};
                     return Case{prefix + "causal_conv_backward", sizes, 2 * flops,
                                 [=, &backward] { kernels::run(backward, args); }};
                   }});
  }
}

void add_losses(std::vector<std::pair<std::string, Make>>& all) {
  const std::int64_t rows = 6400, items = 10670;
  for (const std::int64_t channels : {64, 256}) {
    all.push_back({"softmax_loss", [=](Tensors& t) {
                     const kernels::SoftmaxLoss args{.hidden = t.normal({rows, channels}),
                                                     .weight = t.normal({items, channels}, 0.1),
                                                     .bias = t.normal({items}),
                                                     .targets = t.ids({rows}, items),
                                                     .loss = t.zeros({}),
                                                     .dhidden = t.zeros({rows, channels}),
                                                     .dweight = t.zeros({items, channels}),
                                                     .dbias = t.zeros({items})};
                     return Case{"softmax_loss",
                                 refrain::detail::concat("P ", rows, " V ", items, " C ", channels),
                                 6 * product({rows, items, channels}), [=] { kernels::run(args); }};
                   }});
  }
  const std::int64_t samples = items / 10;
  all.push_back({"sampled_softmax_loss", [=](Tensors& t) {
                   const std::int64_t channels = 256;
                   const kernels::SampledSoftmaxLoss args{
                       .hidden = t.normal({rows, channels}),
                       .weight = t.normal({items, channels}, 0.1),
                       .bias = t.normal({items}),
                       .targets = t.ids({rows}, items),
                       .negatives = t.ids({samples}, items),
                       .log_q_true = t.normal({rows}),
                       .log_q_negative = t.normal({samples}),
                       .loss = t.zeros({}),
                       .dhidden = t.zeros({rows, channels}),
                       .dweight_rows = t.zeros({samples + rows, channels}),
                       .dbias_rows = t.zeros({samples + rows})};
                   return Case{"sampled_softmax_loss",
                               refrain::detail::concat("P ", rows, " S ", samples, " C ", channels),
                               6 * product({rows, samples, channels}), [=] { kernels::run(args); }};
                 }});
  all.push_back({"top_k", [=](Tensors& t) {
                   const kernels::TopK args{.scores = t.normal({128, items}),
                                            .values = t.zeros({128, 20}),
                                            .indices = t.zeros({128, 20}, DType::i32)};
                   return Case{"top_k", refrain::detail::concat("rows 128 V ", items, " k 20"), 0,
                               [=] { kernels::run(args); }};
                 }});
}

void add_recurrences(std::vector<std::pair<std::string, Make>>& all) {
  const std::int64_t steps = 50, batch = 128, hidden = 256;
  all.push_back({"lstm_forward", [=](Tensors& t) {
                   const kernels::LstmForward args{.inputs = t.normal({steps, batch, 4 * hidden}),
                                                   .weight = t.normal({4 * hidden, hidden}, 0.05),
                                                   .h0 = t.normal({batch, hidden}),
                                                   .c0 = t.normal({batch, hidden}),
                                                   .h = t.zeros({steps, batch, hidden}),
                                                   .c = t.zeros({steps, batch, hidden}),
                                                   .gates = t.zeros({steps, batch, 4 * hidden}),
                                                   .c_last = t.zeros({batch, hidden})};
                   return Case{"lstm_forward",
                               refrain::detail::concat("L ", steps, " B ", batch, " H ", hidden),
                               8 * product({steps, batch, hidden, hidden}),
                               [=] { kernels::run(args); }};
                 }});
  for (const std::int64_t words : {9, 64}) {
    all.push_back({"memory_step_forward", [=](Tensors& t) {
                     const Shape cells{batch, words, hidden}, row{batch, words},
                         square{batch, words, words}, heads{batch, 1, words};
                     const kernels::MemoryStepForward args{
                         .interface = t.normal({batch, 4 * hidden + 8}),
                         .before = {t.normal(cells), t.uniform(row), t.uniform(row),
                                    t.uniform(square), t.uniform(row), t.uniform(heads)},
                         .after = {t.zeros(cells), t.zeros(row), t.zeros(row), t.zeros(square),
                                   t.zeros(row), t.zeros(heads)},
                         .read_vectors = t.zeros({batch, 1, hidden})};
                     return Case{
                         "memory_step_forward",
                         refrain::detail::concat("B ", batch, " N ", words, " W ", hidden, " R 1"),
                         product({batch, words, 15 * hidden + 8 * words}),
                         [=] { kernels::run(args); }};
                   }});
  }
}

/// An LSTM layer with the product of its input, forward (saving tensors for the backward pass) and
/// both passes: product and segment of the table, and the layer of cuDNN. Times of cuDNN include
/// the copy of its weights. The backward pass is not timed separately, because it consumes what
/// cuDNN saved.
void add_lstm_layers(std::vector<std::pair<std::string, Make>>& all,
                     const kernels::cudnn::Entries& cudnn) {
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
    const kernels::LstmForward forward{.inputs = as_steps(inputs),
                                       .weight = t.normal({4 * hidden, hidden}, 0.05),
                                       .h0 = t.normal({batch, hidden}),
                                       .c0 = t.normal({batch, hidden}),
                                       .h = t.zeros({steps, batch, hidden}),
                                       .c = t.zeros({steps, batch, hidden}),
                                       .gates = t.zeros({steps, batch, 4 * hidden}),
                                       .c_last = t.zeros({batch, hidden})};
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
    all.push_back({name, [=](Tensors& t) { return Case{name, sizes, flops, ours(backward, t)}; }});
    all.push_back({"cudnn_" + name, [=](Tensors& t) {
                     return Case{"cudnn_" + name, sizes, flops, theirs(backward, t)};
                   }});
  }
}

void add_updates(std::vector<std::pair<std::string, Make>>& all) {
  const std::int64_t count = 10000000;
  all.push_back({"adam", [=](Tensors& t) {
                   const kernels::Adam args{.parameter = t.zeros({count}),
                                            .gradient = t.normal({count}),
                                            .m = t.zeros({count}),
                                            .v = t.zeros({count})};
                   return Case{"adam", refrain::detail::concat("n ", count), 12 * product({count}),
                               [=] { kernels::run(args); }};
                 }});
  const std::int64_t parameters = 200;
  all.push_back({"adam_many", [=](Tensors& t) {
                   std::vector<kernels::Adam> each;
                   for (std::int64_t i = 0; i < parameters; ++i) {
                     const Shape shape{count / parameters};
                     each.push_back({.parameter = t.zeros(shape),
                                     .gradient = t.normal(shape),
                                     .m = t.zeros(shape),
                                     .v = t.zeros(shape)});
                   }
                   return Case{"adam_many",
                               refrain::detail::concat(parameters, " of n ", count / parameters),
                               12 * product({count}),
                               [each] { kernels::run<kernels::AdamMany>({.dense = each}); }};
                 }});
}

}  // namespace

int main(int argc, char** argv) {
  if (!is_available(Device::cuda)) {
    std::fprintf(stderr, "SKIPPED: no CUDA device\n");
    return 77;
  }
  const std::string filter = argc > 1 ? argv[1] : "";
  std::vector<std::pair<std::string, Make>> all;
  const kernels::Table& table = kernels::table(Device::cuda);
  add_products(all);
  add_convolutions(all);
  add_patches(all);
  add_plain_convolutions(all, "", table.entry<kernels::CausalConvForward>(),
                         table.entry<kernels::CausalConvBackward>());
  const kernels::cudnn::Entries& cudnn = kernels::cudnn::entries();
  add_plain_convolutions(all, "cudnn_", cudnn.causal_conv_forward, cudnn.causal_conv_backward);
  add_losses(all);
  add_recurrences(all);
  add_lstm_layers(all, cudnn);
  add_updates(all);
  Tensor flushed = Tensor::zeros({flushed_elements}, DType::f32, Device::cuda);
  for (const auto& [kernel, make] : all) {
    if (kernel.find(filter) == std::string::npos) continue;
    for (const MathMode mode : {MathMode::exact, MathMode::tf32, MathMode::bf16}) {
      const MathScope scope(mode);
      Tensors tensors;
      const Case item = make(tensors);
      if (mode != MathMode::exact && item.flops < 100 * tensors.bytes() / 4)
        continue;  // too small a product
      measure(item, tensors, flushed);
    }
  }
  return 0;
}
