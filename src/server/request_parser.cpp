#include "src/server/request_parser.hpp"

#include <algorithm>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/status.hpp>
#include <limits>

#include "refrain/core/detail/concat.hpp"

namespace refrain::detail {
namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;
using http::error;

std::string in_lower_case(beast::string_view text) {
  std::string lower(text.data(), text.size());
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

/// The media type of a Content-Type without parameters.
std::string media_type(beast::string_view value) {
  std::string type = in_lower_case(value.substr(0, value.find(';')));
  while (!type.empty() && (type.back() == ' ' || type.back() == '\t')) type.pop_back();
  return type;
}

/// True when a line begins with a blank, which continues the line before. Beast accepts such lines.
bool has_folded_line(std::string_view lines) {
  for (;;) {
    const std::size_t end = lines.find('\n');
    if (end == std::string_view::npos) return false;
    lines.remove_prefix(end + 1);
    if (lines.starts_with(' ') || lines.starts_with('\t')) return true;
  }
}

}  // namespace

/// Takes the parts of one request from Beast's parser.
class RequestParser::Message final : public http::basic_parser<true> {
 public:
  Message(std::size_t header_bytes, const std::vector<std::string>& kept) : kept_(kept) {
    header_limit(static_cast<std::uint32_t>(header_bytes));
    // Routes have limits of their own, which take() applies. In Boost 1.74 boost::none refuses
    // every body.
    body_limit(std::numeric_limits<std::uint64_t>::max());
    eager(false);  // stops after the header
  }

  RawRequest request;
  Progress progress = Progress::header;
  beast::error_code failure;
  int version = 11;             ///< 10 or 11
  std::size_t header_size = 0;  ///< bytes consumed until the end of the header
  std::size_t body_bytes = 0;   ///< the longest body
  bool drops_body = false;

 private:
  void on_request_impl(http::verb, beast::string_view method, beast::string_view target, int number,
                       beast::error_code&) override {
    version = number;
    request.method.assign(method.data(), method.size());
    request.target.assign(target.data(), target.size());
  }

  void on_response_impl(int, beast::string_view, int, beast::error_code&) override {}

  void on_field_impl(http::field name, beast::string_view name_text, beast::string_view value,
                     beast::error_code& ec) override {
    if (progress != Progress::header) return;  // a trailer
    const auto once = [&](bool& seen, error otherwise) {
      if (seen) ec = otherwise;
      seen = true;
    };
    switch (name) {
      case http::field::host:
        once(has_host_, error::bad_field);
        break;
      case http::field::content_length:
        once(has_length_, error::bad_content_length);
        if (!std::all_of(value.begin(), value.end(), [](char c) { return c >= '0' && c <= '9'; }))
          ec = error::bad_content_length;
        break;
      case http::field::transfer_encoding:
        once(has_encoding_, error::bad_transfer_encoding);
        if (!beast::iequals(value, "chunked") || version < 11) ec = error::bad_transfer_encoding;
        break;
      case http::field::content_type:
        once(has_type_, error::bad_field);
        request.content_type = media_type(value);
        break;
      case http::field::authorization:
        once(has_authorization_, error::bad_field);
        request.authorization.assign(value.data(), value.size());
        break;
      case http::field::expect:
        request.expects_continue = beast::iequals(value, "100-continue") && version >= 11;
        break;
      default:
        break;
    }
    if (kept_.empty()) return;
    std::string lower = in_lower_case(name_text);
    if (std::find(kept_.begin(), kept_.end(), lower) != kept_.end())
      request.headers.emplace_back(std::move(lower), std::string(value.data(), value.size()));
  }

  void on_header_impl(beast::error_code& ec) override {
    if (has_length_ && has_encoding_) ec = error::bad_transfer_encoding;
    if (!has_host_ && version >= 11) ec = error::bad_field;
    progress = Progress::body;
  }

  void on_body_init_impl(const boost::optional<std::uint64_t>&, beast::error_code&) override {}

  std::size_t on_body_impl(beast::string_view bytes, beast::error_code& ec) override {
    take(bytes, ec);
    return bytes.size();
  }

  void on_chunk_header_impl(std::uint64_t size, beast::string_view,
                            beast::error_code& ec) override {
    if (size > body_bytes - taken_) ec = error::body_limit;
  }

  std::size_t on_chunk_body_impl(std::uint64_t, beast::string_view bytes,
                                 beast::error_code& ec) override {
    take(bytes, ec);
    return bytes.size();
  }

  void on_finish_impl(beast::error_code&) override { progress = Progress::done; }

  void take(beast::string_view bytes, beast::error_code& ec) {
    if (bytes.size() > body_bytes - taken_) {
      ec = error::body_limit;
      return;
    }
    taken_ += bytes.size();
    if (!drops_body) request.body.append(bytes.data(), bytes.size());
  }

  const std::vector<std::string>& kept_;
  std::size_t taken_ = 0;
  bool has_host_ = false, has_length_ = false, has_encoding_ = false, has_type_ = false,
       has_authorization_ = false;
};

RequestParser::RequestParser(std::size_t header_bytes, const std::vector<std::string>& kept)
    : header_bytes_(header_bytes), kept_(kept) {
  restart();
}
RequestParser::~RequestParser() = default;

void RequestParser::restart() { message_ = std::make_unique<Message>(header_bytes_, kept_); }

std::size_t RequestParser::put(std::string_view bytes) {
  if (bytes.empty()) return 0;
  const bool in_header = progress() == Progress::header;
  beast::error_code ec;
  const std::size_t consumed =
      message_->put(boost::asio::const_buffer(bytes.data(), bytes.size()), ec);
  if (in_header) {
    // Beast limits only what it has not yet consumed.
    message_->header_size += consumed;
    const std::size_t pending = ec == error::need_more ? bytes.size() - consumed : 0;
    if (message_->header_size + pending > header_bytes_) ec = error::header_limit;
    if (has_folded_line(bytes.substr(0, consumed))) ec = error::bad_field;
    if (progress() != Progress::header) {
      message_->eager(true);
      const auto length = message_->content_length();
      if (length) message_->request.content_length = *length;
      message_->request.has_body = message_->chunked() || length.value_or(0) > 0;
    }
  }
  if (ec && ec != error::need_more) {
    message_->failure = ec;
    message_->progress = Progress::failed;
  }
  return consumed;
}

RequestParser::Progress RequestParser::progress() const noexcept { return message_->progress; }
void RequestParser::limit_body(std::size_t bytes) { message_->body_bytes = bytes; }
void RequestParser::discard_body() { message_->drops_body = true; }
RawRequest& RequestParser::request() noexcept { return message_->request; }
bool RequestParser::keeps_alive() const { return message_->keep_alive(); }
bool RequestParser::is_http10() const { return message_->version == 10; }

HttpResponse RequestParser::failure() const {
  const beast::error_code ec = message_->failure;
  if (ec == error::header_limit)
    return http_error(431, "header_too_large",
                      concat("the header has more than ", header_bytes_, " bytes"));
  if (ec == error::body_limit) return too_large();
  if (ec == error::bad_version) return http_error(505, "version", "expected HTTP/1.1 or HTTP/1.0");
  return http_error(400, "malformed", concat("malformed request: ", ec.message()));
}

HttpResponse RequestParser::too_large() const {
  return http_error(413, "body_too_large",
                    concat("the body has more than ", message_->body_bytes, " bytes"));
}

std::string_view reason_of(int status) {
  const beast::string_view words =
      http::obsolete_reason(http::int_to_status(static_cast<unsigned>(status)));
  return {words.data(), words.size()};
}

}  // namespace refrain::detail
