#include "trail/merkle.h"

#include <openssl/evp.h>

#include <cstring>

#include "base/owned.h"
#include "base/result.h"

namespace infertrail::trail {
namespace {

// One digest context per thread, and the algorithm fetched once: OpenSSL 3 looks it up anew on
// every call otherwise, which costs more than hashing a node.
Hash hash_parts(std::string_view prefix, std::string_view bytes) {
  static EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  thread_local Owned<EVP_MD_CTX, EVP_MD_CTX_free> context(EVP_MD_CTX_new());
  Hash out;
  IT_CHECK(algorithm != nullptr && context != nullptr);
  IT_CHECK(EVP_DigestInit_ex2(context.get(), algorithm, nullptr) == 1);
  IT_CHECK(EVP_DigestUpdate(context.get(), prefix.data(), prefix.size()) == 1);
  IT_CHECK(EVP_DigestUpdate(context.get(), bytes.data(), bytes.size()) == 1);
  IT_CHECK(EVP_DigestFinal_ex(context.get(), out.data(), nullptr) == 1);
  return out;
}

}  // namespace

Hash sha256(std::string_view bytes) {
  return hash_parts({}, bytes);
}

Hash leaf_hash(std::string_view entry) {
  return hash_parts(std::string_view("\0", 1), entry);
}

Hash node_hash(const Hash& left, const Hash& right) {
  char both[64];
  std::memcpy(both, left.data(), 32);
  std::memcpy(both + 32, right.data(), 32);
  return hash_parts("\1", {both, sizeof both});
}

Hash tree_root(const std::vector<Hash>& level) {
  CompactRange range;
  for (const Hash& hash : level) range.append(hash);
  return range.root();
}

void CompactRange::append(const Hash& leaf) {
  Hash hash = leaf;
  for (uint64_t bits = size_; bits & 1; bits >>= 1) {
    hash = node_hash(peaks_.back(), hash);
    peaks_.pop_back();
  }
  peaks_.push_back(hash);
  size_++;
}

Hash CompactRange::root() const {
  if (peaks_.empty()) return sha256("");
  Hash hash = peaks_.back();
  for (size_t i = peaks_.size() - 1; i-- > 0;) hash = node_hash(peaks_[i], hash);
  return hash;
}

}  // namespace infertrail::trail
