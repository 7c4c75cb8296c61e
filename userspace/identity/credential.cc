#include "identity/credential.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>

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

constexpr size_t kKeyBytes = 32;

Result<std::string> make_key(const std::string& path) {
  TRY(std::string key, random_bytes(kKeyBytes));
  Fd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd.valid()) return system_error("create", path, errno);
  TRY_STATUS(write_all(fd.get(), key, path));
  if (fdatasync(fd.get()) != 0) return system_error("fdatasync", path, errno);
  return key;
}

}  // namespace

Result<Credentials> Credentials::open(const std::string& key_file) {
  struct stat file {};
  if (stat(key_file.c_str(), &file) != 0) {
    if (errno != ENOENT) return system_error("stat", key_file, errno);
    TRY(std::string fresh, make_key(key_file));
    return Credentials(std::move(fresh));
  }
  if (file.st_mode & 077)
    return Error{Code::kPermission, key_file + ": others may read this key; run `chmod 600 " + key_file + "`"};
  TRY(std::string key, read_file(key_file));
  if (key.size() != kKeyBytes)
    return Error{Code::kCorrupt, key_file + ": a fingerprint key has 32 bytes, this file has " +
                                     std::to_string(key.size())};
  return Credentials(std::move(key));
}

std::string Credentials::fingerprint(std::string_view secret) const {
  return "hmac-sha256:" + hex(hmac_sha256(key_, secret)).substr(0, 32);
}

void Credentials::identify(Record* record) const {
  Principal* principal = record->mutable_principal();
  for (const CredentialHeader& row : kHeaders) {
    for (const Header& header : record->http().request_headers()) {
      if (!equals_ignore_case(header.name(), row.name)) continue;
      std::string_view value = header.value();
      const std::string_view scheme = row.scheme;
      if (value.size() < scheme.size() || !equals_ignore_case(value.substr(0, scheme.size()), scheme))
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
