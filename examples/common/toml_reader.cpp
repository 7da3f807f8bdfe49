#include <toml++/toml.h>

#include <istream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/command_line.hpp"

namespace refrain::examples {
namespace {

/// One section a sub-command, each with values by option names.
class TomlReader final : public CLI::ConfigTOML {
 public:
  std::vector<CLI::ConfigItem> from_config(std::istream& in) const override {
    std::vector<CLI::ConfigItem> found;
    try {
      const toml::table file = toml::parse(in);
      for (const auto& [section, values] : file) {
        const toml::table* table = values.as_table();
        if (table == nullptr)
          fail(values, concat("expected sections, as [pretrain], got '", section.str(),
                              "' outside of one"));
        for (const auto& [name, value] : *table) {
          CLI::ConfigItem item;
          item.parents = {std::string(section.str())};
          item.name = std::string(name.str());
          add(value, item.inputs);
          found.push_back(std::move(item));
        }
      }
    } catch (const toml::parse_error& error) {
      throw CLI::ConfigError(
          concat("--config: line ", error.source().begin.line, ": ", error.description()));
    }
    return found;
  }

 private:
  [[noreturn]] static void fail(const toml::node& at, const std::string& why) {
    throw CLI::ConfigError(concat("--config: line ", at.source().begin.line, ": ", why));
  }

  static void add(const toml::node& value, std::vector<std::string>& inputs) {
    if (const auto* list = value.as_array()) {
      for (const toml::node& element : *list) add(element, inputs);
    } else if (const auto* text = value.as_string()) {
      inputs.push_back(text->get());
    } else if (const auto* whole = value.as_integer()) {
      inputs.push_back(std::to_string(whole->get()));
    } else if (const auto* number = value.as_floating_point()) {
      inputs.push_back(fmt::format("{}", number->get()));
    } else if (const auto* flag = value.as_boolean()) {
      inputs.push_back(flag->get() ? "true" : "false");
    } else {
      fail(value, "expected a number, a text, true, false, or a list of such");
    }
  }
};

}  // namespace

std::shared_ptr<CLI::Config> toml_reader() { return std::make_shared<TomlReader>(); }

}  // namespace refrain::examples
