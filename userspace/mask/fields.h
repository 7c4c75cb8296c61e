// Where credentials stand outside of bodies: headers, the request's target, command lines.
#pragma once

#include <string>
#include <string_view>

#include "mask/batch.h"

namespace infertrail {

// A header whose value is a credential whatever it looks like.
bool is_credential_header(std::string_view name);

// Forces the value, but for a scheme word such as "Bearer ".
void add_credential(const View& value, Batch* batch);
// The target of a request: text, percent escapes, and parameters such as ?key=.
void add_target(std::string_view target, Batch* batch);
// Arguments joined by spaces: --api-key VALUE, --token=VALUE, -H Authorization: …, -u
// user:password, NAME_KEY=VALUE. An argument that held spaces is masked up to the next flag.
void add_command_line(std::string_view line, Batch* batch);

}  // namespace infertrail
