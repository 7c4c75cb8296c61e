// All texts of one body or field, joined into one so that the engine runs once, and what was found
// in them as edits of the raw bytes.
#pragma once

#include <infertrail/record.pb.h>

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "mask/scanner.h"
#include "mask/view.h"

namespace infertrail {

// Gives [[TYPE:n]]: n counts the distinct values of a type inside one record, spellings aside.
class Placeholders {
 public:
  std::string name(const std::string& type, const std::string& value);

 private:
  std::map<std::string, std::map<std::string, size_t>> known_;
};

bool is_placeholder(std::string_view text);

class Batch {
 public:
  explicit Batch(Scanner* scanner) : scanner_(scanner) {}

  enum class Kind : uint8_t {
    kText,
    kFragment,  // a piece of a stream that is also there as a whole
    kNumber,    // a JSON number: replaced whole by a string
  };
  // `may_go_on`: the text was cut, so that an unfinished value at its end is masked as well.
  // `depth`: how many strings of JSON text a number is inside of; its quotes are escaped for that.
  void add(const View& view, Kind kind = Kind::kText, bool may_go_on = false, int depth = 0);
  // Must be masked whole whatever it looks like; the text was or will be add()ed as well.
  void force(const std::string& type, const View& view, Kind kind = Kind::kText, int depth = 0);

  struct Outcome {
    std::map<std::string, uint32_t> counts;  // places replaced, by type
    // Type and clear value of what a scan of derived text may miss: known by its place or piece
    // only.
    std::set<std::pair<std::string, std::string>> extra_values;
    std::vector<std::string> cut;  // types of unfinished values
  };
  // Edits `raw`, the bytes that the views' offsets are of.
  Result<Outcome> apply(std::string* raw, Placeholders* names);

 private:
  struct Region {
    size_t begin, end;
    Kind kind;
    bool may_go_on;
    int depth;
  };
  struct Found {
    std::string type, value;
    size_t priority = 0;
    std::vector<Span> raw;
    size_t length = 0;
    Kind kind = Kind::kText;
    int depth = 0;
    bool forced = false;
  };
  struct Group {
    const Found* best = nullptr;
    std::vector<Span> raw;
    bool only_fragments = true, forced = false;
  };
  struct Range {
    Span span;
    size_t owner;  // index in found_
  };
  std::vector<Range> sorted_ranges() const;
  Status find(Outcome* outcome);
  void find_unfinished(const Region& region, Outcome* outcome);
  void found(const Detector& row, Span span, const Region& region);
  const Region& region_of(size_t at) const;
  std::vector<size_t> leaders() const;  // of each find, one of those it overlaps with
  std::vector<Group> groups() const;

  Scanner* scanner_;
  View all_;
  std::vector<Region> regions_;
  std::vector<Found> found_;
};

}  // namespace infertrail
