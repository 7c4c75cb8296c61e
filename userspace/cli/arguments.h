// The one mechanism for arguments: a table of commands and their flags, from which parsing, help and
// completion are made. Thread: pure functions; the table is constant.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace infertrail::cli {

struct Context;
class Arguments;

enum class Completes { kNothing, kFile, kDirectory, kWords };

struct Flag {
  const char* name;              // "--follow"
  char letter;                   // 'f', or 0
  const char* value;             // what its value is called in help; null: takes none
  const char* about;
  Completes completes = Completes::kNothing;
  const char* words = "";        // for kWords, parted by blanks
};

struct Command {
  const char* name;              // one word, or two: "target add"
  const char* parameters;        // as help shows them: "SELECTOR"
  size_t least, most;            // how many parameters
  const char* about;             // one line
  std::vector<Flag> flags;
  const char* help;              // what --help says below the flags: details and examples
  Result<int> (*run)(Context& context, const Arguments& arguments);   // its exit code
  const char* completes = "";    // words that complete a parameter, parted by blanks
};

class Arguments {
 public:
  const Command* command = nullptr;   // null: none was named
  std::string group;                  // first word of a command of two, when the second is missing
  std::vector<std::string> words;     // parameters

  bool has(const std::string& flag) const { return values.count(flag) != 0; }
  // The flag's value, or `otherwise`. The last one of several counts.
  std::string value(const std::string& flag, const std::string& otherwise = "") const;
  // 0 when the flag is not there; an error unless it is a number from `low` to `high`.
  Result<uint64_t> number(const std::string& flag, uint64_t low, uint64_t high) const;

  std::map<std::string, std::string> values;
};

// --help and --version stop all demands: then parameters may be missing. Errors are kInvalid and name
// the nearest thing that exists.
Result<Arguments> parse_arguments(const std::vector<std::string>& given,
                                  const std::vector<Command>& commands,
                                  const std::vector<Flag>& global);

}  // namespace infertrail::cli
