#include "cmnrec/curves.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

namespace refrain::cmnrec {
namespace {

/// Colours that readers with a colour vision deficiency can distinguish.
constexpr std::array colours{"#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377",
                             "#999999", "#332288", "#ee7733", "#117733", "#882255", "#000000"};

struct Point {
  double x = 0;
  double y = 0;
};

struct Line {
  std::size_t colour = 0;
  std::vector<Point> points;
};

struct Range {
  double low = 0;
  double high = 1;
};

/// Multiples of 1, 2 or 5 times a power of ten that divide the range into at most six parts.
std::vector<double> ticks(const Range& range) {
  const double part = (range.high - range.low) / 6;
  const double power = std::pow(10, std::floor(std::log10(part)));
  double step = 10 * power;
  for (const double factor : {5.0, 2.0, 1.0}) {
    if (factor * power >= part) step = factor * power;
  }
  std::vector<double> at;
  for (double tick = std::ceil(range.low / step); tick * step <= range.high; ++tick)
    at.push_back(tick * step);
  return at;
}

Range range_of(const std::vector<Line>& lines, double Point::*axis) {
  Range range{HUGE_VAL, -HUGE_VAL};
  for (const Line& line : lines) {
    for (const Point& point : line.points) {
      range.low = std::min(range.low, point.*axis);
      range.high = std::max(range.high, point.*axis);
    }
  }
  const double room = range.high > range.low ? 0.04 * (range.high - range.low) : 0.5;
  return {range.low - room, range.high + room};
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else {
      out += c;
    }
  }
  return out;
}

/// A frame with ticks and lines; its upper left corner is at (left, top).
std::string panel(double left, double top, const std::vector<Line>& lines,
                  const std::string& x_name, const std::string& y_name) {
  constexpr double width = 380;
  constexpr double height = 300;
  Range xs = range_of(lines, &Point::x);
  xs.low = std::max(0.0, xs.low);
  const Range ys = range_of(lines, &Point::y);
  const auto at_x = [&](double x) { return left + width * (x - xs.low) / (xs.high - xs.low); };
  const auto at_y = [&](double y) { return top + height * (ys.high - y) / (ys.high - ys.low); };
  std::string svg =
      fmt::format("<rect x='{}' y='{}' width='{}' height='{}' fill='none' stroke='#444'/>\n", left,
                  top, width, height);
  for (const double x : ticks(xs)) {
    svg += fmt::format("<line x1='{0:.1f}' y1='{1}' x2='{0:.1f}' y2='{2}' stroke='#ddd'/>", at_x(x),
                       top, top + height);
    svg += fmt::format("<text x='{:.1f}' y='{}' text-anchor='middle'>{:.6g}</text>\n", at_x(x),
                       top + height + 16, x);
  }
  for (const double y : ticks(ys)) {
    svg += fmt::format("<line x1='{0}' y1='{2:.1f}' x2='{1}' y2='{2:.1f}' stroke='#ddd'/>", left,
                       left + width, at_y(y));
    svg += fmt::format("<text x='{}' y='{:.1f}' text-anchor='end'>{:.6g}</text>\n", left - 6,
                       at_y(y) + 4, y);
  }
  svg += fmt::format("<text x='{}' y='{}' text-anchor='middle'>{}</text>\n", left + width / 2,
                     top + height + 36, escaped(x_name));
  svg += fmt::format("<text x='{}' y='{}'>{}</text>\n", left, top - 8, escaped(y_name));
  for (const Line& line : lines) {
    svg += fmt::format("<polyline fill='none' stroke-width='1.8' stroke='{}' points='",
                       colours[line.colour % colours.size()]);
    for (const Point& point : line.points)
      svg += fmt::format("{:.1f},{:.1f} ", at_x(point.x), at_y(point.y));
    svg += "'/>\n";
  }
  return svg;
}

std::string drawing(std::span<const Run> runs) {
  std::vector<std::string> labels;
  std::vector<Line> by_epoch;
  std::vector<Line> by_seconds;
  std::string metric;
  for (const Run& run : runs) {
    if (run.curve.empty()) continue;
    metric = run.metric;
    const auto found = std::find(labels.begin(), labels.end(), run.label());
    const std::size_t colour = static_cast<std::size_t>(found - labels.begin());
    if (found == labels.end()) labels.push_back(run.label());
    Line epochs{colour, {}};
    Line seconds{colour, {}};
    double passed = 0;
    for (const EpochReport& epoch : run.curve) {
      passed += epoch.training_seconds;
      epochs.points.push_back({static_cast<double>(epoch.epoch + 1), epoch.metric});
      seconds.points.push_back({passed, epoch.metric});
    }
    by_epoch.push_back(std::move(epochs));
    by_seconds.push_back(std::move(seconds));
  }
  const double legend = 390 + 20 * static_cast<double>((labels.size() + 3) / 4);
  std::string svg = fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' width='940' height='{0}' viewBox='0 0 940 {0}' "
      "font-family='sans-serif' "
      "font-size='12'>\n<rect width='940' height='{0}' fill='white'/>\n",
      legend + 10);
  if (!labels.empty()) {
    const std::string y_name = metric + " on the validation part";
    svg += panel(70, 30, by_epoch, "epoch", y_name);
    svg += panel(540, 30, by_seconds, "seconds of training", y_name);
  }
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const double x = 70 + 215 * static_cast<double>(i % 4);
    const double y = 390 + 20 * static_cast<double>(i / 4);
    svg += fmt::format("<line x1='{}' y1='{}' x2='{}' y2='{}' stroke-width='3' stroke='{}'/>", x,
                       y - 4, x + 22, y - 4, colours[i % colours.size()]);
    svg += fmt::format("<text x='{}' y='{}'>{}</text>\n", x + 28, y, escaped(labels[i]));
  }
  return svg + "</svg>\n";
}

void write_file(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  if (!out) throw DataError(path, 0, "cannot be written");
}

}  // namespace

std::array<std::string, 2> curve_files(const std::string& prefix) {
  return {prefix + "-curves.jsonl", prefix + "-curves.svg"};
}

void write_curves(const std::string& prefix, std::span<const Run> runs) {
  std::string lines;
  for (const Run& run : runs) {
    for (const EpochReport& epoch : run.curve) {
      lines += nlohmann::json{{"model", run.title},
                              {"slots", run.slots},
                              {"seed", run.seed},
                              {"epoch", epoch.epoch + 1},
                              {"loss", epoch.loss},
                              {"validation", epoch.metric},
                              {"seconds", epoch.training_seconds},
                              {"metric", run.metric}}
                   .dump();
      lines += '\n';
    }
  }
  const auto [points, figure] = curve_files(prefix);
  write_file(points, lines);
  write_file(figure, drawing(runs));
}

}  // namespace refrain::cmnrec
