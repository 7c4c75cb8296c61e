// Which TLS implementation a file contains, so that what cannot be read can be named. By what the file
// itself carries: symbols, sections and texts; never by its name, its path, or a version.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "capture/elf_image.h"
#include "capture/function_names.h"

namespace infertrail {

enum class TlsStack { kOpenSsl3, kOpenSsl11, kBoringSsl, kGnuTls, kNss, kGo, kRustls, kJava, kUnknown };

const char* stack_name(TlsStack stack);   // "OpenSSL 3", "Go crypto/tls", …

struct TlsEvidence {
  TlsStack stack = TlsStack::kUnknown;
  std::string evidence;   // what was found: "defines gnutls_record_send"
};

// What classify() needs to know about a file: symbols by function_symbols(), texts by find_texts().
std::span<const std::string_view> stack_symbols();
const std::vector<std::string>& stack_texts();

// Empty: nothing of TLS in this file. A file may contain several.
std::vector<TlsEvidence> classify(const ElfImage& image, const std::map<std::string, uint64_t>& symbols,
                                  const TextPlaces& texts);

}  // namespace infertrail
