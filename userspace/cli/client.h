// Talks to infertraild (control.proto): HTTP/1.1 with JSON over its unix socket, by libcurl.
// Thread: one at a time. Owner: one connection per call.
#pragma once

#include <google/protobuf/message.h>

#include <functional>
#include <string>
#include <string_view>

#include "base/proto_json.h"
#include "base/result.h"

namespace infertrail::cli {

// One line of the answer without its line end; valid during the call. False: enough, stop here. An
// error ends the call and is its result.
using LineSink = std::function<Result<bool>(std::string_view line)>;

class Client {
 public:
  explicit Client(std::string socket_path) : socket_(std::move(socket_path)) {}

  Status get(const std::string& path, google::protobuf::Message* reply);
  Status post(const std::string& path, const google::protobuf::Message& request,
              google::protobuf::Message* reply);

  // Lines as they arrive; keep-alives (blank lines) are left out, an ErrorReply among them is the
  // error. Ends well when the daemon ends its answer, when `each` had enough, or when `stop_fd` becomes
  // readable; -1: nothing stops it. Also ends when nobody reads our stdout any more.
  Status stream(const std::string& path, const google::protobuf::Message& request,
                const LineSink& each, int stop_fd = -1);

  // Did the daemon answer the last call, be it with an error? False: exit code 3.
  bool answered() const { return answered_; }

 private:
  struct Exchange;
  Status perform(Exchange& exchange);
  Status run(Exchange& exchange);
  Error no_answer(const std::string& what_curl_said);

  std::string socket_;
  bool answered_ = true;
};

// Why nothing answers at `path`, in one sentence with a way out. `problem` is the errno of connect().
std::string why_no_answer(const std::string& path, int problem);

// Exactly the daemon's form: original field names, defaults written out, one line, no line end.
// Fields that this version does not know are skipped: the daemon may be newer.
Status from_json(std::string_view text, google::protobuf::Message* out);

}  // namespace infertrail::cli
