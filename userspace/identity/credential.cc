#include "identity/credential.h"

#include <strings.h>

#include <array>

#include "base/bytes.h"
#include "base/crypto.h"
#include "base/file.h"

namespace infertrail {
namespace {

// Headers that carry a credential, strongest first. One row a header.
struct CredentialHeader {
  const char* name;
  const char* scheme;   // prefix to take off, or ""
};
constexpr std::array<CredentialHeader, 6> kHeaders = {{{"authorization", "bearer "},
                                                       {"authorization", "basic "},
                                                       {"x-api-key", ""},
                                                       {"api-key", ""},
                                                       {"x-goog-api-key", ""},
                                                       {"authorization", ""}}};

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && strncasecmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace

Result<Credentials> Credentials::open(const std::string& key_file) {
  TRY(std::string key, load_or_create_secret(key_file, 32));
  return Credentials(std::move(key));
}

std::string Credentials::fingerprint(std::string_view secret) const {
  return "hmac-sha256:" + hex(hmac_sha256(key_, secret)).substr(0, 32);
}

void Credentials::identify(Record* record) const {
  Principal* principal = record->mutable_principal();
  for (const CredentialHeader& row : kHeaders) {
    for (const Header& header : record->http().request_headers()) {
      if (!equal_ignoring_case(header.name(), row.name)) continue;
      std::string_view value = header.value();
      const std::string_view scheme = row.scheme;
      if (value.size() < scheme.size() || !equal_ignoring_case(value.substr(0, scheme.size()), scheme))
        continue;
      value.remove_prefix(scheme.size());
      while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
      if (value.empty()) continue;
      principal->set_kind("api_key");
      principal->set_id(fingerprint(value));
      principal->set_source(row.name);
      return;
    }
  }
  if (record->peer().pid() != 0) {
    principal->set_kind("process");
    principal->set_id(record->peer().user());
    principal->set_source("peer");
    return;
  }
  principal->set_kind("anonymous");
  principal->set_id("");
  principal->set_source("none");
}

}  // namespace infertrail
