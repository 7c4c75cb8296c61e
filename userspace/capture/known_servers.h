// The inference servers that the selector `auto` knows: one row a server, the table is in the .cc.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/procfs.h"

namespace infertrail {

// Name of the server that this process is ("llama.cpp", "vllm" …), or "".
std::string known_server(const ProcessFacts& facts, const std::vector<uint16_t>& ports);

}  // namespace infertrail
