// How our messages are written as JSON: one line, original names, defaults written out, so that a reader
// finds every field. One place, so that the daemon and the command line cannot drift apart.
#pragma once

#include <google/protobuf/message.h>

#include <string>

namespace infertrail {

// Strings in our messages are UTF-8 by construction; anything else aborts.
std::string to_json(const google::protobuf::Message& message);

}  // namespace infertrail
