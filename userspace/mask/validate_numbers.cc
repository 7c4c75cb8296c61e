// Validators of what is made of digits: cards, social security numbers, addresses.
#include <arpa/inet.h>

#include <algorithm>

#include "base/bytes.h"
#include "mask/validators.h"

namespace infertrail {
namespace {

char at(std::string_view text, size_t index) {
  return index < text.size() ? text[index] : '\0';
}
char before(std::string_view text, size_t index) {
  return index > 0 ? text[index - 1] : '\0';
}

bool in_range(std::string_view digits, size_t count, int low, int high) {
  int value = 0;
  for (size_t i = 0; i < count; i++) value = value * 10 + (digits[i] - '0');
  return value >= low && value <= high;
}

// Issuer ranges with the lengths they use (ISO/IEC 7812; the networks' public tables).
struct Issuer {
  size_t count;  // leading digits compared
  int low, high;
  size_t shortest, longest;
};
constexpr Issuer kIssuers[] = {
    {1, 4, 4, 13, 13},  // Visa: these three lengths only
    {1, 4, 4, 16, 16},       {1, 4, 4, 19, 19}, {2, 51, 55, 16, 16},  // Mastercard
    {4, 2221, 2720, 16, 16},                                          // Mastercard
    {2, 34, 34, 15, 15},                                              // American Express
    {2, 37, 37, 15, 15},                                              // American Express
    {3, 300, 305, 14, 19},                                            // Diners Club
    {2, 36, 36, 14, 19},                                              // Diners Club
    {2, 38, 39, 14, 19},                                              // Diners Club
    {4, 3528, 3589, 16, 19},                                          // JCB
    {4, 2200, 2204, 16, 19},                                          // Mir
    {2, 50, 50, 13, 19},                                              // Maestro
    {2, 56, 69, 13, 19},  // Maestro, Discover, UnionPay, RuPay
    {2, 81, 82, 16, 16},  // RuPay
};

bool issued(std::string_view digits, size_t length) {
  return std::any_of(std::begin(kIssuers), std::end(kIssuers), [&](const Issuer& row) {
    return digits.size() >= row.count && length >= row.shortest && length <= row.longest &&
           in_range(digits, row.count, row.low, row.high);
  });
}

bool luhn(std::string_view digits) {
  int sum = 0;
  for (size_t i = 0; i < digits.size(); i++) {
    int value = digits[digits.size() - 1 - i] - '0';
    if (i % 2 == 1) value = value > 4 ? value * 2 - 9 : value * 2;
    sum += value;
  }
  return sum % 10 == 0;
}

bool separator(char c) {
  return c == ' ' || c == '-';
}

// The run of digits with single separators around `inside`.
Span digit_run(std::string_view text, size_t inside) {
  Span run{inside, inside};
  while (run.begin > 0 &&
         (is_digit(text[run.begin - 1]) ||
          (run.begin > 1 && separator(text[run.begin - 1]) && is_digit(text[run.begin - 2]))))
    run.begin--;
  while (run.end < text.size() &&
         (is_digit(text[run.end]) || (separator(text[run.end]) && is_digit(at(text, run.end + 1)))))
    run.end++;
  return run;
}

// Part of a longer identifier: a fraction ("0.4111…"), a hash or another word in which letters and
// further digits are mixed, or a UUID.
bool inside_identifier(std::string_view text, Span span) {
  if (before(text, span.begin) == '.' && span.begin > 1 && is_digit(text[span.begin - 2]))
    return true;
  Span word = span;
  bool letter = false, digit = false;
  auto look = [&](char c) { (is_digit(c) ? digit : letter) = true; };
  while (word.begin > 0 && is_alnum(text[word.begin - 1]) && span.begin - word.begin < 128)
    look(text[--word.begin]);
  while (word.end < text.size() && is_alnum(text[word.end]) && word.end - span.end < 128)
    look(text[word.end++]);
  return letter && digit;
}

bool inside_uuid(std::string_view text, Span span) {
  auto part = [&](size_t i) {
    return i < text.size() && (hex_digit(text[i]) >= 0 || text[i] == '-');
  };
  size_t begin = span.begin, end = span.end;
  while (begin > 0 && part(begin - 1) && span.end - begin <= 36) begin--;
  while (part(end) && end - begin <= 36) end++;
  if (end - begin != 36) return false;
  for (size_t i : {8, 13, 18, 23})
    if (text[begin + i] != '-') return false;
  return std::count(text.begin() + begin, text.begin() + end, '-') == 4;
}

// The longest card that starts at group start `begin` and ends at a group's end.
size_t card_end(std::string_view text, size_t begin, size_t limit) {
  std::string digits;
  size_t found = 0;
  for (size_t i = begin; i < limit && digits.size() <= 19; i++) {
    if (!is_digit(text[i])) continue;
    digits.push_back(text[i]);
    bool group_end = i + 1 == limit || !is_digit(text[i + 1]);
    if (!group_end || digits.size() < 13 || digits.size() > 19) continue;
    if (issued(digits, digits.size()) && luhn(digits)) found = i + 1;
  }
  return found;
}

}  // namespace

size_t card(std::string_view text, Span candidate, std::vector<Span>* out) {
  Span run = digit_run(text, candidate.begin);
  for (size_t begin = run.begin; begin < run.end;) {
    size_t end = card_end(text, begin, run.end);
    Span span{begin, end};
    if (end != 0 && !inside_identifier(text, span) && !inside_uuid(text, span)) {
      out->push_back(span);
      begin = end;
    }
    while (begin < run.end && is_digit(text[begin])) begin++;  // to the next group
    while (begin < run.end && !is_digit(text[begin])) begin++;
  }
  return run.end;
}

bool plausible_ssn(std::string_view digits) {
  if (digits.size() != 9 || !std::all_of(digits.begin(), digits.end(), is_digit)) return false;
  std::string_view area = digits.substr(0, 3);
  return area != "000" && area != "666" && digits[0] != '9' && digits.substr(3, 2) != "00" &&
         digits.substr(5) != "0000";
}

size_t ssn(std::string_view text, Span candidate, std::vector<Span>* out) {
  Span span{candidate.end - 11, candidate.end};
  char first = text[span.begin + 3];
  char left = before(text, span.begin), right = at(text, span.end);
  bool alone = !is_alnum(left) && !is_alnum(right) &&
               !(left == '-' && span.begin > 1 && is_digit(text[span.begin - 2])) &&
               !(right == '-' && is_digit(at(text, span.end + 1)));
  if (text[span.begin + 6] == first && alone &&
      plausible_ssn(digits_only(text.substr(span.begin, 11))))
    out->push_back(span);
  return span.begin + 1;
}

size_t ssn_in_context(std::string_view text, Span candidate, std::vector<Span>* out) {
  Span span{candidate.end - 9, candidate.end};
  if (!is_alnum(before(text, span.begin)) && !is_alnum(at(text, span.end)) &&
      plausible_ssn(text.substr(span.begin, 9)))
    out->push_back(span);
  return candidate.begin + 1;
}

namespace {

bool ends_with_word(std::string_view text, size_t end, std::string_view word) {
  return end >= word.size() &&
         equals_ignore_case(text.substr(end - word.size(), word.size()), word);
}

// "v1.2.3.4", "version 1.2.3.4", "Chrome/120.0.0.0": a product's version, not an address.
bool looks_like_version(std::string_view text, size_t begin) {
  if (before(text, begin) == '/' && begin > 1 && is_alnum(text[begin - 2])) {
    size_t word = begin - 1;
    while (word > 0 && (is_alnum(text[word - 1]) || text[word - 1] == '-' || text[word - 1] == '_'))
      word--;
    char c = before(text, word);
    return c != '/' && c != '.' && c != ':';  // not part of a path or a URL
  }
  size_t end = begin;
  while (end > 0 && (text[end - 1] == ' ' || text[end - 1] == ':' || text[end - 1] == '=')) end--;
  for (std::string_view word : {"version", "release", "build", " ver", " rev"})
    if (end != begin && ends_with_word(text, end, word)) return true;
  return false;
}

bool octets(std::string_view text) {
  in_addr address{};
  std::string copy(text);
  if (inet_pton(AF_INET, copy.c_str(), &address) != 1) return false;  // refuses leading zeros
  uint32_t value = ntohl(address.s_addr);
  return value != 0 && value >> 24 != 127;
}

}  // namespace

size_t ip_v4(std::string_view text, Span candidate, std::vector<Span>* out) {
  auto part = [](char c) { return is_digit(c) || c == '.'; };
  Span run = candidate;
  while (run.begin > 0 && part(text[run.begin - 1]) && candidate.begin - run.begin < 16)
    run.begin--;
  while (run.end < text.size() && part(text[run.end]) && run.end - candidate.end < 16) run.end++;
  size_t next = std::max(run.end, candidate.begin + 1);
  while (run.end > run.begin && text[run.end - 1] == '.') run.end--;
  while (run.begin < run.end && text[run.begin] == '.') run.begin++;
  char left = before(text, run.begin), right = at(text, run.end);
  bool word = is_alpha(left) || left == '_' || is_alpha(right) || right == '_' ||
              (right == '-' && is_alpha(at(text, run.end + 1)));
  if (!word && left != '-' && octets(text.substr(run.begin, run.end - run.begin)) &&
      !looks_like_version(text, run.begin))
    out->push_back(run);
  return next;
}

size_t ip_v6(std::string_view text, Span candidate, std::vector<Span>* out) {
  auto part = [](char c) { return hex_digit(c) >= 0 || c == ':' || c == '.'; };
  Span run = candidate;
  while (run.begin > 0 && part(text[run.begin - 1]) && candidate.begin - run.begin < 64)
    run.begin--;
  while (run.end < text.size() && part(text[run.end]) && run.end - candidate.begin < 64) run.end++;
  size_t next = std::max(run.end, candidate.begin + 1);
  while (run.end > run.begin && text[run.end - 1] == '.') run.end--;
  if (run.size() > 2 && text[run.end - 1] == ':' && text[run.end - 2] != ':') run.end--;
  if (run.size() > 2 && text[run.begin] == ':' && text[run.begin + 1] != ':') run.begin++;
  char left = before(text, run.begin), right = at(text, run.end);
  if (is_alnum(left) || left == '_' || is_alnum(right) || right == '_') return next;
  std::string copy(text.substr(run.begin, run.end - run.begin));
  in6_addr address{};
  if (copy.size() > 45 || inet_pton(AF_INET6, copy.c_str(), &address) != 1) return next;
  bool named = IN6_IS_ADDR_LOOPBACK(&address) || IN6_IS_ADDR_UNSPECIFIED(&address);
  bool digit = std::any_of(copy.begin(), copy.end(), is_digit);
  auto groups = std::count(copy.begin(), copy.end(), ':');
  bool full = groups >= 3 || copy.find(':') == 4;  // not "a1::b2" or "12::34" of a program
  if (!named && digit && full) out->push_back(run);
  return next;
}

size_t unfinished_card(std::string_view text) {
  if (text.empty() || !(is_digit(text.back()) || separator(text.back())))
    return std::string_view::npos;
  size_t last = is_digit(text.back()) ? text.size() - 1 : text.size() - 2;
  if (last >= text.size() || !is_digit(text[last])) return std::string_view::npos;
  Span run = digit_run(text, last);
  for (size_t begin = run.begin; begin < run.end; begin++) {
    if (!is_digit(text[begin]) || is_digit(before(text, begin))) continue;
    std::string digits = digits_only(text.substr(begin, run.end - begin));
    if (digits.size() < 8) break;
    if (digits.size() >= 19 || inside_identifier(text, {begin, run.end})) continue;
    for (size_t length = digits.size(); length <= 19; length++)
      if (issued(digits, length)) return begin;
  }
  return std::string_view::npos;
}

size_t unfinished_ssn(std::string_view text) {
  Span run = text.empty() ? Span{} : digit_run(text, text.size() - 1);
  std::string_view tail = text.substr(run.begin);
  bool shape = tail.size() >= 8 && tail.size() < 11 && separator(tail[3]) && tail[6] == tail[3] &&
               is_digit(tail[7]);
  bool area = shape && tail.substr(0, 3) != "000" && tail.substr(0, 3) != "666" && tail[0] != '9';
  return area && !is_alnum(before(text, run.begin)) ? run.begin : std::string_view::npos;
}

}  // namespace infertrail
