#include "refrain/core/error.hpp"

#include <charconv>
#include <locale>
#include <sstream>

namespace refrain {
namespace detail {
namespace {

template <class Number>
void append_digits(std::string& text, Number number) {
  std::array<char, 24> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
  text.append(digits.data(), end);
}

template <class Printed>
void append_printed(std::string& text, Printed value) {
  std::ostringstream out;
  out.imbue(std::locale::classic());
  out << value;
  text += out.str();
}

}  // namespace

void TextPart::append_text(std::string& text, const Value& value) {
  text.append(value.text.data, value.text.size);
}
void TextPart::append_letter(std::string& text, const Value& value) { text += value.letter; }
void TextPart::append_integer(std::string& text, const Value& value) {
  append_digits(text, value.integer);
}
void TextPart::append_natural(std::string& text, const Value& value) {
  append_digits(text, value.natural);
}
void TextPart::append_real(std::string& text, const Value& value) {
  append_printed(text, value.real);
}
void TextPart::append_address(std::string& text, const Value& value) {
  append_printed(text, value.object);
}

std::string join(std::initializer_list<TextPart> parts) {
  std::string text;
  for (const TextPart& part : parts) part.append_to(text);
  return text;
}

}  // namespace detail
}  // namespace refrain
