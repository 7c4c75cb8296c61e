// Whether two BPF objects can use the same maps: a name for everything that has to agree.
#pragma once

#include <string>

struct bpf_object;

namespace infertrail {

// 16 hex digits over the definition of each map (name, type, sizes, flags), the layout of its key and
// value and of every record type (`…_event`), all from the object's BTF, and IT_ABI_VERSION. The sizes
// of the rings and of `carry` are left out: they are adopted with the size they have. The meaning of a field can change
// without its layout: then IT_ABI_VERSION must.
std::string map_layout(bpf_object* object);

// Constants belong to one load of the programs; every other map outlives it.
bool is_shared_map(const std::string& name);

}  // namespace infertrail
