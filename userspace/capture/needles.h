// Finds many short texts in many megabytes in one pass, piece by piece: memory does not grow with the data.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "capture/elf_image.h"

namespace infertrail {

class Needles {
 public:
  // Each at least 7 and at most 255 bytes; may contain NULs.
  explicit Needles(std::vector<std::string> needles);

  // Called with the needle's index and its offset in the file; false stops.
  using Found = std::function<bool(size_t needle, uint64_t offset)>;
  // Looks at [offset, offset + size) of the file.
  void scan(const ByteSource& source, uint64_t offset, uint64_t size, const Found& found) const;

 private:
  static uint32_t slot(const char* bytes);

  std::vector<std::string> needles_;
  // A bit per hash of four bytes: whether they may stand at one of the first four places of a needle.
  std::array<uint64_t, 1024> begins_{};
  size_t longest_ = 0;
};

}  // namespace infertrail
