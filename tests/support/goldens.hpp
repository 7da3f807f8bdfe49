#pragma once
/// Golden cases: files with inputs, weights and the results of an independent implementation in
/// f64.
///
/// The files are in $REFRAIN_GOLDENS, or in ../shared/goldens beside the repository. Names inside a
/// file: input.*, param.*, output.*, loss, grad.input.*, grad.param.*, and seed.<output> (the
/// upstream gradient of a case without a loss). The metadata text "meta" is JSON with the
/// configuration of the case and, for each result, f32_err and max_abs.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "refrain/train/safetensors.hpp"
#include "support/catch.hpp"
#include "support/skip.hpp"
#include "support/source_dir.hpp"

namespace refrain::test {

inline std::string goldens_folder() {
  const char* folder = std::getenv("REFRAIN_GOLDENS");
  return folder != nullptr && *folder != '\0' ? folder : source_dir() + "/../shared/goldens";
}

inline bool has_goldens() { return std::filesystem::is_directory(goldens_folder()); }

/// Paths of all cases, sorted.
inline std::vector<std::filesystem::path> golden_files() {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(goldens_folder())) {
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// Element type and device of a run of the cases.
struct GoldenRun {
  DType dtype = DType::f32;
  Device device = Device::cpu;
};

/// The runs of this test executable.
std::vector<GoldenRun> golden_runs();

/// One case, computed in one element type on one device.
class Golden {
 public:
  Golden(const std::filesystem::path& path, GoldenRun run)
      : name_(path.stem().string()), dtype_(run.dtype), device_(run.device) {
    SafetensorsFile file = read_safetensors(path.string());
    tensors_ = std::move(file.tensors);
    meta_ = nlohmann::json::parse(file.metadata.at("meta"));
  }

  const std::string& name() const { return name_; }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }
  const nlohmann::json& config() const { return meta_.at("config"); }
  const TensorMap& tensors() const { return tensors_; }
  bool has(std::string_view tensor) const { return tensors_.find(tensor) != tensors_.end(); }

  /// A tensor in the dtype of this run, ids as i32, on the CPU; see place().
  Tensor operator[](std::string_view tensor) const {
    const Tensor& stored = find(tensor);
    return stored.to(is_floating(stored.dtype()) ? dtype_ : DType::i32).clone();
  }

  /// A tensor on the device of this run.
  Tensor place(const Tensor& tensor) const { return tensor.to(device_); }
  Tensor placed(std::string_view tensor) const { return place((*this)[tensor]); }

  /// Compares with the stored result: 8 f32_err + 1e-6 max_abs in f32, 1e-6 (1 + max_abs) in f64.
  void check(const std::string& result, const Tensor& got) const {
    const Tensor expected = find(result).to(DType::f64);
    INFO(name_ << " in " << refrain::name(dtype_) << " on " << refrain::name(device_) << ": "
               << result);
    REQUIRE(got.dtype() == dtype_);
    REQUIRE(got.numel() == expected.numel());
    if (expected.rank() > 0) REQUIRE(got.shape() == expected.shape());
    const double max_abs = meta_.at("max_abs").at(result).get<double>();
    const double error = meta_.at("f32_err").at(result).get<double>();
    const double tolerance =
        dtype_ == DType::f32 ? 8 * error + 1e-6 * max_abs : 1e-6 * (1 + max_abs);
    const Tensor values = got.to(Device::cpu).to(DType::f64);
    double worst = 0;
    for (std::int64_t i = 0; i < expected.numel(); ++i) {
      const double difference = std::abs(values.data<double>()[i] - expected.data<double>()[i]);
      worst = std::isnan(difference) ? HUGE_VAL : std::max(worst, difference);
    }
    CHECK(worst <= tolerance);
  }

 private:
  const Tensor& find(std::string_view tensor) const {
    const auto found = tensors_.find(tensor);
    if (found == tensors_.end()) throw DataError(name_, 0, "has no tensor " + std::string(tensor));
    return found->second;
  }

  std::string name_;
  DType dtype_;
  Device device_;
  TensorMap tensors_;
  nlohmann::json meta_;
};

/// Calls function(golden) for every case of the families in every run, and prints the number of
/// cases. A family without cases is a failure; a missing folder, device or kernel skips the test.
template <class Function>
void for_goldens(std::initializer_list<const char*> families, Function&& function) {
  if (!has_goldens()) REFRAIN_SKIP("no golden cases in " + goldens_folder());
  for (const GoldenRun& run : golden_runs()) {
    if (!is_available(run.device)) REFRAIN_SKIP(detail::concat("no device ", run.device));
  }
  for (const std::string family : families) {
    int cases = 0;
    for (const std::filesystem::path& path : golden_files()) {
      if (!path.filename().string().starts_with(family)) continue;
      ++cases;
      for (const GoldenRun& run : golden_runs()) {
        try {
          function(Golden(path, run));
        } catch (const Unsupported& error) {
          if (run.device == Device::cpu) throw;
          REFRAIN_SKIP(error.what());
        }
      }
    }
    std::string runs;
    for (const GoldenRun& run : golden_runs()) {
      runs +=
          detail::concat(runs.empty() ? "" : " and ", refrain::name(run.dtype), " on ", run.device);
    }
    std::printf("golden %s*: %d cases, each in %s\n", family.c_str(), cases, runs.c_str());
    INFO("family " << family << " in " << goldens_folder());
    CHECK(cases > 0);
  }
}

/// out[c,b,a] with the tap axis reversed; `taps_last`: the tap axis of `w` is the last.
inline Tensor swap_taps(const Tensor& w, bool taps_last) {
  const std::int64_t outer = w.size(0);
  const std::int64_t middle = w.size(1);
  const std::int64_t inner = w.size(2);
  const Tensor from = w.to(DType::f64);
  Tensor out({inner, middle, outer}, DType::f64);
  for (std::int64_t a = 0; a < outer; ++a) {
    for (std::int64_t b = 0; b < middle; ++b) {
      for (std::int64_t c = 0; c < inner; ++c) {
        const std::int64_t to_a = taps_last ? a : outer - 1 - a;
        const std::int64_t to_c = taps_last ? inner - 1 - c : c;
        out.data<double>()[(to_c * middle + b) * outer + to_a] =
            from.data<double>()[(a * middle + b) * inner + c];
      }
    }
  }
  return out.to(w.dtype());
}

/// [Cout,Cin,K] with the newest tap last -> [K,Cin,Cout] with the newest tap first.
inline Tensor conv_weight_from_golden(const Tensor& w) { return swap_taps(w, true); }
/// The inverse of conv_weight_from_golden().
inline Tensor conv_weight_to_golden(const Tensor& w) { return swap_taps(w, false); }

/// Columns [begin, end) of x [rows,n].
inline Tensor columns(const Tensor& x, std::int64_t begin, std::int64_t end) {
  Tensor out({x.size(0), end - begin}, x.dtype());
  const std::size_t width = size_bytes(x.dtype());
  const auto* from = static_cast<const std::byte*>(x.raw());
  auto* to = static_cast<std::byte*>(out.raw());
  const std::size_t bytes = static_cast<std::size_t>(end - begin) * width;
  for (std::int64_t row = 0; row < x.size(0); ++row) {
    const auto start = static_cast<std::size_t>(row * x.size(1) + begin) * width;
    to = std::copy_n(from + start, bytes, to);
  }
  return out;
}

/// [a,b] -> [b,a].
inline Tensor transposed(const Tensor& x) {
  const std::int64_t rows = x.size(0);
  const std::int64_t columns = x.size(1);
  const Tensor from = x.to(DType::f64);
  Tensor out({columns, rows}, DType::f64);
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < columns; ++c)
      out.data<double>()[c * rows + r] = from.data<double>()[r * columns + c];
  }
  return out.to(x.dtype());
}

}  // namespace refrain::test
