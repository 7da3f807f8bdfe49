/// Times of single kernels on a GPU by CUDA events: one JSON object per line.
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

#include "gpu_cases.hpp"
#include "refrain/core/math_mode.hpp"
#include "refrain/core/stream.hpp"
#include "refrain/kernels/causal_conv.hpp"
#include "refrain/kernels/conv_norm.hpp"
#include "refrain/kernels/layer_norm.hpp"
#include "refrain/kernels/loss.hpp"
#include "refrain/kernels/matmul.hpp"
#include "refrain/kernels/optimizer.hpp"
#include "refrain/kernels/patch.hpp"
#include "refrain/kernels/top_k.hpp"

namespace {

using namespace refrain;
using namespace refrain::bench;

constexpr int warm_up = 5;
constexpr int calls = 30;
constexpr std::int64_t flushed_elements = std::int64_t{64}
                                          << 20;  // 256 MiB, more than the cache of any card so far

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

void add_products(Cases& all) {
  for (const auto& [rows, columns, depth] :
       {std::array<std::int64_t, 3>{6400, 64, 64}, {6400, 1024, 256}, {2048, 2048, 2048}}) {
    all.add("matmul", refrain::detail::concat("M ", rows, " N ", columns, " K ", depth),
            2 * product({rows, columns, depth}), [=](Tensors& t) {
              return kernels::Matmul{.a = t.normal({rows, depth}),
                                     .b = t.normal({columns, depth}),
                                     .c = t.zeros({rows, columns}),
                                     .transpose_b = true};
            });
  }
}

void add_convolutions(Cases& all) {
  const std::int64_t batch = 128, steps = 50, taps = 3;
  for (const std::int64_t channels : {64, 128, 256}) {
    const std::string sizes =
        refrain::detail::concat("B ", batch, " T ", steps, " C ", channels, " K ", taps);
    const Shape shape{batch, steps, channels};
    const double flops = 2 * product({batch, steps, taps, channels, channels});
    all.add("conv_norm_forward", sizes, flops, [=](Tensors& t) {
      return kernels::ConvNormForward{.x = t.normal(shape),
                                      .w = t.normal({taps, channels, channels}, 0.05),
                                      .bias = t.normal({channels}),
                                      .gamma = t.normal({channels}),
                                      .beta = t.normal({channels}),
                                      .residual = t.normal(shape),
                                      .y = t.zeros(shape),
                                      .normalized = t.zeros(shape),
                                      .inv_std = t.zeros({batch, steps}),
                                      .dilation = 4};
    });
    all.add("conv_norm_backward", sizes, 2 * flops, [=](Tensors& t) {
      return kernels::ConvNormBackward{.x = t.normal(shape),
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
    });
    all.add("layer_norm_forward", sizes, 8 * product({batch, steps, channels}), [=](Tensors& t) {
      return kernels::LayerNormForward{.x = t.normal({batch * steps, channels}),
                                       .gamma = t.normal({channels}),
                                       .beta = t.normal({channels}),
                                       .y = t.zeros({batch * steps, channels})};
    });
  }
}

/// Patches with a quarter of the channels: single, and after the convolution of a frozen half.
void add_patches(Cases& all) {
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
    all.add("patch_forward", sizes, flops, [=](Tensors& t) {
      return kernels::PatchForward{.x = t.normal(shape),
                                   .patch = patch_of(t),
                                   .y = t.zeros(shape),
                                   .bottleneck = t.zeros(hidden)};
    });
    all.add("patch_backward", sizes, 2 * flops, [=](Tensors& t) {
      return kernels::PatchBackward{.x = t.normal(shape),
                                    .patch = patch_of(t),
                                    .bottleneck = t.normal(hidden),
                                    .dy = t.normal(shape),
                                    .dx = t.zeros(shape),
                                    .dpatch = gradients_of(t)};
    });
    const double conv_flops = 2 * product({rows, taps, channels, channels});
    all.add("conv_norm_forward_patched", sizes, conv_flops + flops, [=](Tensors& t) {
      return kernels::ConvNormForward{.x = t.normal(shape),
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
    });
    all.add("conv_norm_backward_frozen", sizes, conv_flops + 2 * flops, [=](Tensors& t) {
      return kernels::ConvNormBackward{.w = t.normal({taps, channels, channels}, 0.05),
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
    });
  }
}

/// Single convolutions, by the table and by cuDNN. Times of cuDNN include the cost of its layouts:
/// reordering the weight, adding the bias.
void add_plain_convolutions(Cases& all, const std::string& prefix,
                            const kernels::Entry<kernels::CausalConvForward>& forward,
                            const kernels::Entry<kernels::CausalConvBackward>& backward) {
  const std::int64_t batch = 128, steps = 50, taps = 3;
  for (const std::int64_t channels : {64, 128, 256}) {
    const std::string sizes =
        refrain::detail::concat("B ", batch, " T ", steps, " C ", channels, " K ", taps);
    const Shape shape{batch, steps, channels}, weight{taps, channels, channels};
    const double flops = 2 * product({batch, steps, taps, channels, channels});
    all.add(
        prefix + "causal_conv_forward", sizes, flops,
        [=](Tensors& t) {
          return kernels::CausalConvForward{.x = t.normal(shape),
                                            .w = t.normal(weight, 0.05),
                                            .bias = t.normal({channels}),
                                            .y = t.zeros(shape),
                                            .dilation = 4};
        },
        forward);
    all.add(
        prefix + "causal_conv_backward", sizes, 2 * flops,
        [=](Tensors& t) {
          return kernels::CausalConvBackward{.x = t.normal(shape),
                                             .w = t.normal(weight, 0.05),
                                             .dy = t.normal(shape),
                                             .dx = t.zeros(shape),
                                             .dw = t.zeros(weight),
                                             .dbias = t.zeros({channels}),
                                             .dilation = 4};
        },
        backward);
  }
}

void add_losses(Cases& all) {
  const std::int64_t rows = 6400, items = 10670;
  for (const std::int64_t channels : {64, 256}) {
    all.add("softmax_loss", refrain::detail::concat("P ", rows, " V ", items, " C ", channels),
            6 * product({rows, items, channels}), [=](Tensors& t) {
              return kernels::SoftmaxLoss{.hidden = t.normal({rows, channels}),
                                          .weight = t.normal({items, channels}, 0.1),
                                          .bias = t.normal({items}),
                                          .targets = t.ids({rows}, items),
                                          .loss = t.zeros({}),
                                          .dhidden = t.zeros({rows, channels}),
                                          .dweight = t.zeros({items, channels}),
                                          .dbias = t.zeros({items})};
            });
  }
  const std::int64_t samples = items / 10, channels = 256;
  all.add("sampled_softmax_loss",
          refrain::detail::concat("P ", rows, " S ", samples, " C ", channels),
          6 * product({rows, samples, channels}), [=](Tensors& t) {
            return kernels::SampledSoftmaxLoss{.hidden = t.normal({rows, channels}),
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
          });
  all.add("top_k", refrain::detail::concat("rows 128 V ", items, " k 20"), 0, [=](Tensors& t) {
    return kernels::TopK{.scores = t.normal({128, items}),
                         .values = t.zeros({128, 20}),
                         .indices = t.zeros({128, 20}, DType::i32)};
  });
}

void add_updates(Cases& all) {
  const std::int64_t count = 10000000;
  all.add("adam", refrain::detail::concat("n ", count), 12 * product({count}), [=](Tensors& t) {
    return kernels::Adam{.parameter = t.zeros({count}),
                         .gradient = t.normal({count}),
                         .m = t.zeros({count}),
                         .v = t.zeros({count})};
  });
  const std::int64_t parameters = 200;
  all.add("adam_many", [=](Tensors& t) {
    std::vector<kernels::Adam> each;
    for (std::int64_t i = 0; i < parameters; ++i) {
      const Shape shape{count / parameters};
      each.push_back({.parameter = t.zeros(shape),
                      .gradient = t.normal(shape),
                      .m = t.zeros(shape),
                      .v = t.zeros(shape)});
    }
    return Case{"adam_many", refrain::detail::concat(parameters, " of n ", count / parameters),
                12 * product({count}),
                [each] { kernels::run<kernels::AdamMany>({.dense = each}); }};
  });
}

}  // namespace

int main(int argc, char** argv) {
  if (!is_available(Device::cuda)) {
    std::fprintf(stderr, "SKIPPED: no CUDA device\n");
    return 77;
  }
  const std::string filter = argc > 1 ? argv[1] : "";
  Cases all;
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
  for (const auto& [kernel, make] : all.list()) {
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
