#include <infertrail/policy.pb.h>

#include <string>
#include <string_view>

#include "base/yaml.h"
#include "base/utf8.h"
#include "fuzz/fuzz.h"

namespace infertrail::fuzz {

// Loads, or says where it does not: every line of the error starts with the file's name.
void yaml(const uint8_t* data, size_t size) {
  Config config;
  Status status =
      load_yaml("f", std::string_view(reinterpret_cast<const char*>(data), size), &config);
  if (status.ok()) {
    IT_CHECK(is_utf8(config.trail()));
    return;
  }
  IT_CHECK(status.error().message.starts_with("f:"));
}

}  // namespace infertrail::fuzz

IT_FUZZ_ENTRY(yaml)
