#include "mask/fields.h"

#include <algorithm>
#include <array>

#include "base/bytes.h"
#include "mask/texts.h"
#include "mask/validators.h"

namespace infertrail {
namespace {

constexpr char kCredential[] = "CREDENTIAL";
constexpr size_t kNone = std::string_view::npos;

View part_of(const View& view, size_t begin, size_t end) {
  View part;
  part.append(view, {begin, end});
  return part;
}

// The length of "Bearer " and the like at the start of `text`, or 0.
size_t scheme_length(std::string_view text) {
  static constexpr std::array<std::string_view, 8> kSchemes = {
      "bearer", "basic", "digest", "token", "apikey", "negotiate", "ntlm", "aws4-hmac-sha256"};
  size_t space = text.find(' ');
  if (space == kNone) return 0;
  std::string word = to_lower(text.substr(0, space));
  if (std::find(kSchemes.begin(), kSchemes.end(), word) == kSchemes.end()) return 0;
  while (space < text.size() && text[space] == ' ') space++;
  return space;
}

size_t skip_spaces(std::string_view text, size_t at) {
  while (at < text.size() && text[at] == ' ') at++;
  return at;
}

size_t word_end(std::string_view text, size_t at) {
  return std::min(text.find(' ', at), text.size());
}

// The end of an argument that may hold spaces: before the next flag or URL.
size_t argument_end(std::string_view text, size_t at) {
  for (size_t space = text.find(' ', at); space != kNone; space = text.find(' ', space + 1)) {
    std::string_view next = text.substr(skip_spaces(text, space));
    if (next.starts_with('-') || next.starts_with("http://") || next.starts_with("https://"))
      return space;
  }
  return text.size();
}

std::string_view without_dashes(std::string_view word) {
  while (word.starts_with('-')) word.remove_prefix(1);
  return word;
}

void force_part(const View& line, size_t begin, size_t end, Batch* batch) {
  std::string_view text = line.text();
  while (begin < end && (text[begin] == '"' || text[begin] == '\'')) begin++;
  while (begin < end && (text[end - 1] == '"' || text[end - 1] == '\'')) end--;
  if (begin < end) add_credential(part_of(line, begin, end), batch);
}

// Parameters of a URL or target that stands at [begin, end) of the text: ?key=… and &token=…
void add_parameters(const View& view, size_t begin, size_t end, Batch* batch) {
  std::string_view text = view.text().substr(0, end);
  for (size_t at = text.find('?', begin); at != kNone && at < end;) {
    size_t name_at = at + 1;
    size_t stop = std::min(text.find_first_of("&#;\"'", name_at), end);
    size_t equals = text.substr(0, stop).find('=', name_at);
    if (equals != kNone) {
      View name = percent_decoded(part_of(view, name_at, equals), true);
      if (is_secret_name(name.text(), true))
        batch->force(kCredential, part_of(view, equals + 1, stop));
    }
    at = stop;
  }
}

// A word at [begin, end) of the line and what follows it.
void add_word(const View& line, size_t begin, size_t end, Batch* batch) {
  std::string_view text = line.text();
  std::string_view word = text.substr(begin, end - begin);
  size_t next = skip_spaces(text, end);
  add_parameters(line, begin, end, batch);
  size_t equals = word.find('='), colon = word.find(':');
  if (equals != kNone && is_secret_name(without_dashes(word.substr(0, equals)), true))
    return force_part(line, begin + equals + 1, end, batch);
  bool flag = word.starts_with('-');
  bool more = next < text.size() && text[next] != '-';
  bool user = word == "-u" || word == "--user" || word == "--proxy-user";
  std::string_view argument = more ? text.substr(next, word_end(text, next) - next) : "";
  if (flag && user && argument.find(':') != kNone)
    return force_part(line, next, next + argument.size(), batch);
  if (flag && more && (is_secret_name(without_dashes(word), true) || word == "-hft"))
    return force_part(line, next, word_end(text, next), batch);
  if (colon == kNone || flag) return;
  std::string_view name = word.substr(0, colon);
  name.remove_prefix(std::min(name.find_first_not_of("\"'"), name.size()));
  auto name_char = [](char c) { return is_alnum(c) || c == '-' || c == '_'; };
  if (!std::all_of(name.begin(), name.end(), name_char) || !is_credential_header(name)) return;
  size_t value = skip_spaces(text, begin + colon + 1);
  force_part(line, value, std::max(value, argument_end(text, value)), batch);
}

}  // namespace

bool is_credential_header(std::string_view name) {
  static constexpr std::array<std::string_view, 4> kNames = {"authorization", "proxy-authorization",
                                                             "cookie", "set-cookie"};
  std::string lower = to_lower(name);
  if (std::find(kNames.begin(), kNames.end(), lower) != kNames.end()) return true;
  if (lower.find("ratelimit") != kNone) return false;  // x-ratelimit-remaining-tokens: a number
  for (std::string_view part : {"token", "secret", "key", "password", "credential"})
    if (lower.find(part) != kNone) return true;
  return false;
}

void add_credential(const View& value, Batch* batch) {
  std::string_view text = value.text();
  size_t begin = scheme_length(text);
  if (begin < text.size()) batch->force(kCredential, part_of(value, begin, text.size()));
}

void add_target(std::string_view target, Batch* batch) {
  View view = View::borrowed(target, 0);
  add_text(view, kMaxJsonInside, false, batch);
  add_parameters(view, 0, target.size(), batch);
}

void add_command_line(std::string_view line, Batch* batch) {
  View view = View::borrowed(line, 0);
  add_text(view, kMaxJsonInside, false, batch);
  for (size_t at = skip_spaces(line, 0); at < line.size(); at = skip_spaces(line, at)) {
    size_t end = word_end(line, at);
    add_word(view, at, end, batch);
    at = end;
  }
}

}  // namespace infertrail
