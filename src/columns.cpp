#include "src/columns.hpp"

#include <algorithm>
#include <array>
#include <span>

#include "src/fields.hpp"

namespace refrain::detail {
namespace {

/// Plain names of one role. A name counts only if the header has none of the lists before.
struct RoleNames {
  std::string_view text;    ///< for messages
  std::string_view option;  ///< that chooses the column
  std::array<std::span<const std::string_view>, 3> ranked;
};

constexpr std::string_view user_names[] = {"userid",     "user",     "uid",       "reviewerid",
                                           "customerid", "customer", "visitorid", "accountid"};
constexpr std::string_view other_user_names[] = {
    "clientid", "memberid",    "buyerid",      "shopperid", "consumerid", "subscriberid",
    "guestid",  "householdid", "householdkey", "profileid", "personid",   "readerid",
    "viewerid", "listenerid",  "playerid",     "shopuserid"};
constexpr std::string_view session_names[] = {"sessionid", "usersession", "cookieid", "deviceid"};

constexpr std::string_view item_names[] = {"itemid",    "item",    "iid", "movieid",  "asin",
                                           "productid", "product", "sku", "articleid"};
constexpr std::string_view other_item_names[] = {
    "trackid", "songid",   "bookid",    "isbn",      "videoid",     "newsid",
    "gameid",  "appid",    "venueid",   "poiid",     "businessid",  "listingid",
    "hotelid", "recipeid", "courseid",  "stockcode", "productcode", "itemcode",
    "goodsid", "offerid",  "contentid", "showid"};
constexpr std::string_view variant_names[] = {"parentasin", "variantid"};

constexpr std::string_view rating_names[] = {"rating", "overall", "score", "stars"};

constexpr std::string_view time_names[] = {"timestamp", "unixreviewtime", "ts",
                                           "eventtime", "unixtime",       "epoch"};
constexpr std::string_view event_times[] = {"time",
                                            "date",
                                            "tdat",
                                            "datetime",
                                            "createdat",
                                            "created",
                                            "createdtime",
                                            "creationtime",
                                            "eventtimestamp",
                                            "eventdate",
                                            "eventdatetime",
                                            "occurredat",
                                            "unixtimestamp",
                                            "orderdate",
                                            "ordertime",
                                            "orderedat",
                                            "orderdatetime",
                                            "purchasedate",
                                            "purchasetime",
                                            "purchasedat",
                                            "purchasedatetime",
                                            "purchasetimestamp",
                                            "orderpurchasetimestamp",
                                            "transactiondate",
                                            "transactiontime",
                                            "transactiondt",
                                            "invoicedate",
                                            "clicktime",
                                            "clickedat",
                                            "viewtime",
                                            "viewedat",
                                            "visittime",
                                            "visitedat",
                                            "playedat",
                                            "watchedat",
                                            "listenedat",
                                            "reviewtime",
                                            "reviewdate",
                                            "ratedat",
                                            "ratingtime",
                                            "ratingtimestamp",
                                            "addedat",
                                            "servertime"};

/// In the order of Role.
constexpr std::array<RoleNames, 4> roles{{
    {"the user", "user_column (--user-column)", {user_names, other_user_names, session_names}},
    {"the item", "item_column (--item-column)", {item_names, other_item_names, variant_names}},
    {"the rating", "", {rating_names, {}, {}}},
    {"the time", "time_column (--time-column)", {time_names, event_times, {}}},
}};

const RoleNames& names_of(Role role) noexcept { return roles[static_cast<std::size_t>(role)]; }

bool contains(std::span<const std::string_view> names, std::string_view name) noexcept {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string_view before_colon(std::string_view name) noexcept {
  return trim(name.substr(0, name.find(':')));
}

}  // namespace

std::string plain_name(std::string_view column) {
  std::string plain;
  for (const char c : before_colon(column)) {
    if (c != '_' && c != '-' && c != ' ')
      plain += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return plain;
}

Candidates find_column(const std::vector<std::string_view>& header, Role role,
                       const std::vector<int>& chosen) {
  Candidates found;
  for (const std::span<const std::string_view> names : names_of(role).ranked) {
    for (int column = 0; column < static_cast<int>(header.size()); ++column) {
      if (std::find(chosen.begin(), chosen.end(), column) != chosen.end()) continue;
      if (!contains(names, plain_name(header[static_cast<std::size_t>(column)]))) continue;
      if (found.column < 0) {
        found.column = column;
      } else if (found.other < 0) {
        found.other = column;
      }
    }
    if (found.column >= 0) break;
  }
  return found;
}

int chosen_column(const std::vector<std::string_view>& header, std::string_view chosen,
                  std::string_view option, std::string& reason) {
  int found = -1, count = 0;
  for (int column = 0; column < static_cast<int>(header.size()); ++column) {
    const std::string_view name = trim(header[static_cast<std::size_t>(column)]);
    if (name != chosen && before_colon(name) != chosen) continue;
    if (found < 0) found = column;
    ++count;
  }
  if (count != 1) {
    reason = concat(option, ": expected ", count == 0 ? "a column of the header" : "one column",
                    ", got ", quoted(chosen), count == 0 ? "; the header has " : " twice in ",
                    header_text(header));
  }
  return count == 1 ? found : -1;
}

std::string two_columns(const std::vector<std::string_view>& header, Role role,
                        const Candidates& found) {
  const auto name = [&](int column) { return quoted(header[static_cast<std::size_t>(column)]); };
  return concat("two columns of the header, ", name(found.column), " and ", name(found.other),
                ", both mean ", names_of(role).text);
}

std::string_view column_option(Role role) noexcept { return names_of(role).option; }

std::string header_text(const std::vector<std::string_view>& header) {
  constexpr std::size_t max_bytes = 200;
  std::string text;
  for (const std::string_view name : header) text += concat(text.empty() ? "" : ",", name);
  return printable(text.substr(0, max_bytes)) + (text.size() <= max_bytes ? "" : "...");
}

}  // namespace refrain::detail
