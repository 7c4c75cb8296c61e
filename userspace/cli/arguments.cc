#include "cli/arguments.h"

#include <charconv>

#include "base/bytes.h"
#include "cli/terminal.h"

namespace infertrail::cli {
namespace {

Error wrong(const std::string& message) { return {Code::kInvalid, message}; }

std::string quoted(const std::string& text) { return "\"" + one_line(text) + "\""; }

std::string did_you_mean(const std::string& name, const std::vector<std::string>& candidates) {
  const std::string near = nearest(name, candidates);
  return near.empty() ? "" : "; did you mean " + near + "?";
}

class Parser {
 public:
  Parser(const std::vector<std::string>& given, const std::vector<Command>& commands,
         const std::vector<Flag>& global)
      : given_(given), commands_(commands), global_(global) {}

  Result<Arguments> run() {
    bool flags_end = false;
    for (at_ = 0; at_ < given_.size(); at_++) {
      const std::string& each = given_[at_];
      if (!flags_end && each == "--") {
        flags_end = true;
      } else if (!flags_end && each.starts_with("--")) {
        TRY_STATUS(long_flag(each));
      } else if (!flags_end && each.size() > 1 && each[0] == '-') {
        TRY_STATUS(letters(each));
      } else {
        TRY_STATUS(word(each));
      }
    }
    if (out_.has("--help") || out_.has("--version")) return std::move(out_);
    TRY_STATUS(check_words());
    return std::move(out_);
  }

 private:
  const Flag* find(const std::string& name, char letter) const {
    auto in = [&](const std::vector<Flag>& flags) -> const Flag* {
      for (const Flag& flag : flags)
        if (letter ? flag.letter == letter : name == flag.name) return &flag;
      return nullptr;
    };
    const Flag* found = out_.command ? in(out_.command->flags) : nullptr;
    return found ? found : in(global_);
  }

  Error unknown_flag(const std::string& name) const {
    std::vector<std::string> names;
    if (out_.command)
      for (const Flag& flag : out_.command->flags) names.push_back(flag.name);
    for (const Flag& flag : global_) names.push_back(flag.name);
    const std::string of = out_.command ? std::string(" ") + out_.command->name : "";
    std::string where;
    if (!out_.command && any_command_has(name)) where = "; it stands behind its command";
    return wrong("unknown flag " + quoted(name) + (where.empty() ? did_you_mean(name, names) : where) +
                 " (see infertrail" + of + " --help)");
  }

  bool any_command_has(const std::string& name) const {
    for (const Command& command : commands_)
      for (const Flag& flag : command.flags)
        if (name == flag.name || (name.size() == 2 && name[1] == flag.letter)) return true;
    return false;
  }

  Status long_flag(const std::string& text) {
    const size_t equals = text.find('=');
    const std::string name = text.substr(0, equals);
    const Flag* flag = find(name, 0);
    if (!flag) return unknown_flag(name);
    if (equals == std::string::npos) return take(*flag, name);
    if (!flag->value) return wrong(name + " takes no value");
    return store(*flag, text.substr(equals + 1));
  }

  // "-f", "-fn5", "-n 5".
  Status letters(const std::string& text) {
    for (size_t i = 1; i < text.size(); i++) {
      const Flag* flag = find("", text[i]);
      if (!flag) return unknown_flag(std::string("-") + text[i]);
      if (flag->value && i + 1 < text.size()) return store(*flag, text.substr(i + 1));
      TRY_STATUS(take(*flag, std::string("-") + text[i]));
    }
    return {};
  }

  Status take(const Flag& flag, const std::string& as_written) {
    if (!flag.value) {
      out_.values[flag.name] = "";
      return {};
    }
    if (at_ + 1 >= given_.size()) return wrong(as_written + " wants a value (" + flag.value + ")");
    return store(flag, given_[++at_]);
  }

  Status store(const Flag& flag, const std::string& value) {
    if (value.empty()) return wrong(std::string(flag.name) + " wants a value (" + flag.value + ")");
    out_.values[flag.name] = value;
    return {};
  }

  Status word(const std::string& text) {
    if (out_.command) {
      out_.words.push_back(text);
      return {};
    }
    const std::string name = out_.group.empty() ? text : out_.group + " " + text;
    std::vector<std::string> names;   // that could stand here
    for (const Command& command : commands_) {
      if (name == command.name) {
        out_.command = &command;
        out_.group.clear();
        return {};
      }
      const std::string full = command.name;
      const size_t blank = full.find(' ');
      if (out_.group.empty()) {
        names.push_back(full.substr(0, blank));
        if (names.back() == text) {
          out_.group = text;
          return {};
        }
      } else if (blank != std::string::npos && full.substr(0, blank) == out_.group) {
        names.push_back(full.substr(blank + 1));
      }
    }
    const std::string of = out_.group.empty() ? "" : out_.group + " ";
    return wrong("unknown command " + quoted(of + text) + did_you_mean(text, names) + " (see infertrail " +
                 of + "--help)");
  }

  Status check_words() const {
    if (!out_.group.empty()) {
      std::string forms;
      for (const Command& command : commands_)
        if (std::string(command.name).starts_with(out_.group + " "))
          forms += (forms.empty() ? "" : ", ") + std::string(command.name);
      return wrong(out_.group + " alone is no command; use one of: " + forms);
    }
    if (!out_.command) return {};
    const std::string name = out_.command->name;
    const std::string help = " (see infertrail " + name + " --help)";
    if (out_.words.size() < out_.command->least)
      return wrong(name + " wants " + out_.command->parameters + help);
    if (out_.words.size() > out_.command->most)
      return wrong(name + ": " + quoted(out_.words[out_.command->most]) + " is one argument too many" + help);
    return {};
  }

  const std::vector<std::string>& given_;
  const std::vector<Command>& commands_;
  const std::vector<Flag>& global_;
  size_t at_ = 0;
  Arguments out_;
};

}  // namespace

std::string Arguments::value(const std::string& flag, const std::string& otherwise) const {
  auto found = values.find(flag);
  return found == values.end() ? otherwise : found->second;
}

Result<uint64_t> Arguments::number(const std::string& flag, uint64_t low, uint64_t high) const {
  auto found = values.find(flag);
  if (found == values.end()) return uint64_t{0};
  const std::string& text = found->second;
  uint64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < low || number > high)
    return wrong(flag + " " + quoted(text) + ": a number from " + std::to_string(low) + " to " +
                 std::to_string(high) + " is wanted");
  return number;
}

Result<Arguments> parse_arguments(const std::vector<std::string>& given,
                                  const std::vector<Command>& commands,
                                  const std::vector<Flag>& global) {
  return Parser(given, commands, global).run();
}

}  // namespace infertrail::cli
