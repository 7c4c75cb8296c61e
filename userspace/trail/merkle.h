// The Merkle tree of RFC 6962 2.1 over SHA-256: leaf = H(0x00 || entry), node = H(0x01 || L || R),
// the empty tree = H(""), a tree of n splits at the largest power of two below n. Thread: none,
// value types and pure functions.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace infertrail::trail {

using Hash = std::array<uint8_t, 32>;

inline std::string_view bytes_of(const Hash& hash) {
  return {reinterpret_cast<const char*>(hash.data()), hash.size()};
}

Hash sha256(std::string_view bytes);
Hash leaf_hash(std::string_view entry);
Hash node_hash(const Hash& left, const Hash& right);

// Root of exactly these hashes taken as leaves of a tree; the empty tree's root for none.
Hash tree_root(const std::vector<Hash>& level);

// The roots of the perfect subtrees that make up a growing tree, largest first: all that is needed
// to append and to know the root, in 32 * log2(size) bytes.
class CompactRange {
 public:
  void append(const Hash& leaf);
  Hash root() const;
  uint64_t size() const { return size_; }

 private:
  std::vector<Hash> peaks_;
  uint64_t size_ = 0;
};

}  // namespace infertrail::trail
