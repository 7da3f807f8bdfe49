#include <toml++/toml.h>

#include <istream>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/command_line.hpp"
#include "common/concat.hpp"
#include "common/suggestion.hpp"

namespace refrain::examples {
namespace {

/// Reads one section per sub-command, with option names as keys.
class TomlReader final : public CLI::ConfigTOML {
 public:
  explicit TomlReader(const CLI::App& program) : program_(program) {}

  std::vector<CLI::ConfigItem> from_config(std::istream& in) const override {
    std::vector<CLI::ConfigItem> found;
    try {
      const toml::table file = toml::parse(in);
      for (const auto& [section, values] : file) {
        const toml::table* table = values.as_table();
        if (table == nullptr)
          fail(values, concat("expected sections such as [pretrain], got '", section.str(),
                              "' outside a section"));
        const CLI::App& command = command_of(section, values);
        std::map<const CLI::Option*, std::string> given;
        for (const auto& [name, value] : *table) {
          const CLI::Option* const option = option_of(command, name, value);
          const auto [first, is_new] = given.emplace(option, name.str());
          if (!is_new)
            fail(value, concat(name.str(), ": expected each option once in [", command.get_name(),
                               "], got both ", first->second, " and ", name.str()));
          CLI::ConfigItem item;
          item.parents = {std::string(section.str())};
          item.name = std::string(name.str());
          add(value, item.inputs);
          // The parser takes one input of an option whose list the command line may omit.
          if (option->get_expected_min() == 0 && option->get_delimiter() != '\0')
            item.inputs = {CLI::detail::join(item.inputs, ",")};
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
  const CLI::App& command_of(const toml::key& section, const toml::node& at) const {
    for (const CLI::App* each : program_.get_subcommands([](const CLI::App*) { return true; })) {
      if (each->get_name() == section.str()) return *each;
    }
    fail(at, concat("unknown section [", section.str(), "]",
                    suggestion(section.str(), command_names(program_))));
  }

  static const CLI::Option* option_of(const CLI::App& command, const toml::key& name,
                                      const toml::node& value) {
    const CLI::Option* const option = command.get_option_no_throw(concat("--", name.str()));
    if (option == nullptr) {
      fail(value, concat("unknown name ", name.str(), " in [", command.get_name(), "]",
                         suggestion(concat("--", name.str()), option_names(command))));
    }
    if (option->get_items_expected_max() == 0 && value.is_array())
      fail(value, concat(name.str(), ": expected true or false, got a list"));
    return option;
  }

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
      fail(value, "expected a number, a string, true, false, or a list of these");
    }
  }

  const CLI::App& program_;
};

}  // namespace

std::shared_ptr<CLI::Config> toml_reader(const CLI::App& program) {
  return std::make_shared<TomlReader>(program);
}

}  // namespace refrain::examples
