#include <array>
#include <utility>

#include "protocol/http1.h"
#include "protocol/parser.h"

namespace infertrail {
namespace {

class UndecodedParser : public Parser {
 public:
  explicit UndecodedParser(std::string why) : why_(std::move(why)) {}

  void feed(const Chunk& chunk, MessageSink& out) override {
    begin(chunk.direction, out);
    out.undecoded(chunk);
  }
  void gap(const StreamGap& gap, MessageSink& out) override {
    begin(gap.direction, out);
    out.hole(gap);
  }
  void finish(std::optional<GapReason>, uint64_t, MessageSink&) override {}
  size_t memory_bytes() const override { return sizeof *this; }

 private:
  void begin(Direction direction, MessageSink& out) {
    if (!std::exchange(begun_[static_cast<size_t>(direction)], true))
      out.lost(direction, nullptr, why_);
  }

  std::string why_;
  std::array<bool, 2> begun_{};
};

}  // namespace

// The protocols we can read. To add one: docs/adding.md.
const std::vector<Protocol>& protocols() {
  static const std::vector<Protocol> table = {
      {"http1", looks_like_http1, looks_like_http1_answer, begins_http1, begins_http1_answer, make_http1},
  };
  return table;
}

std::unique_ptr<Parser> make_undecoded(std::string why) {
  return std::make_unique<UndecodedParser>(std::move(why));
}

bool same_name(std::string_view a, std::string_view b) {
  auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); i++)
    if (lower(a[i]) != lower(b[i])) return false;
  return true;
}

const std::string* find_header(const std::vector<HeaderField>& headers, std::string_view name) {
  for (const HeaderField& field : headers)
    if (same_name(field.name, name)) return &field.value;
  return nullptr;
}

}  // namespace infertrail
