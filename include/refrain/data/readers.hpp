#pragma once
/// Readers of behaviour logs, user profiles and titles.
///
/// Files are streamed in blocks of 1 MiB; memory holds one block and the result. Lines end in LF or
/// CRLF, and the end of the last line may be missing; a UTF-8 byte order mark and blank lines are
/// skipped. Ids are UTF-8.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "refrain/core/export.hpp"
#include "refrain/data/sequences.hpp"

namespace refrain {

/// Layout of a behaviour log. Ids are opaque UTF-8 strings without surrounding blanks, such as
/// digits or UUIDs.
enum class Format : std::uint8_t {
  automatic,    ///< detect_format() determines it
  ratings_dat,  ///< user::item::rating::timestamp (MovieLens 1M, 10M)
  /// header; separated by commas, semicolons or tabs, as in the header; fields may be quoted
  /// (MovieLens small, 20M, 25M; exports of shops and spreadsheets)
  ratings_csv,
  u_data,          ///< user, item, rating, timestamp; tab separated (MovieLens 100K)
  inter,           ///< header of name:type; tab separated, columns in any order (RecBole .inter)
  user_item,       ///< "user item", one event per line, in time order for each user
  user_items,      ///< "user item item ...", one user per line
  user_item_list,  ///< "user<TAB>item,item,..."
  sequence_csv,    ///< "item,item,...", no user ids
  transfer_csv,    ///< "source,source,...,,target,target": an empty field separates them (PeterRec)
};

REFRAIN_API const char* name(Format format) noexcept;

/// The format with the given name. Throws OptionError with the list of names for any other name.
REFRAIN_API Format parse_format(std::string_view name);

/// A line that was skipped.
struct BadLine {
  std::int64_t line;
  std::string reason;
};

/// Report of reading a file.
struct ReadReport {
  std::int64_t lines = 0;  ///< including blank ones and the header
  std::int64_t blank_lines = 0;
  std::vector<BadLine> bad_lines;
  /// the format and its layout; for a table with a header, the columns that were read and those
  /// that were not
  std::string read_as;
};

/// Options of the readers.
struct ReadOptions {
  Format format = Format::automatic;
  std::int64_t skip_bad_lines = 0;        ///< malformed lines to tolerate; the next one throws
  std::int64_t max_line_bytes = 1 << 20;  ///< a longer line is malformed
  bool keep_ratings = false;  ///< ratings are always checked, and stored only on request
  /// The events of each user are in time order in the file, and times are not read. Without this
  /// option a table that has times under an unknown column name, or ratings and no times, is
  /// refused, and so is a file in falling time order with equal times of a user. With it, the
  /// report says when the file has times that fall.
  bool in_file_order = false;
  /// Names of columns in the header of a table (ratings_csv, inter), in full or up to a colon;
  /// empty: the column is found by its name (user_id, customerId, product-id, created_at, ...).
  std::string user_column = {};
  std::string item_column = {};
  std::string time_column = {};
  ReadReport* report = nullptr;  ///< filled if not null, also when reading throws
};

/// Detects the format of a behaviour log from its name and its first lines. With columns in
/// `options` it is a table; the other options have no effect. Throws DataError when the file cannot
/// be read, is empty, contains something else (profiles, titles, JSON), or has no known format.
REFRAIN_API Format detect_format(const std::string& path, const ReadOptions& options = {});

/// Reads a log of events: ratings_dat, ratings_csv, u_data, inter or user_item. Times are numbers
/// or ISO 8601 dates, and all times of a file have one form. Throws DataError with file and line
/// for the first malformed line that is not tolerated, for a table whose times cannot be read or
/// are in falling order (see ReadOptions::in_file_order), for a header without the columns that the
/// options name, for an unreadable file and for a file without events; OptionError for another
/// format, and for options about columns of a format without a header.
REFRAIN_API Interactions read_interactions(const std::string& path,
                                           const ReadOptions& options = {});

/// Reads item sequences from every format but transfer_csv; event logs are grouped by user. A
/// sequence store (sequence_store.hpp) takes the place of the log that it was prepared from. Throws
/// as read_interactions(); a second line of a user is malformed in formats with one line per user.
REFRAIN_API Sequences read_sequences(const std::string& path, const ReadOptions& options = {});

/// Reads source and target sequences: transfer_csv, or a sequence store that was prepared from it.
/// The two sides number their items separately. Throws as read_interactions().
REFRAIN_API TransferSequences read_transfer(const std::string& path,
                                            const ReadOptions& options = {});

/// Attributes of users.
struct REFRAIN_API Profiles {
  /// One attribute of all users.
  struct Attribute {
    std::string name;
    detail::StringTable values;
    /// value number of each user; absent_id: the user has no value
    std::vector<std::int32_t> of_user;

    /// True when a user has several values, which '|' separates, as in "Action|Comedy".
    bool has_several_values() const;
    /// The single values, in the order of their first occurrence.
    std::vector<std::string> single_values() const;
    /// The attribute "name=value": "yes" for the users that have this single value, "no" for those
    /// that have only others, none for those without a value. Throws OptionError when no user has
    /// it.
    Attribute one_against_all(std::string_view value) const;
  };
  detail::StringTable users;
  std::vector<Attribute> attributes;

  /// The attribute with the given name. Throws OptionError with the list of names for any other
  /// name.
  const Attribute& attribute(std::string_view name) const;

  /// The value of a user; empty when the user is unknown or has no value. Throws OptionError for an
  /// unknown attribute.
  std::optional<std::string_view> value(std::string_view user, std::string_view attribute) const;
};

/// Reads attributes of users from one of three layouts, which the first line distinguishes.
///
/// A table: its header, separated by commas, semicolons or tabs (fields may be quoted), names a
/// user column like the header of a log (user, user_id:token, customerId, ..., or
/// ReadOptions::user_column if the header has it). Every other column is an attribute with the
/// column's name up to a colon. Values are UTF-8; an empty field means no value.
///
/// MovieLens' users.dat (user::gender::age::occupation::zip) and u.user
/// (user|age|gender|occupation|zip): the attributes "gender", "age" and "occupation". Age is a
/// band, named by its lower end as in MovieLens 1M: 1, 18, 25, 35, 45, 50, 56. users.dat contains
/// these codes; the years of u.user are mapped to them.
///
/// The options format, keep_ratings, in_file_order, item_column and time_column have no effect.
/// Throws DataError.
REFRAIN_API Profiles read_profiles(const std::string& path, const ReadOptions& options = {});

/// Creates a profile task: every row whose user has a value of the attribute becomes a source row
/// with that value as its only target. `attribute`: the name of one, or "name=value" for one value
/// against all others (Profiles::Attribute::one_against_all). Throws OptionError when the sequences
/// have no users or the attribute or value is unknown, DataError when no user has a value.
REFRAIN_API TransferSequences label_users(const Sequences& sequences, const Profiles& profiles,
                                          std::string_view attribute);

/// Item titles by original item id, in UTF-8.
struct REFRAIN_API Titles {
  detail::StringTable items;
  std::vector<std::string> titles;

  /// The title; empty for an unknown item.
  std::optional<std::string_view> find(std::string_view item) const;
};

/// Reads movies.csv (header, quoted fields), movies.dat (item::title::genres) or u.item
/// (item|title|...), which the first line distinguishes. A line that is not UTF-8 is decoded as
/// latin-1. Only the options skip_bad_lines, max_line_bytes and report have an effect. Throws
/// DataError.
REFRAIN_API Titles read_titles(const std::string& path, const ReadOptions& options = {});

}  // namespace refrain
