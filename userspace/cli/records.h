// Where `log` and `show` take records from: the daemon, or with --trail a directory, without one.
// Thread: one at a time. Owner: everything ends with the call.
#pragma once

#include <functional>
#include <string_view>

#include "base/owned.h"
#include "base/result.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "infertrail/control.pb.h"
#include "infertrail/record.pb.h"

namespace infertrail::cli {

// One of the two is set: what the command wants. False: enough.
struct RecordSink {
  std::function<Result<bool>(const Record& record)> record;
  std::function<Result<bool>(std::string_view json)> json;   // the daemon's line, no line end
};

// Oldest first. With query.follow(): until Ctrl-C, which is success; a daemon that ends is an error.
// Flags: --trail, --no-index.
Status each_record(Context& context, const Arguments& arguments, const LogQuery& query,
                   const RecordSink& sink);

// SIGINT and SIGTERM as a descriptor; they no longer end the process while this lives.
class StopSignal {
 public:
  static Result<StopSignal> open();
  StopSignal(StopSignal&&) = default;
  int fd() const { return fd_.get(); }
  // Waits for the signal; false: the time is over. Also true when nobody reads stdout any more.
  bool wait(int milliseconds) const;

 private:
  explicit StopSignal(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

}  // namespace infertrail::cli
