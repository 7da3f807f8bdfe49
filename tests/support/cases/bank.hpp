#pragma once
/// Batches whose sequences have patches of a bank, on every backend: patches, halves of residual
/// blocks and replaced rows.

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "refrain/kernels/conv_norm.hpp"
#include "refrain/kernels/patch.hpp"
#include "refrain/kernels/replace_rows.hpp"
#include "support/cases/backend.hpp"
#include "support/cases/convolution.hpp"
#include "support/cases/outputs.hpp"

namespace refrain::test {

struct BankCase {
  std::vector<std::int32_t> rows;    ///< of the bank, one for each sequence
  std::vector<std::int32_t> widths;  ///< of the patches; empty: all have the widest
  std::int64_t steps, channels, bottleneck;
  bool same = false;  ///< padding
  int offset = 0;
  bool has_norm_bank = true;

  std::int64_t batch() const { return std::ssize(rows); }
  std::int64_t patches() const { return rows.empty() ? 1 : rows.back() + 1; }
  std::int64_t width(std::int64_t row) const {
    return widths.empty() ? bottleneck : widths[naive::at(row)];
  }
  naive::ConvSizes sizes(std::int64_t sequences) const {
    return {sequences, steps, channels, channels, 2, 1, same};
  }
};

inline std::string text(const BankCase& c) {
  std::string rows;
  for (const std::int32_t row : c.rows) rows += detail::concat(" ", row);
  return detail::concat("rows", rows, ", T ", c.steps, " C ", c.channels, " D ", c.bottleneck,
                        c.widths.empty() ? "" : ", several widths", c.same ? ", same" : "",
                        past(c.offset));
}

/// Consecutive sequences of one row of a bank.
struct Segment {
  std::int64_t begin, end, row;
};
inline std::vector<Segment> segments_of(const std::vector<std::int32_t>& rows) {
  std::vector<Segment> segments;
  for (std::int64_t b = 0; b < std::ssize(rows); ++b) {
    const std::int32_t row = rows[naive::at(b)];
    if (segments.empty() || segments.back().row != row) segments.push_back({b, b, row});
    segments.back().end = b + 1;
  }
  return segments;
}

/// Inputs of a batch. The outputs of half a block and of a patch are, in this order: y, dx, dgamma,
/// dbeta (half a block), the four gradients of the bank, dw, dbias (half a block).
template <class Backend, class T>
struct BankProblem {
  static constexpr Device where = Backend::device;
  using Array = GuardedArray<T, where>;
  using Vector = std::vector<T>;

  explicit BankProblem(const BankCase& of) : c(of) {
    const std::int64_t count = c.patches(), channels = c.channels, width = c.bottleneck;
    const std::int64_t elements = c.batch() * c.steps * channels;
    const auto draw = [](std::int64_t size, std::uint64_t seed, double deviation = 1) {
      return random_array<T, where>({size}, seed, deviation).values();
    };
    x = draw(elements, 1);
    residual = draw(elements, 2);
    dy = draw(elements, 3);
    w = draw(2 * channels * channels, 4, near_one(2 * channels));
    bias = draw(channels, 5);
    gamma = draw((c.has_norm_bank ? count : 1) * channels, 6);
    beta = draw((c.has_norm_bank ? count : 1) * channels, 7);
    down = draw(count * channels * width, 8, near_one(channels));
    down_bias = draw(count * width, 9);
    up = draw(count * width * channels, 10, near_one(width));
    up_bias = draw(count * channels, 11);
    for (Vector* bank : {&down, &down_bias, &up, &up_bias}) {  // row 0 is not read
      std::fill_n(bank->begin(), std::ssize(*bank) / count, std::numeric_limits<T>::quiet_NaN());
    }
  }

  /// The sequences of a segment alone, with their row as row 1 of a bank of two.
  BankProblem alone(const Segment& s) const {
    BankProblem own = *this;
    own.c.rows.assign(naive::at(s.end - s.begin), s.row == 0 ? 0 : 1);
    const auto part = [](Vector& all, std::int64_t begin, std::int64_t end) {
      all = Vector(all.begin() + begin, all.begin() + end);
    };
    const std::int64_t sequence = c.steps * c.channels;
    for (Vector* tensor : {&own.x, &own.residual, &own.dy})
      part(*tensor, s.begin * sequence, s.end * sequence);
    if (!c.widths.empty() && s.row > 0) own.c.widths = {c.widths[0], c.widths[naive::at(s.row)]};
    std::vector<Vector*> banks{&own.down, &own.down_bias, &own.up, &own.up_bias};
    if (c.has_norm_bank) banks.insert(banks.end(), {&own.gamma, &own.beta});
    for (Vector* bank : banks) {
      const std::int64_t size = std::ssize(*bank) / c.patches();
      const Vector all = *bank;
      bank->resize(naive::at(own.c.patches() * size));
      if (s.row > 0) std::copy_n(all.begin() + s.row * size, size, bank->begin() + size);
    }
    return own;
  }

  // ---- expected values ----

  static naive::Values values(std::span<const T> of) { return {of.begin(), of.end()}; }
  naive::Values rows_of(const Vector& tensor, const Segment& s) const {
    const std::int64_t size = c.steps * c.channels;
    return values(
        std::span(tensor).subspan(naive::at(s.begin * size), naive::at((s.end - s.begin) * size)));
  }
  /// The first `size` elements of a row.
  naive::Values of_bank(const Vector& bank, std::int64_t row, std::int64_t size) const {
    const std::int64_t row_size = std::ssize(bank) / c.patches();
    return values(std::span(bank).subspan(naive::at(row * row_size), naive::at(size)));
  }
  naive::PatchValues patch_of(std::int64_t row) const {
    const std::int64_t own = c.width(row);
    return {of_bank(down, row, c.channels * own), of_bank(down_bias, row, own),
            of_bank(up, row, own * c.channels), of_bank(up_bias, row, c.channels)};
  }

  /// Appends the values, then zeros up to `size` of them.
  static void append(naive::Values& to, const naive::Values& more, std::int64_t size) {
    const std::size_t end = to.size() + naive::at(size);
    to.insert(to.end(), more.begin(), more.end());
    to.resize(end);
  }
  static void add(naive::Values& to, const naive::Values& more) {
    to.resize(more.size());
    for (std::size_t i = 0; i < more.size(); ++i) to[i] += more[i];
  }

  std::int64_t used() const {
    std::int64_t count = 0;
    for (const Segment& s : segments_of(c.rows)) count += s.row > 0 ? 1 : 0;
    return count;
  }
  Shape shape() const { return {c.batch(), c.steps, c.channels}; }
  void append_patch(naive::PatchValues& to, const naive::PatchValues& d) const {
    append(to.down, d.down, c.channels * c.bottleneck);
    append(to.down_bias, d.down_bias, c.bottleneck);
    append(to.up, d.up, c.bottleneck * c.channels);
    append(to.up_bias, d.up_bias, c.channels);
  }
  void append_patch(std::vector<Expected>& all, const naive::PatchValues& d) const {
    all.push_back({{used(), c.channels, c.bottleneck}, d.down});
    all.push_back({{used(), c.bottleneck}, d.down_bias});
    all.push_back({{used(), c.bottleneck, c.channels}, d.up});
    all.push_back({{used(), c.channels}, d.up_bias});
  }

  std::vector<Expected> expected_patch() const {
    naive::Values y, dx;
    naive::PatchValues d;
    for (const Segment& s : segments_of(c.rows)) {
      const naive::Values own_x = rows_of(x, s), own_dy = rows_of(dy, s);
      const std::int64_t size = std::ssize(own_x), rows = (s.end - s.begin) * c.steps;
      if (s.row == 0) {
        append(y, own_x, size);
        append(dx, own_dy, size);
        continue;
      }
      const naive::PatchValues patch = patch_of(s.row);
      const naive::PatchResult forward = naive::patch(own_x, patch, rows);
      const naive::PatchBackward back =
          naive::patch_backward(own_x, patch, forward.bottleneck, own_dy, rows);
      append(y, forward.y, size);
      append(dx, back.dx, size);
      append_patch(d, back.d);
    }
    std::vector<Expected> all{{shape(), y, true}, {shape(), dx}};
    append_patch(all, d);
    return all;
  }

  std::vector<Expected> expected_half(Insertion insertion) const {
    naive::Values y, dx, dgamma, dbeta, dw, dbias;
    naive::PatchValues d;
    for (const Segment& s : segments_of(c.rows)) {
      const naive::Place place = s.row == 0 ? naive::Place::none : place_of(insertion);
      const naive::Values own_x = rows_of(x, s);
      const auto norm = [&](const Vector& of) {
        return c.has_norm_bank ? of_bank(of, s.row, c.channels) : values(of);
      };
      const naive::HalfWeights weights{values(w), values(bias), norm(gamma), norm(beta),
                                       s.row == 0 ? naive::PatchValues() : patch_of(s.row)};
      const naive::ConvSizes sizes = c.sizes(s.end - s.begin);
      const naive::HalfResult forward =
          naive::half(own_x, weights, rows_of(residual, s), sizes, place, epsilon);
      const naive::HalfGradients back =
          naive::half_backward(own_x, weights, forward, rows_of(dy, s), sizes, place);
      append(y, forward.y, std::ssize(own_x));
      append(dx, back.dx, std::ssize(own_x));
      add(dw, back.dw);
      add(dbias, back.dbias);
      if (!c.has_norm_bank) {
        add(dgamma, back.dgamma);
        add(dbeta, back.dbeta);
      }
      if (s.row == 0) continue;
      append_patch(d, back.patch);
      if (!c.has_norm_bank) continue;
      append(dgamma, back.dgamma, c.channels);
      append(dbeta, back.dbeta, c.channels);
    }
    const Shape norm = c.has_norm_bank ? Shape({used(), c.channels}) : Shape({c.channels});
    std::vector<Expected> all{{shape(), y, true}, {shape(), dx}, {norm, dgamma}, {norm, dbeta}};
    append_patch(all, d);
    all.push_back({{2, c.channels, c.channels}, dw});
    all.push_back({{c.channels}, dbias});
    return all;
  }

  // ---- the kernels, forward and then backward ----

  /// The bank on the backend.
  struct Bank {
    Array down, down_bias, up, up_bias;
    GuardedArray<std::int32_t, where> rows, widths;
    bool has_widths;

    kernels::PatchViews views() const {
      return {.down = down,
              .down_bias = down_bias,
              .up = up,
              .up_bias = up_bias,
              .bank_rows = rows,
              .widths = has_widths ? widths.view() : View()};
    }
  };
  Bank bank() const {
    const std::int64_t count = c.patches(), channels = c.channels, width = c.bottleneck;
    return {Array({count, channels, width}, down, c.offset),
            Array({count, width}, down_bias),
            Array({count, width, channels}, up, c.offset),
            Array({count, channels}, up_bias),
            GuardedArray<std::int32_t, where>({c.batch()}, c.rows),
            GuardedArray<std::int32_t, where>({std::ssize(c.widths)}, c.widths),
            !c.widths.empty()};
  }
  Array on_backend(const Shape& of, const Vector& elements) const {
    return Array(of, elements, c.offset);
  }
  Array saved(std::int64_t width) const { return Array({c.batch(), c.steps, width}, {}, c.offset); }

  void run_patch(Outputs<T, where>& out) const {
    const Bank patches = bank();
    const Array input = on_backend(shape(), x), gradient = on_backend(shape(), dy);
    Array bottleneck = saved(c.bottleneck);
    Backend::run(kernels::PatchForward{
        .x = input, .patch = patches.views(), .y = out[0], .bottleneck = bottleneck});
    Backend::run(kernels::PatchBackward{.x = input,
                                        .patch = patches.views(),
                                        .bottleneck = bottleneck,
                                        .dy = gradient,
                                        .dx = out[1],
                                        .dpatch = {out[2], out[3], out[4], out[5]}});
  }

  /// Insertion::none: without the bank.
  void run_half(Insertion insertion, Outputs<T, where>& out) const {
    const bool patched = insertion != Insertion::none;
    const Bank patches = bank();
    const Array input = on_backend(shape(), x), added = on_backend(shape(), residual);
    const Array gradient = on_backend(shape(), dy);
    const Array weight = on_backend({2, c.channels, c.channels}, w), offset({c.channels}, bias);
    const bool is_bank = patched && c.has_norm_bank;
    const auto norm = [&](const Vector& of) {
      return is_bank ? on_backend({c.patches(), c.channels}, of)
                     : on_backend({c.channels}, Vector(of.begin(), of.begin() + c.channels));
    };
    const Array scale = norm(gamma), shift = norm(beta);
    Array normalized = saved(c.channels), inv_std = saved(1), conv = saved(c.channels);
    Array bottleneck = saved(c.bottleneck);
    Backend::run(kernels::ConvNormForward{
        .x = input,
        .w = weight,
        .bias = offset,
        .gamma = scale,
        .beta = shift,
        .residual = added,
        .patch = patched ? patches.views() : kernels::PatchViews(),
        .y = out[0],
        .normalized = normalized,
        .inv_std = inv_std,
        .conv = insertion == Insertion::serial ? conv.mutable_view() : MutableView(),
        .bottleneck = patched ? bottleneck.mutable_view() : MutableView(),
        .epsilon = epsilon,
        .padding = padding(c.sizes(1)),
        .insertion = insertion});
    kernels::ConvNormBackward back{.x = input,
                                   .w = weight,
                                   .gamma = scale,
                                   .beta = shift,
                                   .normalized = normalized,
                                   .inv_std = inv_std,
                                   .dy = gradient,
                                   .dx = out[1],
                                   .dw = out[8],
                                   .dbias = out[9],
                                   .padding = padding(c.sizes(1)),
                                   .insertion = insertion};
    if (patched) {
      back.patch = patches.views();
      back.bottleneck = bottleneck;
      if (insertion == Insertion::serial) back.conv = conv;
      back.dgamma = out[2];
      back.dbeta = out[3];
      back.dpatch = {out[4], out[5], out[6], out[7]};
    }
    Backend::run(back);
  }

  static constexpr double epsilon = 1e-2;

  BankCase c;
  Vector x, residual, dy, w, bias, gamma, beta, down, down_bias, up, up_bias;
};

/// Compares the outputs of a batch with the expected values, and each segment with the bits of its
/// sequences alone. run(problem, outputs, is_plain): of a batch, without the bank if `is_plain`.
/// `of_bank`: outputs [first,second) have a row for each row of the bank in use.
template <class Backend, class T, class Run>
void check_bank(const BankProblem<Backend, T>& problem, const std::vector<Expected>& expected,
                std::size_t first, std::size_t second, const RunOptions<T>& options,
                const Run& run) {
  using Results = Outputs<T, Backend::device>;
  const BankCase& c = problem.c;
  const Results whole = check_outputs<Backend, T>(
      expected, options, [&](Results& outputs) { run(problem, outputs, false); });
  std::int64_t used = 0;
  for (const Segment& s : segments_of(c.rows)) {
    INFO("sequences " << s.begin << " to " << s.end << ", row " << s.row);
    const std::int64_t sequence = c.steps * c.channels;
    std::vector<Expected> own = expected;  // only the shapes
    for (std::size_t i = 0; i < 2; ++i) own[i].shape = own[i].shape.with(0, s.end - s.begin);
    for (std::size_t i = first; i < second; ++i) own[i].shape = own[i].shape.with(0, 1);
    Results alone(own, ~0U, c.offset);
    run(problem.alone(s), alone, s.row == 0);
    const auto same = [&](std::size_t i, std::int64_t at) {
      INFO("output " << i);
      const std::span<const T> part = alone.array(i).span();
      CHECK(std::memcmp(whole.array(i).data() + at, part.data(), part.size_bytes()) == 0);
    };
    // In f64 the CUDA tile sums the elements of a row in another order where the widths of a bank
    // allow no aligned copies.
    if (s.row > 0 || Backend::device == Device::cpu || sizeof(T) == 4 || c.widths.empty()) {
      for (std::size_t i = 0; i < 2; ++i) same(i, s.begin * sequence);  // y, dx
    }
    if (s.row == 0) continue;
    for (std::size_t i = first; i < second; ++i) same(i, used * alone.array(i).shape().numel());
    ++used;
  }
}

template <class Backend, class T>
void check_patch_bank(const BankCase& c, RunOptions<T> options = {.choices = Choices::all}) {
  INFO(text(c));
  options.offset = c.offset;
  const BankProblem<Backend, T> problem(c);
  check_bank<Backend, T>(problem, problem.expected_patch(), 2, 6, options,
                         [](const auto& of, auto& outputs, bool is_plain) {
                           if (!is_plain) return of.run_patch(outputs);
                           for (std::size_t i = 0; i < 2; ++i)
                             outputs.fill(i, std::span<const T>(i == 0 ? of.x : of.dy));
                         });
}

template <class Backend, class T>
void check_half_bank(const BankCase& c, Insertion insertion,
                     RunOptions<T> options = {.choices = Choices::all}) {
  INFO(text(c) << " insertion " << static_cast<int>(insertion));
  options.offset = c.offset;
  const BankProblem<Backend, T> problem(c);
  check_bank<Backend, T>(problem, problem.expected_half(insertion), c.has_norm_bank ? 2 : 4, 8,
                         options, [insertion](const auto& of, auto& outputs, bool is_plain) {
                           of.run_half(is_plain ? Insertion::none : insertion, outputs);
                         });
}

/// Rows with the id are replaced by the row of the bank that their sequence uses.
template <class Backend, class T>
void check_replaced_bank(const std::vector<std::int32_t>& rows, std::int64_t steps,
                         std::int64_t width, int offset = 0) {
  constexpr Device where = Backend::device;
  const std::int64_t batch = std::ssize(rows), count = rows.back() + 1;
  const auto x = random_array<T, where>({batch * steps, width}, 1, 1, offset);
  const auto bank = random_array<T, where>({count, width}, 2, 1, offset);
  const auto ids = random_id_array<where>(batch * steps, 3, 3);
  const GuardedArray<std::int32_t, where> of_sequence({batch}, rows);
  const auto values = x.doubles(), replacements = bank.doubles();
  naive::Values y(values), dx(values), drow;
  for (const Segment& s : segments_of(rows)) {
    naive::Values sum(naive::at(width));
    for (std::int64_t i = s.begin * steps; i < s.end * steps; ++i) {
      for (std::int64_t channel = 0; ids.data()[i] == 1 && channel < width; ++channel) {
        const std::size_t at = naive::at(i * width + channel);
        y[at] = replacements[naive::at(s.row * width + channel)];
        dx[at] = 0;
        sum[naive::at(channel)] += values[at];
      }
    }
    if (s.row > 0) drow.insert(drow.end(), sum.begin(), sum.end());
  }
  const std::int64_t used = std::ssize(drow) / width;
  check_outputs<Backend, T>(
      {{x.shape(), y, true}, {x.shape(), dx}, {{used, width}, drow}}, {.offset = offset},
      [&](auto& outputs) {
        Backend::run(kernels::ReplaceRows{
            .x = x, .ids = ids, .row = bank, .bank_rows = of_sequence, .y = outputs[0], .id = 1});
        Backend::run(kernels::ReplaceRowsBackward{.ids = ids,
                                                  .bank_rows = of_sequence,
                                                  .dy = x,
                                                  .dx = outputs[1],
                                                  .drow = outputs[2],
                                                  .id = 1});
      });
}

}  // namespace refrain::test
