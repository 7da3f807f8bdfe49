#pragma once
/// Text for error messages and file headers.

#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>

#include "refrain/core/export.hpp"

namespace refrain::detail {

/// One part of a text, not owned: characters, a number, an address, or an object that has str() or,
/// for enumerations, name(). The conversion is cheap for the many places that throw; the text
/// itself is built out of line.
class TextPart {
 public:
  TextPart(std::string_view text) noexcept : append_(&append_text) {
    value_.text = {text.data(), text.size()};
  }
  TextPart(const std::string& text) noexcept : TextPart(std::string_view(text)) {}
  TextPart(const char* text) noexcept : TextPart(std::string_view(text)) {}
  TextPart(char letter) noexcept : append_(&append_letter) { value_.letter = letter; }
  TextPart(int number) noexcept : TextPart(static_cast<long long>(number)) {}
  TextPart(long number) noexcept : TextPart(static_cast<long long>(number)) {}
  TextPart(long long number) noexcept : append_(&append_integer) { value_.integer = number; }
  TextPart(unsigned number) noexcept : TextPart(static_cast<unsigned long long>(number)) {}
  TextPart(unsigned long number) noexcept : TextPart(static_cast<unsigned long long>(number)) {}
  TextPart(unsigned long long number) noexcept : append_(&append_natural) {
    value_.natural = number;
  }
  TextPart(double number) noexcept : append_(&append_real) { value_.real = number; }
  TextPart(const void* address) noexcept : append_(&append_address) { value_.object = address; }
  template <class Object>
  requires requires(const Object& object) { object.str(); }
  TextPart(const Object& object) noexcept : append_(&append_object<Object>) {
    value_.object = &object;
  }
  template <class Enumerator>
  requires std::is_enum_v<Enumerator> TextPart(Enumerator value)
  noexcept : TextPart(name(value)) {}

  void append_to(std::string& text) const { append_(text, value_); }

 private:
  union Value {
    struct {
      const char* data;
      std::size_t size;
    } text;
    char letter;
    long long integer;
    unsigned long long natural;
    double real;
    const void* object;
  };

  REFRAIN_API static void append_text(std::string& text, const Value& value);
  REFRAIN_API static void append_letter(std::string& text, const Value& value);
  REFRAIN_API static void append_integer(std::string& text, const Value& value);
  REFRAIN_API static void append_natural(std::string& text, const Value& value);
  REFRAIN_API static void append_real(std::string& text, const Value& value);
  REFRAIN_API static void append_address(std::string& text, const Value& value);
  template <class Object>
  static void append_object(std::string& text, const Value& value) {
    text += static_cast<const Object*>(value.object)->str();
  }

  Value value_;
  void (*append_)(std::string& text, const Value& value);
};

REFRAIN_API std::string join(std::initializer_list<TextPart> parts);

/// Joins the printed form of its arguments, independent of the locale. For error messages and file
/// headers, not for hot paths.
template <class... Parts>
inline std::string concat(const Parts&... parts) {
  return join({TextPart(parts)...});
}

}  // namespace refrain::detail
