#include "refrain/server/http.hpp"

#include <algorithm>
#include <atomic>

#include "refrain/core/detail/concat.hpp"
#include "src/utf8.hpp"

namespace refrain {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }

/// Decoded UTF-8 without control characters.
std::optional<std::string> decoded_text(std::string_view text, bool plus_is_space) {
  std::optional<std::string> decoded = percent_decoded(text, plus_is_space);
  if (decoded &&
      (std::any_of(decoded->begin(), decoded->end(), is_control) || !detail::is_utf8(*decoded)))
    decoded.reset();
  return decoded;
}

/// Calls take(part) for each part between separators, until it returns false; false then.
template <class Take>
bool for_each_part(std::string_view text, char separator, Take&& take) {
  for (;;) {
    const std::size_t end = text.find(separator);
    if (!take(text.substr(0, end))) return false;
    if (end == std::string_view::npos) return true;
    text.remove_prefix(end + 1);
  }
}

/// The target after http://authority or https://authority; "/" when nothing follows, nothing when
/// the authority is empty.
std::string_view without_authority(std::string_view target) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!target.starts_with(scheme)) continue;
    const std::size_t path = target.find_first_of("/?", scheme.size());
    if (std::min(path, target.size()) == scheme.size()) return {};
    return path == std::string_view::npos ? "/" : target.substr(path);
  }
  return target;
}

std::optional<std::string_view> find(const HttpFields& fields, std::string_view name) {
  for (const auto& [each, value] : fields) {
    if (each == name) return value;
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::string> percent_decoded(std::string_view text, bool plus_is_space) {
  std::string decoded;
  decoded.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      if (text.size() - i < 3) return std::nullopt;
      const int high = hex_digit(text[i + 1]), low = hex_digit(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      decoded += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      decoded += plus_is_space && text[i] == '+' ? ' ' : text[i];
    }
  }
  return decoded;
}

std::optional<HttpTarget> parse_http_target(std::string_view target) {
  const auto is_visible = [](char c) { return c > 0x20 && c < 0x7F && c != '#'; };
  if (!std::all_of(target.begin(), target.end(), is_visible)) return std::nullopt;
  target = without_authority(target);
  const std::size_t question = target.find('?');
  const std::string_view path = target.substr(0, question);
  if (!path.starts_with('/')) return std::nullopt;

  HttpTarget parsed;
  if (path.size() > 1) {
    const bool valid = for_each_part(path.substr(1), '/', [&](std::string_view part) {
      std::optional<std::string> segment = decoded_text(part, false);
      if (!segment || *segment == "." || *segment == "..") return false;
      parsed.segments.push_back(std::move(*segment));
      return true;
    });
    if (!valid) return std::nullopt;
  }
  if (question == std::string_view::npos) return parsed;
  const bool valid = for_each_part(target.substr(question + 1), '&', [&](std::string_view part) {
    if (part.empty()) return true;
    const std::size_t equals = part.find('=');
    std::optional<std::string> name = decoded_text(part.substr(0, equals), true);
    std::optional<std::string> value = decoded_text(
        equals == std::string_view::npos ? std::string_view() : part.substr(equals + 1), true);
    if (!name || !value || find(parsed.query, *name)) return false;
    parsed.query.emplace_back(std::move(*name), std::move(*value));
    return true;
  });
  if (!valid) return std::nullopt;
  return parsed;
}

std::string_view HttpRequest::parameter(std::string_view name) const {
  return find(parameters, name).value_or(std::string_view());
}

std::optional<std::string_view> HttpRequest::query(std::string_view name) const {
  return find(target.query, name);
}

std::optional<std::string_view> HttpRequest::header(std::string_view name) const {
  return find(headers, name);
}

std::string json_quoted(std::string_view text) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string quoted = "\"";
  while (!text.empty()) {
    const std::size_t length = detail::utf8_length(text);
    const char first = text.front();
    if (length == 0) {
      quoted += "\xEF\xBF\xBD";
    } else if (first == '"' || first == '\\') {
      (quoted += '\\') += first;
    } else if (is_control(first)) {
      ((quoted += "\\u00") += digits[static_cast<unsigned char>(first) >> 4]) +=
          digits[static_cast<unsigned char>(first) & 15];
    } else {
      quoted += text.substr(0, length);
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return quoted += '"';
}

HttpResponse http_error(int status, std::string_view code, std::string_view message) {
  return {.status = status,
          .body = detail::concat("{\"error\":{\"code\":", json_quoted(code),
                                 ",\"message\":", json_quoted(message), "}}\n")};
}

struct HttpRespond::Once {
  explicit Once(Deliver give) : deliver(std::move(give)) {}
  Once(const Once&) = delete;
  Once& operator=(const Once&) = delete;
  ~Once() {
    if (answered.load(std::memory_order_acquire)) return;
    try {
      deliver(http_error(500, "internal", "the server gave no answer"));
    } catch (...) {  // out of memory: the server's time for an answer passes
    }
  }

  Deliver deliver;
  std::atomic<bool> answered{false};
};

HttpRespond::HttpRespond(Deliver deliver) : once_(std::make_shared<Once>(std::move(deliver))) {}

bool HttpRespond::operator()(HttpResponse response) const {
  if (once_->answered.exchange(true, std::memory_order_acq_rel)) return false;
  once_->deliver(std::move(response));
  return true;
}

}  // namespace refrain
