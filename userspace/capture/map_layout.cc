#include "capture/map_layout.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include <set>

#include "base/bytes.h"
#include "base/crypto.h"
#include "infertrail/event.h"

namespace infertrail {
namespace {

std::string name_of(const btf* types, uint32_t offset) {
  const char* name = btf__name_by_offset(types, offset);
  return name ? name : "";
}

// The type and what it is made of. Names of members count: a field that is renamed means something else.
void describe(const btf* types, uint32_t id, std::set<uint32_t>* seen, std::string* out) {
  const btf_type* type = btf__type_by_id(types, id);
  if (!type) return;
  const uint32_t kind = btf_kind(type);
  *out += std::to_string(kind) + " " + name_of(types, type->name_off) + " ";
  if (kind == BTF_KIND_PTR || !seen->insert(id).second) return;
  if (kind == BTF_KIND_ARRAY) {
    const struct btf_array* array = ::btf_array(type);
    *out += std::to_string(array->nelems) + " of ";
    return describe(types, array->type, seen, out);
  }
  if (kind == BTF_KIND_STRUCT || kind == BTF_KIND_UNION) {
    const btf_member* members = btf_members(type);
    for (uint32_t i = 0; i < btf_vlen(type); i++) {
      *out += name_of(types, members[i].name_off) + "@" + std::to_string(btf_member_bit_offset(type, i)) + " ";
      describe(types, members[i].type, seen, out);
    }
    *out += std::to_string(type->size) + "\n";
    return;
  }
  if (kind == BTF_KIND_INT || kind == BTF_KIND_ENUM) {
    *out += std::to_string(type->size) + " ";
    return;
  }
  if (btf_is_mod(type) || btf_is_typedef(type)) describe(types, type->type, seen, out);
}

std::string described(const btf* types, uint32_t id) {
  std::set<uint32_t> seen;
  std::string out;
  if (id != 0) describe(types, id, &seen, &out);
  return out;
}

}  // namespace

bool is_shared_map(const std::string& name) {
  if (name == "library_hits") return false;   // numbered by each daemon for itself
  return name.find(".rodata") == std::string::npos && name.find(".kconfig") == std::string::npos;
}

std::string map_layout(bpf_object* object) {
  std::string text = "abi " + std::to_string(IT_ABI_VERSION) + "\n";
  const btf* types = bpf_object__btf(object);
  std::set<std::string> parts;   // sorted: the order in the object does not matter
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object) {
    const std::string name = bpf_map__name(map);
    if (!is_shared_map(name)) continue;
    const bool sized = bpf_map__type(map) == BPF_MAP_TYPE_RINGBUF || name == "carry";
    parts.insert("map " + name + " " + std::to_string(bpf_map__type(map)) + " " +
                 std::to_string(bpf_map__key_size(map)) + " " + std::to_string(bpf_map__value_size(map)) + " " +
                 std::to_string(sized ? 0 : bpf_map__max_entries(map)) + " " +
                 std::to_string(bpf_map__map_flags(map)) + "\n" +
                 described(types, bpf_map__btf_key_type_id(map)) +
                 described(types, bpf_map__btf_value_type_id(map)));
  }
  for (uint32_t id = 1; types && id < btf__type_cnt(types); id++) {
    const btf_type* type = btf__type_by_id(types, id);
    const std::string name = name_of(types, type->name_off);
    if (btf_is_struct(type) && (name == "shared" || name.ends_with("_event")))
      parts.insert(described(types, id));
  }
  for (const std::string& part : parts) text += part;
  return hex(sha256(text)).substr(0, 16);
}

}  // namespace infertrail
