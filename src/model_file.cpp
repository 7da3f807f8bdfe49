#include "refrain/train/model_file.hpp"

namespace refrain {
namespace {

constexpr const char* vocabulary_text = "vocabulary";
constexpr const char* length_text = "length";

}  // namespace

Vocabulary vocabulary_of(const Checkpoint& file) {
  const auto found = file.info.metadata.find(vocabulary_text);
  if (found == file.info.metadata.end())
    throw DataError(file.path, 0, "expected a text 'vocabulary', got none");
  return Vocabulary::deserialize(found->second, file.path);
}

Metadata detail::with_vocabulary(Metadata texts, const Vocabulary& vocabulary,
                                 std::int64_t length) {
  texts[vocabulary_text] = vocabulary.serialize();
  if (length > 0) texts[length_text] = detail::concat(length);
  return texts;
}

void detail::expect_length(const Checkpoint& file, std::int64_t length) {
  const auto saved = file.info.metadata.find(length_text);
  if (length <= 0 || saved == file.info.metadata.end() || saved->second == detail::concat(length))
    return;
  throw DataError(file.path, 0,
                  detail::concat("holds a model that reads the newest ", saved->second,
                                 " items of a history, expected ", length));
}

}  // namespace refrain
