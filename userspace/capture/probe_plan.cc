#include "capture/probe_plan.h"

#include <algorithm>
#include <optional>

#include "capture/attach_point.h"
#include "capture/x86_code.h"
#include "infertrail/event.h"

namespace infertrail {
namespace {

using namespace std::string_view_literals;
using abi::u64;   // of the macros in event.h

// A public function. `returns`: its result matters; `hot`: called for every message.
struct Public {
  const char* symbol;
  uint32_t function;   // IT_CALL_*
  bool returns = false, hot = false;
};
constexpr Public kReads[] = {{"SSL_read", IT_CALL_READ, true, true}, {"SSL_read_ex", IT_CALL_READ_DONE, true}};
constexpr Public kWrites[] = {{"SSL_write", IT_CALL_WRITE, true, true},
                              {"SSL_write_ex", IT_CALL_WRITE_DONE, true},
                              {"SSL_write_ex2", IT_CALL_WRITE_FLAGS, true}};
constexpr Public kBios[] = {{"BIO_write", IT_CALL_BIO_WRITE, false, true}, {"BIO_write_ex", IT_CALL_BIO_WRITE}};
constexpr Public kOthers[] = {{"SSL_do_handshake", IT_CALL_HANDSHAKE, true}, {"SSL_sendfile", IT_CALL_SENDFILE, true},
                              {"SSL_free", IT_CALL_FREE},                    {"SSL_clear", IT_CALL_CLEAR},
                              {"SSL_shutdown", IT_CALL_SHUTDOWN},            {"SSL_up_ref", IT_CALL_UP_REF}};

constexpr size_t kMostCalls = 64;           // callers of an internal function; OpenSSL has three
constexpr size_t kChunk = 1 << 20;
constexpr size_t kLongest = 15;             // of an x86 instruction

class Planner {
 public:
  Planner(const TlsSymbols& symbols, const ByteSource& file, uint32_t library, Reach reach)
      : symbols_(symbols), file_(file), library_(library), reach_(reach) {}

  ProbePlan plan() {
    const uint32_t write = symbols_.write_internal_has_flags ? IT_CALL_WRITE_FLAGS : IT_CALL_WRITE_DONE;
    add("read", "ssl_read_internal", IT_CALL_READ_DONE, kReads, std::size(kReads));
    add("write", "ssl_write_internal", write, kWrites, std::size(kWrites));
    add_bio();
    add_public(kOthers, std::size(kOthers));
    if (auto at = offset("SSL_new")) plan_.returns.push_back({*at, cookie(IT_CALL_NEW, 0)});
    return std::move(plan_);
  }

 private:
  uint64_t cookie(uint32_t function, uint64_t stack) const { return IT_COOKIE(function, stack, library_); }

  std::optional<uint64_t> offset(const std::string& name) const {
    auto at = symbols_.offsets.find(name);
    return at == symbols_.offsets.end() ? std::nullopt : std::optional(at->second);
  }

  std::string code(uint64_t at, size_t count) const {
    std::string out(count, '\0');
    out.resize(file_.read(at, out.data(), count));
    return out;
  }

  void note(const char* what, const char* how) {
    plan_.how += (plan_.how.empty() ? "" : ", ") + std::string(what) + ": " + how;
  }

  void add(const char* what, const char* internal, uint32_t function, const Public* publics, size_t count) {
    if (auto at = offset(internal); at && reach_ <= Reach::kCalls) {
      const Calls calls = calls_of(*at);
      // Where nobody calls, no function begins.
      if (reach_ == Reach::kInternal && !calls.places.empty() && is_cheap_instruction(code(*at, kLongest))) {
        plan_.enters.push_back({*at, cookie(function, kReturnAddress)});
        plan_.returns.push_back({*at, cookie(function, 0)});
        return note(what, "internal");
      }
      if (add_calls(calls, function)) return note(what, "calls");
    }
    if (add_public(publics, count)) note(what, "public");
  }

  void add_bio() {
    auto at = offset("bio_write_intern");
    if (at && reach_ <= Reach::kCalls && !calls_of(*at).places.empty() &&
        is_cheap_instruction(code(*at, kLongest))) {
      plan_.enters.push_back({*at, cookie(IT_CALL_BIO_WRITE, 0)});
      return note("bio", "internal");
    }
    if (add_public(kBios, std::size(kBios))) note("bio", "public");
  }

  bool add_public(const Public* publics, size_t count) {
    bool any = false;
    for (const Public* each = publics; each != publics + count; each++) {
      auto at = offset(each->symbol);
      if (!at) continue;
      any = true;
      std::optional<CallPoints> points;
      if (each->hot && reach_ != Reach::kSymbols) {
        const std::string seen = code(*at, kCallPointBytes);
        points = each->returns ? cheap_call_points(seen) : cheap_entry_point(seen);
      }
      const uint64_t frame = points ? points->frame : 0;
      plan_.enters.push_back({*at + (points ? points->enter : 0), cookie(each->function, frame + kReturnAddress)});
      if (!each->returns) continue;
      if (points)
        plan_.exits.push_back({*at + points->exit, cookie(each->function, frame + kReturnAddress)});
      else
        plan_.returns.push_back({*at, cookie(each->function, 0)});
    }
    return any;
  }

  struct Calls {
    std::vector<uint64_t> places;
    bool jumped = false;   // something jumps there: that is a call, too, and cannot be seen as one
  };

  Calls calls_of(uint64_t target) const {
    Calls out;
    auto image = ElfImage::open(file_);
    if (!image.ok()) return out;
    for (const ElfSegment& segment : image.value().segments()) {
      if (!segment.executable || target < segment.offset || target - segment.offset >= segment.size) continue;
      for (uint64_t from = 0; from < segment.size && out.places.size() <= kMostCalls; from += kChunk) {
        const std::string seen =
            code(segment.offset + from, std::min<uint64_t>(kChunk + kLongest, segment.size - from));
        visit_calls(seen, segment.offset + from, true, [&](uint64_t to, size_t at) {
          if (to != target || at >= kChunk) return true;
          if (seen[at] == '\xe8')
            out.places.push_back(segment.offset + from + at);
          else
            out.jumped = true;
          return out.places.size() <= kMostCalls;
        });
      }
    }
    return out;
  }

  // Before a call and behind it the stack pointer is what it is behind the return.
  bool add_calls(const Calls& calls, uint32_t function) {
    if (calls.jumped || calls.places.empty() || calls.places.size() > kMostCalls) return false;
    for (uint64_t call : calls.places) {
      plan_.enters.push_back({call, cookie(function, 0)});
      const std::string behind = code(call + 5, kCallPointBytes);
      plan_.exits.push_back({call + 5 + cheap_result_point(behind).value_or(0), cookie(function, 0)});
    }
    return true;
  }

  const TlsSymbols& symbols_;
  const ByteSource& file_;
  const uint32_t library_;
  const Reach reach_;
  ProbePlan plan_;
};

}  // namespace

bool is_cheap_instruction(std::string_view code) {
#ifdef __x86_64__
  if (code.size() < 6) return false;
  const auto first = static_cast<uint8_t>(code[0]), second = static_cast<uint8_t>(code[1]);
  if ((first & 0xf8) == 0x50 || (first == 0x41 && (second & 0xf8) == 0x50)) return true;   // push
  if (first == 0x90 || first == 0xe8 || first == 0xe9 || first == 0xeb) return true;       // nop, call, jmp
  return (first & 0xf0) == 0x70 || (first == 0x0f && (second & 0xf0) == 0x80);             // jcc
#else
  (void)code;
  return false;
#endif
}

ProbePlan plan_probes(const TlsSymbols& symbols, const ByteSource& file, uint32_t library, Reach reach) {
  return Planner(symbols, file, library, reach).plan();
}

}  // namespace infertrail
