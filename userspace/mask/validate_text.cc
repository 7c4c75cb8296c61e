// Validators of mail addresses, keys and secrets, and the names that secrets go by.
#include <algorithm>
#include <array>

#include "base/bytes.h"
#include "mask/validators.h"

namespace infertrail {
namespace {

constexpr size_t kNone = std::string_view::npos;

char at(std::string_view text, size_t index) {
  return index < text.size() ? text[index] : '\0';
}
char before(std::string_view text, size_t index) {
  return index > 0 ? text[index - 1] : '\0';
}

// Two bytes of a Latin letter with a mark (U+00C0 to U+024F) that start at `index`.
bool latin(std::string_view text, size_t index) {
  auto lead = static_cast<unsigned char>(at(text, index));
  auto next = static_cast<unsigned char>(at(text, index + 1));
  return lead >= 0xC3 && lead <= 0xC9 && (next & 0xC0) == 0x80;
}

bool local_part(char c) {
  return is_alnum(c) || std::string_view("._%+-'!#$&*?^`{|}~").find(c) != kNone;
}

bool key_char(char c) {
  return is_alnum(c) || c == '_' || c == '-';
}
bool token_char(char c) {
  return key_char(c) || std::string_view(".~+/=").find(c) != kNone;
}

template <typename Predicate>
size_t run_end(std::string_view text, size_t from, Predicate part) {
  while (from < text.size() && part(text[from])) from++;
  return from;
}

bool has_digit(std::string_view text) {
  return std::any_of(text.begin(), text.end(), is_digit);
}

size_t email_begin(std::string_view text, size_t sign) {
  size_t begin = sign;
  while (begin > 0 && sign - begin < 64) {
    if (local_part(text[begin - 1])) {
      begin--;
    } else if (begin > 1 && latin(text, begin - 2)) {
      begin -= 2;
    } else {
      break;
    }
  }
  static constexpr std::string_view kNotFirst = ".'`{|}*&?#!$^~%";
  while (begin < sign && kNotFirst.find(text[begin]) != kNone) begin++;
  return begin;
}

size_t domain_end(std::string_view text, size_t from) {
  size_t end = from;
  while (end < text.size() && end - from < 253) {
    if (is_alnum(text[end]) || text[end] == '-' || text[end] == '.') {
      end++;
    } else if (latin(text, end)) {
      end += 2;
    } else {
      break;
    }
  }
  return end;
}

// The end of the longest part of text[from, limit) that is a host name with a top level of
// letters: "example.com." gives "example.com", and "1.0.0" nothing (0).
size_t valid_domain_end(std::string_view text, size_t from, size_t limit) {
  if (text[from] == '.' || text[from] == '-') return 0;
  size_t found = 0, label = from;
  for (size_t i = from; i <= limit; i++) {
    if (i < limit && text[i] != '.') continue;
    if (i == label) break;  // two dots
    size_t letters = run_end(text.substr(0, i), label, is_alpha) - label;
    bool top = label != from && letters >= 2 && letters <= 24;
    if (top && (label + letters == i || !is_alnum(text[label + letters]))) found = label + letters;
    label = i + 1;
  }
  return found;
}

// "pw" of "https://bob:pw@example.com" is a password (see user_in_url), not a mailbox.
bool password_of_url(std::string_view text, size_t begin) {
  if (before(text, begin) != ':') return false;
  size_t from = begin > 128 ? begin - 128 : 0;
  std::string_view left = text.substr(from, begin - from);
  size_t last = left.find_last_of("/ \t\r\n\"'");
  return last != kNone && left.substr(0, last + 1).ends_with("://");
}

}  // namespace

std::string as_is(std::string_view value) {
  return std::string(value);
}
std::string lower_case(std::string_view value) {
  return to_lower(value);
}
std::string digits_only(std::string_view value) {
  std::string out;
  std::copy_if(value.begin(), value.end(), std::back_inserter(out), is_digit);
  return out;
}

size_t email(std::string_view text, Span candidate, std::vector<Span>* out) {
  size_t sign = text.find('@', candidate.begin);
  size_t begin = email_begin(text, sign);
  size_t end = valid_domain_end(text, sign + 1, domain_end(text, sign + 1));
  if (begin < sign && end != 0 && !password_of_url(text, begin)) out->push_back({begin, end});
  return sign + 1;
}

size_t prefixed_key(std::string_view text, Span candidate, std::vector<Span>* out) {
  size_t end = run_end(text, candidate.begin, key_char);
  std::string_view key = text.substr(candidate.begin, end - candidate.begin);
  size_t shortest = key.starts_with("xox") ? 14 : 19;
  bool word = is_alnum(before(text, candidate.begin));
  if (word || key.size() < shortest || !has_digit(key.substr(4))) return candidate.begin + 1;
  out->push_back({candidate.begin, end});
  return end;
}

size_t aws_key(std::string_view text, Span candidate, std::vector<Span>* out) {
  Span span{candidate.begin, candidate.begin + 20};
  if (!is_alnum(before(text, span.begin)) && !is_alnum(at(text, span.end))) out->push_back(span);
  return candidate.begin + 1;
}

size_t jwt(std::string_view text, Span candidate, std::vector<Span>* out) {
  if (is_alnum(before(text, candidate.begin))) return candidate.begin + 1;
  size_t header = run_end(text, candidate.begin, key_char);
  if (at(text, header) != '.') return header;
  size_t payload = run_end(text, header + 1, key_char);
  if (payload - header < 9 || at(text, payload) != '.') return header;
  size_t end = run_end(text, payload + 1, key_char);
  out->push_back({candidate.begin, end});
  return end;
}

size_t bearer(std::string_view text, Span candidate, std::vector<Span>* out) {
  size_t begin = candidate.begin + 6;
  while (text[begin] == ' ' || text[begin] == '\t') begin++;
  size_t end = run_end(text, begin, token_char);
  std::string_view token = text.substr(begin, end - begin);
  if (is_alnum(before(text, candidate.begin)) || (!has_digit(token) && token.size() < 24))
    return end;
  out->push_back({begin, end});
  return end;
}

size_t pem(std::string_view text, Span candidate, std::vector<Span>* out) {
  static constexpr size_t kLongest = 16384;
  std::string_view rest = text.substr(candidate.begin, kLongest);
  rest = rest.substr(0, rest.find('\0'));
  size_t closing = rest.find("-----END");
  size_t end = closing == kNone ? kNone : rest.find("-----", closing + 8);
  size_t length = end == kNone ? 0 : end + 5;
  if (length == 0) {  // cut, or not closed: to the end of what a key is made of
    auto part = [](char c) {
      return token_char(c) || is_space(c) || c == '\\' || c == ':' || c == ',';
    };
    length = run_end(rest, candidate.size(), part);
  }
  out->push_back({candidate.begin, candidate.begin + length});
  return candidate.begin + length;
}

size_t assigned(std::string_view text, Span candidate, std::vector<Span>* out) {
  static constexpr std::array<std::string_view, 22> kNotSecrets = {
      "string", "str",  "null",     "none",     "nil",      "true",   "false",   "undefined",
      "number", "int",  "integer",  "required", "optional", "object", "boolean", "bytes",
      "text",   "your", "redacted", "hidden",   "value",    "bool"};
  static constexpr std::string_view kEnds = "\"'\\,;&<>{}()[]`|";
  if (text.substr(0, candidate.begin).ends_with("[[")) return candidate.end;  // our placeholder
  size_t begin = candidate.end - 1;
  auto part = [](char c) { return c != '\0' && !is_space(c) && kEnds.find(c) == kNone; };
  size_t end = run_end(text, begin, part);
  while (end > begin && (text[end - 1] == '.' || text[end - 1] == ':' || text[end - 1] == '!'))
    end--;
  std::string_view value = text.substr(begin, end - begin);
  bool token = starts_with_ignore_case(text.substr(candidate.begin), "token");
  bool word =
      std::find(kNotSecrets.begin(), kNotSecrets.end(), to_lower(value)) != kNotSecrets.end();
  bool number = token && std::all_of(value.begin(), value.end(), is_digit);
  if (value.size() < (token ? 8 : 4) || word || number || value[0] == '$' || value[0] == '%')
    return candidate.begin + 1;
  out->push_back({begin, end});
  return end;
}

size_t user_in_url(std::string_view text, Span candidate, std::vector<Span>* out) {
  size_t begin = candidate.begin + 3;
  auto part = [](char c) {
    return c != '\0' && !is_space(c) && std::string_view("/@\"'\\[]").find(c) == kNone;
  };
  size_t end = run_end(text, begin, part);
  if (at(text, end) == '@') out->push_back({begin, end});
  return end;
}

bool is_secret_name(std::string_view name, bool plain) {
  static constexpr std::array<std::string_view, 24> kNames = {
      "password",    "passwd",       "passphrase",      "apikey",      "secret",    "secretkey",
      "accesskey",   "clientsecret", "secretaccesskey", "accesstoken", "authtoken", "refreshtoken",
      "idtoken",     "bearertoken",  "sessiontoken",    "privatekey",  "hftoken",   "githubtoken",
      "credentials", "credential",   "authorization",   "apitoken",    "pwd",       "apisecret"};
  static constexpr std::array<std::string_view, 6> kPlain = {"key", "token",     "auth",
                                                             "sig", "signature", "cookie"};
  std::string flat;
  for (char c : to_lower(name))
    if (is_alnum(c)) flat.push_back(c);
  if (flat.ends_with("file") || flat.ends_with("path") || flat.ends_with("dir")) return false;
  if (std::find(kNames.begin(), kNames.end(), flat) != kNames.end()) return true;
  if (!plain) return false;
  for (std::string_view known : kNames)
    if (flat.ends_with(known)) return true;
  if (std::find(kPlain.begin(), kPlain.end(), flat) != kPlain.end()) return true;
  std::string last = to_lower(name.substr(name.find_last_of("-_.") + 1));  // npos + 1 is 0
  return last == "key" || last == "token" || last == "pass";
}

bool is_ssn_name(std::string_view name) {
  std::string flat;
  for (char c : to_lower(name))
    if (is_alnum(c)) flat.push_back(c);
  return flat == "ssn" || flat.starts_with("socialsecurity");
}

size_t unfinished_email(std::string_view text) {
  size_t sign = text.rfind('@');
  if (sign == kNone || text.size() - sign > 64 || domain_end(text, sign + 1) != text.size())
    return kNone;
  size_t begin = email_begin(text, sign);
  return begin < sign ? begin : kNone;
}

size_t unfinished_key(std::string_view text) {
  size_t begin = text.size();
  while (begin > 0 && text.size() - begin < 64 &&
         (key_char(text[begin - 1]) || text[begin - 1] == '.'))
    begin--;
  static constexpr std::array<std::string_view, 18> kPrefixes = {
      "sk-",  "hf_",  "ghp_",   "gho_", "ghs_", "ghu_",     "ghr_",     "github_pat_", "xox",
      "AIza", "AKIA", "glpat-", "gsk_", "eyJ",  "sk_live_", "rk_live_", "nvapi-",      "npm_"};
  std::string_view tail = text.substr(begin);
  for (std::string_view prefix : kPrefixes)
    if (tail.starts_with(prefix)) return begin;
  return kNone;
}

size_t unfinished_secret(std::string_view text) {
  size_t begin = text.size();
  while (begin > 0 && text.size() - begin < 64 && !is_space(text[begin - 1]) &&
         std::string_view("\"'\\,;&<>{}()[]:=").find(text[begin - 1]) == kNone)
    begin--;
  if (begin == text.size()) return kNone;
  size_t name = begin;
  while (name > 0 && std::string_view(" \"'\\:=").find(text[name - 1]) != kNone) name--;
  std::string_view gap = text.substr(name, begin - name);
  if (gap.find_first_of(":=") == kNone) return kNone;
  size_t start = name;
  while (start > 0 && key_char(text[start - 1]) && name - start < 64) start--;
  return is_secret_name(text.substr(start, name - start), true) ? begin : kNone;
}

}  // namespace infertrail
