// The generated skeleton of the BPF object, with the one type of ours that it names.
#pragma once

#include "infertrail/event.h"
using infertrail::abi::shared;   // infertrail.skel.h says `struct shared`
#include "infertrail.skel.h"

static_assert(offsetof(infertrail_bpf::infertrail_bpf__data_shared, shared) == 0,
              "a daemon of another version looks for it at the beginning of its map");
