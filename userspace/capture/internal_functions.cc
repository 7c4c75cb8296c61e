#include "capture/internal_functions.h"

#include <elf.h>

#include <array>
#include <cstring>
#include <optional>
#include <string_view>

#include "capture/x86_code.h"

namespace infertrail {
namespace {

struct Internal {
  std::string_view name;
  std::string_view caller;                     // the public function whose first call it is
  std::array<std::string_view, 2> also;        // public functions that must end there too, where they exist
  // What stands for the name in OpenSSL 1.1: ERR_put_error(library, function, ...), the numbers of its
  // public sslerr.h and bioerr.h.
  uint32_t library, function;
};
constexpr std::array kInternals = {
    Internal{"ssl_read_internal", "SSL_read", {"SSL_read_ex", ""}, 20, 523},
    Internal{"ssl_write_internal", "SSL_write", {"SSL_write_ex", "SSL_write_ex2"}, 20, 524},
    Internal{"bio_write_intern", "BIO_write", {"BIO_write_ex", ""}, 32, 128},
};
constexpr size_t kMaxBody = 16384;   // bytes of one function that are looked at

struct Body {
  uint64_t address = 0;
  std::string code;
};

class Finder {
 public:
  Finder(const ElfImage& image, const FunctionBounds& bounds) : image_(image), bounds_(bounds) {}

  std::optional<Body> body(uint64_t address) const {
    auto range = bounds_.at(address);
    if (!range || range->begin != address || range->end - range->begin > kMaxBody) return std::nullopt;
    Body out{address, image_.read(address, static_cast<size_t>(range->end - range->begin))};
    if (out.code.size() != range->end - range->begin) return std::nullopt;
    return out;
  }

  // Its error messages bear the name, or the number that stands for it.
  bool carries(const Body& body, const Internal& row) const {
    return refers_to(body, row.name) ||
           (body.code.find(load('\xbf', row.library)) != std::string::npos &&    // mov $library,%edi
            body.code.find(load('\xbe', row.function)) != std::string::npos);   // mov $function,%esi
  }

  // The first function of this file, beside itself, that it calls (or, as its last act, jumps to).
  struct Call {
    uint64_t target;
    size_t at;
  };
  std::optional<Call> first_call(const Body& body, bool jumps) const {
    std::optional<Call> out;
    visit_calls(body.code, body.address, jumps, [&](uint64_t target, size_t at) {
      if (target == body.address || !bounds_.begins_at(target)) return true;
      out = Call{target, at};
      return false;
    });
    return out;
  }

 private:
  bool refers_to(const Body& body, std::string_view name) const {
    bool found = false;
    visit_references(body.code, body.address, [&](uint64_t target, size_t) {
      const std::string text = image_.read(target, name.size() + 1);
      found = text.size() == name.size() + 1 && text.starts_with(name) && text.back() == '\0';
      return !found;
    });
    return found;
  }

  static std::string load(char opcode, uint32_t value) {
    std::string out(5, opcode);
    std::memcpy(out.data() + 1, &value, sizeof(value));
    return out;
  }

  const ElfImage& image_;
  const FunctionBounds& bounds_;
};

// "" when found, "-" when there is nothing to say, else why it is not used.
std::string find_one(const Finder& finder, const Internal& row, const std::map<std::string, uint64_t>& known,
                     InternalFunctions* out) {
  auto address = [&](std::string_view name) -> std::optional<uint64_t> {
    auto at = known.find(std::string(name));
    return at == known.end() ? std::nullopt : std::optional(at->second);
  };
  auto caller = address(row.caller);
  if (!caller) return "-";
  auto body = finder.body(*caller);
  if (!body) return "no unwind entry for " + std::string(row.caller);
  if (finder.carries(*body, row)) return "it is inlined in " + std::string(row.caller);
  auto call = finder.first_call(*body, false);
  if (!call) return std::string(row.caller) + " calls no function of this file";
  auto target = finder.body(call->target);
  if (!target || !finder.carries(*target, row))
    return "what " + std::string(row.caller) + " calls first does not carry its name";
  if (auto symbol = address(row.name); symbol && *symbol != call->target)
    return "its symbol is not what " + std::string(row.caller) + " calls";
  for (std::string_view other : row.also) {
    auto start = other.empty() ? std::nullopt : address(other);
    if (!start) continue;
    auto other_body = finder.body(*start);
    auto next = other_body ? finder.first_call(*other_body, true) : std::nullopt;
    // SSL_write_ex of OpenSSL 3.3 is a jump to SSL_write_ex2, which is looked at itself.
    if (!next || (next->target != call->target && next->target != address("SSL_write_ex2")))
      return std::string(other) + " does not call it";
  }
  if (row.name == "ssl_write_internal") {
    const WriteShape shape = write_shape(std::string_view(body->code).substr(0, call->at));
    if (shape == WriteShape::kUnknown) return "how SSL_write passes its arguments is not known";
    out->write_has_flags = shape == WriteShape::kFive;
  }
  out->addresses.emplace(row.name, call->target);
  return "";
}

}  // namespace

InternalFunctions find_internal_functions(const ElfImage& image, const FunctionBounds& bounds,
                                          const std::map<std::string, uint64_t>& known) {
  InternalFunctions out;
  if (image.machine() != EM_X86_64) return out;
  const Finder finder(image, bounds);
  for (const Internal& row : kInternals) {
    const std::string why = find_one(finder, row, known, &out);
    if (!why.empty() && why != "-") out.notes.push_back(std::string(row.name) + " is not used: " + why);
  }
  return out;
}

}  // namespace infertrail
