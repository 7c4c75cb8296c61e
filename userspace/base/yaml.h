// YAML into a protobuf message by reflection: the .proto file is the only schema. The rules are
// in docs/architecture.md section 6; in short: the field's type decides and not YAML's guess, and
// whatever is not understood is an error with file:line:column, all errors of a file in one run.
// Limits: 1 MiB of text, 32 levels, 100,000 values, 100 errors shown.
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <string_view>

#include "base/result.h"

namespace infertrail {

// Merges exactly one document into `out`: fields that the text does not name keep their value, so
// defaults may be set before; a list replaces. On an error `out` is half filled: throw it away.
// The message is all errors, in order of place, joined by '\n'. `file_name` is only for messages.
Status load_yaml(const std::string& file_name, std::string_view text,
                 google::protobuf::Message* out);

}  // namespace infertrail
