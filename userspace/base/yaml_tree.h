// YAML text as a small tree with places, for yaml.cc only. The one user of yaml-cpp.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace infertrail::yaml {

struct Place {
  int line = 1, column = 1;  // columns count bytes
};

struct Problem {
  Place place;
  std::string text;
};

struct Member;

struct Value {
  enum class Kind { kNull, kScalar, kList, kMap };
  Kind kind = Kind::kNull;
  Place place;
  std::string scalar;
  bool quoted = false;
  std::vector<Value> items;                      // of a list
  std::vector<Member> members;   // of a map, in order, duplicates kept
};

struct Member {
  Value key, value;
};

// Parses exactly one document. Anchors, aliases, explicit tags, too many values or levels, and bad
// syntax go to `problems`; the tree is of use only when there are none.
Value parse(std::string_view text, std::vector<Problem>* problems);

}  // namespace infertrail::yaml
