#pragma once

namespace infertrail {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace infertrail
