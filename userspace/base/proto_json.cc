#include "base/proto_json.h"

#include <google/protobuf/util/json_util.h>

#include "base/result.h"

namespace infertrail {

std::string to_json(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string out;
  auto status = google::protobuf::util::MessageToJsonString(message, &out, options);
  IT_CHECK(status.ok());
  return out;
}

}  // namespace infertrail
