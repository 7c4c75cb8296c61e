#include "cli/time_text.h"

#include <time.h>

#include <cstdio>
#include <optional>

#include "base/bytes.h"
#include "cli/terminal.h"

namespace infertrail::cli {
namespace {

Error not_a_time(const std::string& text, const std::string& why) {
  return {Code::kInvalid, "time \"" + one_line(text) + "\": " + why +
                              "; use 10m, 2h, 3d (ago), or 2026-05-02T14:03:12Z"};
}

int64_t seconds_of(char unit) {
  switch (unit) {
    case 's': return 1;
    case 'm': return 60;
    case 'h': return 3600;
    case 'd': return 86400;
    case 'w': return 7 * 86400;
    default: return 0;
  }
}

// "1h30m" in seconds; nothing when it is not of that form, or longer than a century.
std::optional<int64_t> span_of(std::string_view text) {
  constexpr int64_t kLongest = 100LL * 366 * 86400;
  int64_t sum = 0;
  size_t at = 0;
  while (at < text.size()) {
    const size_t begin = at;
    int64_t number = 0;
    while (at < text.size() && is_digit(text[at]) && at - begin < 10) number = number * 10 + (text[at++] - '0');
    if (at == begin || at == text.size()) return std::nullopt;
    const int64_t unit = seconds_of(text[at++]);
    if (unit == 0) return std::nullopt;
    sum += number * unit;
    if (sum > kLongest) return std::nullopt;
  }
  return text.empty() ? std::nullopt : std::optional(sum);
}

// Reads fixed-width numbers and separators from left to right.
class Scan {
 public:
  explicit Scan(std::string_view text) : text_(text) {}
  bool done() const { return text_.empty(); }
  char peek() const { return text_.empty() ? '\0' : text_[0]; }
  bool take(std::string_view any_of) {
    if (text_.empty() || any_of.find(text_[0]) == std::string_view::npos) return false;
    text_.remove_prefix(1);
    return true;
  }
  std::optional<int> number(size_t digits, int low, int high) {
    if (text_.size() < digits) return std::nullopt;
    int value = 0;
    for (size_t i = 0; i < digits; i++) {
      if (!is_digit(text_[i])) return std::nullopt;
      value = value * 10 + (text_[i] - '0');
    }
    text_.remove_prefix(digits);
    return value < low || value > high ? std::nullopt : std::optional(value);
  }
  // The digits after a decimal point, as nanoseconds.
  std::optional<int32_t> fraction() {
    int32_t value = 0, weight = 100'000'000;
    size_t digits = 0;
    for (; digits < text_.size() && is_digit(text_[digits]); digits++) {
      value += (text_[digits] - '0') * weight;
      weight /= 10;
    }
    text_.remove_prefix(digits);
    return digits == 0 ? std::nullopt : std::optional(value);
  }

 private:
  std::string_view text_;
};

bool real_day(const tm& wanted) {
  tm copy = wanted;
  copy.tm_hour = 12;   // far from any change of day
  const time_t seconds = timegm(&copy);
  tm back{};
  gmtime_r(&seconds, &back);
  return back.tm_mday == wanted.tm_mday && back.tm_mon == wanted.tm_mon;
}

// Offset in seconds east of UTC; `local` is set where none is written. False: not an offset.
bool read_offset(Scan& scan, int64_t* offset, bool* local) {
  *local = scan.done();
  if (*local || scan.take("Zz")) return scan.done();
  const bool west = scan.peek() == '-';
  if (!scan.take("+-")) return false;
  auto hours = scan.number(2, 0, 23);
  if (!hours || !scan.take(":")) return false;
  auto minutes = scan.number(2, 0, 59);
  if (!minutes || !scan.done()) return false;
  *offset = (*hours * 3600 + *minutes * 60) * (west ? -1 : 1);
  return true;
}

Result<Timestamp> parse_date(const std::string& text) {
  Scan scan(text);
  const Error bad = not_a_time(text, "neither a span nor a date");
  auto year = scan.number(4, 1970, 9999);
  if (!year || !scan.take("-")) return bad;
  auto month = scan.number(2, 1, 12);
  if (!month || !scan.take("-")) return bad;
  auto day = scan.number(2, 1, 31);
  if (!day) return bad;
  tm fields{};
  fields.tm_year = *year - 1900;
  fields.tm_mon = *month - 1;
  fields.tm_mday = *day;
  fields.tm_isdst = -1;
  if (!real_day(fields)) return not_a_time(text, "that month has no such day");
  int32_t nanos = 0;
  int64_t offset = 0;
  bool local = true;
  if (!scan.done()) {
    if (!scan.take("Tt ")) return bad;
    auto hour = scan.number(2, 0, 23);
    if (!hour || !scan.take(":")) return bad;
    auto minute = scan.number(2, 0, 59);
    if (!minute) return bad;
    std::optional<int> second = 0;
    if (scan.take(":")) {
      second = scan.number(2, 0, 60);   // RFC 3339 knows leap seconds
      if (!second) return bad;
      if (scan.take(".")) {
        auto fraction = scan.fraction();
        if (!fraction) return bad;
        nanos = *fraction;
      }
    }
    if (!read_offset(scan, &offset, &local)) return bad;
    fields.tm_hour = *hour;
    fields.tm_min = *minute;
    fields.tm_sec = *second;
  }
  Timestamp out;
  out.set_seconds(local ? mktime(&fields) : timegm(&fields) - offset);
  out.set_nanos(nanos);
  return out;
}

std::string local_text(const Timestamp& time, const char* format) {
  const time_t seconds = time.seconds();
  tm fields{};
  char out[64];
  if (!localtime_r(&seconds, &fields) || strftime(out, sizeof(out), format, &fields) == 0) return "?";
  return out;
}

bool never_set(const Timestamp& time) { return time.seconds() == 0 && time.nanos() == 0; }

std::string two_units(uint64_t first, char first_unit, uint64_t second, char second_unit) {
  char out[48];
  std::snprintf(out, sizeof(out), "%llu%c%02llu%c", static_cast<unsigned long long>(first), first_unit,
                static_cast<unsigned long long>(second), second_unit);
  return out;
}

}  // namespace

Result<Timestamp> parse_time(const std::string& text, const Timestamp& now) {
  std::string_view words = trim(text);
  if (words == "now") return now;
  std::string_view span = words.ends_with("ago") ? trim(words.substr(0, words.size() - 3)) : words;
  if (auto seconds = span_of(span)) {
    Timestamp out = now;
    out.set_seconds(now.seconds() - *seconds);
    return out;
  }
  if (words.empty()) return not_a_time(text, "is empty");
  return parse_date(std::string(words));
}

Timestamp time_now() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  Timestamp out;
  out.set_seconds(now.tv_sec);
  out.set_nanos(static_cast<int32_t>(now.tv_nsec));
  return out;
}

std::string short_time(const Timestamp& time) {
  return never_set(time) ? "-" : local_text(time, "%Y-%m-%d %H:%M:%S");
}

std::string exact_time(const Timestamp& time) {
  if (never_set(time)) return "-";
  char milliseconds[16];
  std::snprintf(milliseconds, sizeof(milliseconds), ".%03d", time.nanos() / 1'000'000 % 1000);
  std::string offset = local_text(time, "%z");
  if (offset.size() == 5) offset.insert(3, ":");
  return local_text(time, "%Y-%m-%dT%H:%M:%S") + milliseconds + offset;
}

std::string duration_text(uint64_t milliseconds) {
  if (milliseconds == 0) return "<1ms";
  if (milliseconds < 1000) return std::to_string(milliseconds) + "ms";
  const uint64_t seconds = milliseconds / 1000;
  if (seconds >= 86400) return two_units(seconds / 86400, 'd', seconds % 86400 / 3600, 'h');
  if (seconds >= 3600) return two_units(seconds / 3600, 'h', seconds % 3600 / 60, 'm');
  if (seconds >= 60) return two_units(seconds / 60, 'm', seconds % 60, 's');
  char out[32];
  std::snprintf(out, sizeof(out), "%llu.%02llus", static_cast<unsigned long long>(seconds),
                static_cast<unsigned long long>(milliseconds % 1000 / 10));
  return out;
}

std::string size_text(uint64_t bytes) {
  if (bytes < 1024) return std::to_string(bytes) + " B";
  static constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  while (value >= 1024 && unit < 5) {
    value /= 1024;
    unit++;
  }
  char out[32];
  std::snprintf(out, sizeof(out), "%.1f %s", value, kUnits[unit]);
  return out;
}

}  // namespace infertrail::cli
