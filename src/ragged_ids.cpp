#include "refrain/data/ragged_ids.hpp"

#include <algorithm>
#include <utility>

namespace refrain {

RaggedIds::RaggedIds(std::shared_ptr<const detail::MappedIds> file, std::vector<std::int64_t> ends)
    : ends_(std::move(ends)), file_(std::move(file)) {
  if (file_ == nullptr) throw OptionError("RaggedIds: expected a file, got none");
  viewed_ = static_cast<std::int64_t>(file_->ids().size());
  const bool is_rising = std::is_sorted(ends_.begin(), ends_.end());
  if (!is_rising || (ends_.empty() ? 0 : ends_.back()) != viewed_ ||
      (!ends_.empty() && ends_.front() < 0))
    throw OptionError(
        detail::concat("RaggedIds: expected ends of rows that rise to the number of ids, ", viewed_,
                       is_rising ? ", got another last end" : ", got a smaller end after an end"));
}

void RaggedIds::push_part(const RaggedIds& from, std::int64_t row, std::size_t begin,
                          std::size_t count) {
  const std::span<const std::int32_t> whole = from[row];
  if (begin > whole.size() || count > whole.size() - begin)
    throw OptionError(detail::concat("RaggedIds::push_part: expected a part of the ", whole.size(),
                                     " ids of row ", row, ", got ", count, " ids from ", begin));
  const bool is_empty = empty() && values_.empty() && file_ == nullptr;
  if (from.file_ == nullptr || (!is_empty && file_ != from.file_)) {
    push_back(whole.subspan(begin, count));
    return;
  }
  const std::int64_t first =
      static_cast<std::int64_t>(from.begin_of(static_cast<std::size_t>(row)) + begin);
  const std::int64_t end = first + static_cast<std::int64_t>(count);
  if (file_ == nullptr) {
    file_ = from.file_;
    viewed_ = 0;
  }
  const std::int64_t end_before = ends_.empty() ? 0 : ends_.back();
  if (begins_.empty() && first != end_before) {
    // The rows so far begin where the row before them ends.
    begins_.reserve(ends_.capacity());
    for (std::size_t i = 0; i < ends_.size(); ++i) begins_.push_back(i == 0 ? 0 : ends_[i - 1]);
    begins_.push_back(first);
  } else if (!begins_.empty()) {
    begins_.push_back(first);
  }
  ends_.push_back(end);
  viewed_ += static_cast<std::int64_t>(count);
}

void RaggedIds::copy_views() {
  RaggedIds copy;
  copy.reserve(rows(), total());
  for (std::int64_t row = 0; row < rows(); ++row) copy.push_back((*this)[row]);
  *this = std::move(copy);
}

bool operator==(const RaggedIds& a, const RaggedIds& b) {
  if (a.rows() != b.rows() || a.total() != b.total()) return false;
  for (std::int64_t row = 0; row < a.rows(); ++row) {
    if (!std::ranges::equal(a[row], b[row])) return false;
  }
  return true;
}

}  // namespace refrain
