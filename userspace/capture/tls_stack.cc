#include "capture/tls_stack.h"

#include <algorithm>
#include <array>

#include "capture/needles.h"

namespace infertrail {
namespace {

using namespace std::string_view_literals;

constexpr uint64_t kMaxGoTable = 256u << 20;   // bytes of .gopclntab
constexpr size_t kGoHeader = 64u << 10;        // Go writes its build information at the start of its data

// A symbol that one implementation defines and no other.
struct Owner {
  std::string_view symbol;
  TlsStack stack;
};
constexpr std::array kOwners = {
    Owner{"SSL_CTX_new_ex", TlsStack::kOpenSsl3},   // libssl 3
    Owner{"SSL_early_callback_ctx_extension_get", TlsStack::kBoringSsl},
    Owner{"gnutls_record_send", TlsStack::kGnuTls},
    Owner{"SSL_ImportFD", TlsStack::kNss},
    Owner{"JNI_CreateJavaVM", TlsStack::kJava},
    Owner{"mbedtls_ssl_write", TlsStack::kUnknown},
    Owner{"wolfSSL_write", TlsStack::kUnknown},
};
constexpr std::array kSymbols = [] {
  std::array<std::string_view, kOwners.size() + 2> out{"SSL_write", "OPENSSL_init_ssl"};
  for (size_t i = 0; i < kOwners.size(); i++) out[i + 2] = kOwners[i].symbol;
  return out;
}();

// Both, in OpenSSL 3 only: 1.1 has tables of function names, but not the newer name.
constexpr auto kInternalName = "ssl_read_internal\0"sv, kNewName = "SSL_CTX_new_ex\0"sv;
constexpr auto kBoringFile = "ssl/ssl_lib.cc\0"sv;        // OpenSSL's is C
constexpr auto kOpenSslFile = "ssl/ssl_lib.c\0"sv;
constexpr auto kOpenSsl11 = "OpenSSL 1.1."sv;             // also in programs that were built with its headers
constexpr auto kRustls = "/rustls-0."sv;                  // source paths in panics
constexpr auto kGoTls = "crypto/tls.(*Conn).Write"sv;
constexpr auto kGoBuild = "\xff Go buildinf:"sv;

std::string go_evidence(const ElfImage& image) {
  bool go = false, tls = false;
  for (const ElfSection& each : image.sections())
    go |= each.name == ".go.buildinfo" || each.name == ".note.go.buildid" || each.name.ends_with(".gopclntab");
  const Needles build({std::string(kGoBuild)}), name({std::string(kGoTls)});
  for (const ElfSegment& each : image.segments()) {
    if (go || each.executable) continue;
    build.scan(image.source(), each.offset, std::min<uint64_t>(each.size, kGoHeader), [&](size_t, uint64_t) {
      go = true;
      return false;
    });
  }
  if (!go) return "";
  const auto look = [&](uint64_t offset, uint64_t size) {
    name.scan(image.source(), offset, std::min(size, kMaxGoTable), [&](size_t, uint64_t) {
      tls = true;
      return false;
    });
  };
  bool table = false;
  for (const ElfSection& each : image.sections())
    if (each.name.ends_with(".gopclntab") && !std::exchange(table, true)) look(each.offset, each.size);
  for (const ElfSegment& each : image.segments())
    if (!table && !tls && !each.executable) look(each.offset, each.size);
  return tls ? "a Go program that contains crypto/tls" : "";
}

}  // namespace

const char* stack_name(TlsStack stack) {
  switch (stack) {
    case TlsStack::kOpenSsl3:
      return "OpenSSL 3";
    case TlsStack::kOpenSsl11:
      return "OpenSSL 1.1";
    case TlsStack::kBoringSsl:
      return "BoringSSL";
    case TlsStack::kGnuTls:
      return "GnuTLS";
    case TlsStack::kNss:
      return "NSS";
    case TlsStack::kGo:
      return "Go crypto/tls";
    case TlsStack::kRustls:
      return "rustls";
    case TlsStack::kJava:
      return "Java";
    case TlsStack::kUnknown:
      break;
  }
  return "unknown TLS";
}

std::span<const std::string_view> stack_symbols() { return kSymbols; }

const std::vector<std::string>& stack_texts() {
  static const std::vector<std::string> kTexts = {std::string(kInternalName), std::string(kNewName), std::string(kBoringFile),
                                                  std::string(kOpenSslFile), std::string(kOpenSsl11),
                                                  std::string(kRustls)};
  return kTexts;
}

std::vector<TlsEvidence> classify(const ElfImage& image, const std::map<std::string, uint64_t>& symbols,
                                  const TextPlaces& texts) {
  std::vector<TlsEvidence> out;
  const auto text = [&](std::string_view each) { return texts.addresses.contains(std::string(each)); };
  const auto add = [&](TlsStack stack, std::string evidence) {
    const bool known = std::any_of(out.begin(), out.end(), [&](const TlsEvidence& each) { return each.stack == stack; });
    if (!known || stack == TlsStack::kUnknown) out.push_back({stack, std::move(evidence)});
  };
  for (const Owner& row : kOwners)
    if (symbols.contains(std::string(row.symbol))) add(row.stack, "defines " + std::string(row.symbol));
  if (text(kInternalName) && text(kNewName))
    add(TlsStack::kOpenSsl3, "names ssl_read_internal and SSL_CTX_new_ex in its error messages");
  if (text(kBoringFile)) add(TlsStack::kBoringSsl, "names ssl_lib.cc in its error messages");
  const bool any_ssl = !out.empty() && (out[0].stack == TlsStack::kOpenSsl3 || out[0].stack == TlsStack::kBoringSsl);
  if (!any_ssl && text(kOpenSslFile) && text(kOpenSsl11))
    add(TlsStack::kOpenSsl11, "names ssl_lib.c and OpenSSL 1.1");
  else if (!any_ssl && text(kOpenSslFile))
    add(TlsStack::kUnknown, "names ssl_lib.c in its error messages");
  if (out.empty() && symbols.contains("SSL_write"))
    add(symbols.contains("OPENSSL_init_ssl") ? TlsStack::kOpenSsl11 : TlsStack::kUnknown, "defines SSL_write");
  if (text(kRustls)) add(TlsStack::kRustls, "carries source paths of rustls");
  if (std::string go = go_evidence(image); !go.empty()) add(TlsStack::kGo, go);
  if (image.section(".svm_heap")) add(TlsStack::kJava, "a native image of GraalVM");
  return out;
}

}  // namespace infertrail
