#include "capture/stripped_openssl.h"

#include <algorithm>
#include <array>
#include <optional>
#include <set>

#include "capture/x86_code.h"

namespace infertrail {
namespace {

using namespace std::string_view_literals;

constexpr size_t kMaxBody = 16384;
constexpr size_t kBeginning = 48;   // bytes of a function before it does something
constexpr size_t kMaxPath = 128;   // of a source file in an error message
constexpr auto kSslFile = "/ssl_lib.c"sv, kBioFile = "/bio_lib.c"sv;
// A function carries its own name, and one that is inlined in it. More: a list of names, as we have one.
constexpr size_t kMaxNames = 2;
// SSL_new up to 3.1; the work behind it from 3.2 on.
constexpr std::array kConstructors = {"SSL_new"sv, "ossl_ssl_connection_new_int"sv};

struct Public {
  std::string_view name, lost;   // what is lost without it
};
constexpr std::array kPublic = {
    Public{"SSL_do_handshake", "handshakes are bound at the first data"},
    Public{"SSL_shutdown", "the end of a stream is seen at the socket's close"},
    Public{"SSL_clear", "an object that is reused is told from its former self by SSL_new only"},
    Public{"SSL_new", "an object that is reused is told from its former self by SSL_free only"},
};

std::string terminated(std::string_view name) { return std::string(name) + '\0'; }

class Search {
 public:
  Search(const ElfImage& image, const FunctionBounds& bounds, NamedFunctions named)
      : image_(image), bounds_(bounds), named_(std::move(named)) {
    std::map<uint64_t, size_t> names;
    for (auto& [name, functions] : named_.functions)
      for (uint64_t each : functions) names[each]++;
    for (auto& [name, functions] : named_.functions)
      std::erase_if(functions, [&](uint64_t each) { return names[each] > kMaxNames; });
  }

  std::string code(uint64_t function) const {
    auto range = bounds_.at(function);
    if (!range || range->begin != function || range->end - range->begin > kMaxBody) return "";
    return image_.read(function, static_cast<size_t>(range->end - range->begin));
  }

  // Functions that carry the name.
  const std::set<uint64_t>& named(std::string_view name) const {
    static const std::set<uint64_t> kNone;
    auto at = named_.functions.find(std::string(name));
    return at == named_.functions.end() ? kNone : at->second;
  }

  // Whether it refers to a text that ends so: OPENSSL_FILE is "ssl/ssl_lib.c", "../ssl/ssl_lib.c", …
  bool refers_to_path(uint64_t function, std::string_view ending) const {
    bool found = false;
    visit_references(code(function), function, [&](uint64_t target, size_t) {
      const std::string text = image_.read(target, kMaxPath);
      const size_t end = text.find('\0');
      found = end != std::string::npos && std::string_view(text).substr(0, end).ends_with(ending);
      return !found;
    });
    return found;
  }

  // Its first call to a function of the file; 0: none.
  uint64_t first_call(uint64_t function, size_t* where = nullptr) const {
    uint64_t out = 0;
    visit_calls(code(function), function, false, [&](uint64_t target, size_t at) {
      if (target == function || !bounds_.begins_at(target)) return true;
      out = target;
      if (where) *where = at;
      return false;
    });
    return out;
  }

  // The function's first instructions.
  std::string before_calls(uint64_t function) const {
    size_t end = kBeginning;
    first_call(function, &end);
    return code(function).substr(0, std::min(end, kBeginning));
  }

  // The one function of this name and source file; why not, in `why`.
  std::optional<uint64_t> one(std::string_view name, std::string_view file, std::string* why) const {
    std::set<uint64_t> candidates;
    for (uint64_t each : named(name))
      if (refers_to_path(each, file)) candidates.insert(each);
    if (candidates.size() == 1) return *candidates.begin();
    *why = candidates.empty() ? "no function carries its name" : "several functions carry its name";
    return std::nullopt;
  }

  // SSL_read or SSL_write: carries its own name and the internal function's, or calls what carries that.
  std::optional<uint64_t> reader_or_writer(std::string_view name, std::string_view internal) const {
    std::optional<uint64_t> out;
    const std::set<uint64_t>& inner = named(internal);
    for (uint64_t each : named(name)) {
      if (!refers_to_path(each, kSslFile) || (!inner.contains(each) && !inner.contains(first_call(each)))) continue;
      if (out) return std::nullopt;
      out = each;
    }
    return out;
  }

  // SSL_free has no string. The constructor calls it when it fails; of all that the constructor calls, it alone
  // drops a reference by a locked instruction and frees in ssl_lib.c. (SSL_CTX_free does, too: SSL_free calls it.)
  std::optional<uint64_t> destructor() const {
    std::set<uint64_t> found;
    for (std::string_view name : kConstructors)
      for (uint64_t each : named(name)) {
        if (!refers_to_path(each, kSslFile)) continue;
        for (uint64_t callee : calls(each))
          if (drops_reference(callee) && refers_to_path(callee, kSslFile)) found.insert(callee);
      }
    const std::set<uint64_t> all = found;
    for (uint64_t each : all)
      for (uint64_t callee : calls(each))
        if (callee != each) found.erase(callee);
    return found.size() == 1 ? std::optional(*found.begin()) : std::nullopt;
  }

 private:
  std::set<uint64_t> calls(uint64_t function) const {
    std::set<uint64_t> out;
    visit_calls(code(function), function, false, [&](uint64_t target, size_t) {
      if (bounds_.begins_at(target)) out.insert(target);
      return true;
    });
    return out;
  }

  bool drops_reference(uint64_t function) const {
    const std::string body = code(function);
    for (std::string_view locked : {"\xf0\x0f\xc1"sv, "\xf0\xff"sv, "\xf0\x83"sv, "\xf0\x29"sv})   // xadd, dec, sub
      if (body.find(locked) != std::string::npos) return true;
    return false;
  }

  const ElfImage& image_;
  const FunctionBounds& bounds_;
  NamedFunctions named_;
};

// `test %edx,%edx; jle` before the first call: a length that is an int, and is looked at.
bool checks_int_length(std::string_view code) {
  for (size_t at = code.find("\x85\xd2"sv); at != std::string_view::npos; at = code.find("\x85\xd2"sv, at + 1))
    if ((at == 0 || code[at - 1] != '\x48') && (code.substr(at + 2).starts_with("\x7e"sv) || code.substr(at + 2).starts_with("\x0f\x8e"sv)))
      return true;
  return false;
}

// BIO_write has no string: it is what calls bio_write_intern, or has it inlined, and looks first whether its
// int length is positive. BIO_write_ex does the same with a size_t and without that look.
void find_bio(const ElfImage& image, const FunctionBounds& bounds, const Search& search, StrippedFunctions* out) {
  std::set<uint64_t> inner;
  for (uint64_t each : search.named("bio_write_intern"))
    if (search.refers_to_path(each, kBioFile)) inner.insert(each);
  std::set<uint64_t> outer = inner;   // inlined: the public functions carry the name
  if (inner.size() == 1) outer = callers_of(image, bounds, inner)[*inner.begin()];
  std::set<uint64_t> with_int, without;
  for (uint64_t each : outer) {
    if (inner.size() == 1 && search.first_call(each) != *inner.begin()) continue;
    const bool is_int = checks_int_length(search.before_calls(each));
    (is_int ? with_int : without).insert(each);
  }
  if (with_int.size() == 1)
    out->addresses.emplace("BIO_write", *with_int.begin());
  else
    out->notes.push_back("BIO_write is not found: TLS objects cannot be bound by what they send");
  if (without.size() == 1) out->addresses.emplace("BIO_write_ex", *without.begin());
}

}  // namespace

const std::vector<std::string>& openssl_texts() {
  static const std::vector<std::string> kTexts = [] {
    std::vector<std::string> out;
    for (std::string_view each : {"SSL_read"sv, "SSL_write"sv, "ssl_read_internal"sv, "ssl_write_internal"sv,
                                  "bio_write_intern"sv, "SSL_do_handshake"sv, "SSL_shutdown"sv, "SSL_clear"sv,
                                  "SSL_new"sv, "ossl_ssl_connection_new_int"sv})
      out.push_back(terminated(each));
    return out;
  }();
  return kTexts;
}

StrippedFunctions find_stripped_openssl(const ElfImage& image, const FunctionBounds& bounds, const TextPlaces& texts) {
  StrippedFunctions out;
  out.openssl = texts.addresses.contains(terminated("ssl_read_internal")) &&
                texts.addresses.contains(terminated("ssl_write_internal"));
  if (!out.openssl) return out;
  if (!texts.whole) out.notes.push_back("its data is larger than what is searched for names");
  if (bounds.empty()) {
    out.notes.push_back("OpenSSL 3 is inside, without symbols and without unwind tables: its functions are not found");
    return out;
  }
  std::map<std::string, std::set<uint64_t>> strings;
  for (const std::string& each : openssl_texts())
    if (auto at = texts.addresses.find(each); at != texts.addresses.end())
      strings.emplace(each.substr(0, each.size() - 1), at->second);
  NamedFunctions named = functions_that_refer_to(image, bounds, strings);
  out.notes.insert(out.notes.end(), named.notes.begin(), named.notes.end());
  const Search search(image, bounds, std::move(named));
  for (auto [name, internal] : {std::pair{"SSL_read"sv, "ssl_read_internal"sv}, {"SSL_write"sv, "ssl_write_internal"sv}}) {
    if (auto at = search.reader_or_writer(name, internal))
      out.addresses.emplace(name, *at);
    else
      out.notes.push_back(std::string(name) + " is not found: what it carries is not seen");
  }
  if (out.addresses.empty()) {   // OpenSSL 1.1 has the names in tables, and numbers in its functions
    out.notes = {"the names of OpenSSL's functions are inside, but no function that carries them"};
    return out;
  }
  for (const Public& row : kPublic) {
    std::string why;
    if (auto at = search.one(row.name, kSslFile, &why))
      out.addresses.emplace(row.name, *at);
    else
      out.notes.push_back(std::string(row.name) + " is not found (" + why + "): " + std::string(row.lost));
  }
  if (auto at = search.destructor())
    out.addresses.emplace("SSL_free", *at);
  else
    out.notes.push_back("SSL_free has no name of its own and is not found: an object that is reused is told from its "
                        "former self by SSL_new and SSL_clear only");
  find_bio(image, bounds, search, &out);
  return out;
}

}  // namespace infertrail
