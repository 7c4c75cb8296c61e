// Which exchanges a trail holds already, by what the kernel calls them.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <tuple>

#include "base/result.h"

namespace infertrail {

// tls, stream, exchange number: unique in one boot while the capture stays loaded.
using WrittenExchanges = std::set<std::tuple<bool, uint64_t, uint32_t>>;

// Of the entries from `mark` on. Reads them one by one: `mark` is meant to be near the end.
Result<WrittenExchanges> written_since(const std::string& trail_dir, uint64_t mark);

}  // namespace infertrail
