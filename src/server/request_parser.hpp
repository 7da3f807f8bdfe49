#pragma once
/// Requests of HTTP/1.0 and HTTP/1.1 from bytes.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "refrain/server/http.hpp"

namespace refrain::detail {

/// The parts of a request that the server reads.
struct RawRequest {
  std::string method;
  std::string target;
  std::string authorization;
  std::string content_type;  ///< as in HttpRequest
  HttpFields headers;        ///< as in HttpRequest
  std::string body;
  bool expects_continue = false;
  bool has_body = false;
  std::optional<std::uint64_t> content_length;  ///< nullopt: no body, or chunks
};

/// Parses one request after the other.
///
/// Stricter than RFC 9112 where servers and proxies have disagreed: refused are both Content-Length
/// and Transfer-Encoding, two of Content-Length, Transfer-Encoding, Host, Content-Type or
/// Authorization, encodings other than "chunked", header lines that continue the line before, and a
/// request of HTTP/1.1 without Host. Trailers are ignored.
class RequestParser {
 public:
  enum class Progress { header, body, done, failed };

  /// `kept`: names of the headers to keep, in lower case.
  RequestParser(std::size_t header_bytes, const std::vector<std::string>& kept);
  RequestParser(const RequestParser&) = delete;
  RequestParser& operator=(const RequestParser&) = delete;
  ~RequestParser();

  /// Begins the next request.
  void restart();

  /// Parses bytes and returns how many it has consumed; the others are to be put again with more.
  /// Stops after the header and after the request.
  std::size_t put(std::string_view bytes);

  Progress progress() const noexcept;
  /// The longest body; to be set after the header.
  void limit_body(std::size_t bytes);
  /// The bytes of the body are parsed and dropped.
  void discard_body();

  RawRequest& request() noexcept;
  /// False when the connection ends after this request.
  bool keeps_alive() const;
  bool is_http10() const;
  /// The answer after Progress::failed.
  HttpResponse failure() const;
  /// The answer to a body that is longer than the limit.
  HttpResponse too_large() const;

 private:
  class Message;
  const std::size_t header_bytes_;
  const std::vector<std::string>& kept_;
  std::unique_ptr<Message> message_;
};

/// The words for a status in a status line.
std::string_view reason_of(int status);

}  // namespace refrain::detail
