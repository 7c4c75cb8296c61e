// All keys that a BPF hash map holds now. Others may change it meanwhile: a key that is deleted while
// it is being read can make the walk begin again, and keys come twice.
#pragma once

#include <bpf/bpf.h>

#include <vector>

namespace infertrail {

template <typename Key>
std::vector<Key> keys_of(int map) {
  std::vector<Key> out;
  Key key{}, next{};
  for (const void* from = nullptr; bpf_map_get_next_key(map, from, &next) == 0; from = &key) {
    key = next;
    out.push_back(key);
  }
  return out;
}

}  // namespace infertrail
