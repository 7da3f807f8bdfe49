#pragma once
/// Meanings of a table's columns, from the names in its header.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace refrain::detail {

enum class Role : std::uint8_t { user, item, rating, time };

/// A column's name in lower case, up to a colon, without underscores, hyphens and blanks: "userid"
/// for user_id:token, userId and "User ID".
std::string plain_name(std::string_view column);

/// The columns of a header that may have one role.
struct Candidates {
  int column = -1;  ///< the best known of them; -1: none
  int other = -1;   ///< a second one that is known as well; -1: none

  bool is_ambiguous() const noexcept { return other >= 0; }
};

/// The columns whose names mean this role. Some names count only where the header has no better
/// known one: session_id means the user in a table without user_id. Ignores the columns `chosen`
/// for other roles.
Candidates find_column(const std::vector<std::string_view>& header, Role role,
                       const std::vector<int>& chosen = {});

/// The column with the name `chosen`, in full or up to a colon. Sets `reason` to the reason of a
/// failure if there is no such column or two; `option`: the option that chooses the column.
int chosen_column(const std::vector<std::string_view>& header, std::string_view chosen,
                  std::string_view option, std::string& reason);

/// "two columns of the header, "a" and "b", both mean the user".
std::string two_columns(const std::vector<std::string_view>& header, Role role,
                        const Candidates& found);

/// The option that chooses the column of a role: "user_column (--user-column)"; empty for ratings.
std::string_view column_option(Role role) noexcept;

/// The names of a header for an error message, separated by commas and shortened.
std::string header_text(const std::vector<std::string_view>& header);

}  // namespace refrain::detail
