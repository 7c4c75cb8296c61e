#include "cli/records.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <optional>

#include "base/file.h"
#include "cli/client.h"
#include "trail/reader.h"

namespace infertrail::cli {
namespace {

constexpr int kLookMilliseconds = 300;   // between two looks at a directory that is followed

Result<bool> give(const RecordSink& sink, const Record& record) {
  return sink.record ? sink.record(record) : sink.json(to_json(record));
}

// One look at a directory. False: the sink had enough.
Result<bool> look(trail::Reader& reader, const LogQuery& query, const RecordSink& sink) {
  bool more = true;
  auto status = reader.query(query, [&](const Record& record) -> Status {
    TRY(more, give(sink, record));
    return more ? Status() : Status(Error{Code::kInvalid, "enough"});   // ends the query
  });
  if (!status.ok() && more) return status.error();
  return more;
}

Status from_directory(const std::string& dir, const Arguments& arguments, LogQuery query,
                      const RecordSink& sink, const std::optional<StopSignal>& stop) {
  // A missing trail reads as an empty one; for a person it is a mistake in the path.
  if (auto there = list_dir(dir + "/segments"); !there.ok())
    return wrap(there.error(), "--trail " + dir + " is no trail");
  trail::ReaderOptions options;
  options.use_index = !arguments.has("--no-index");
  TRY(auto reader, trail::Reader::open(dir, options));
  for (uint64_t seen = 0;;) {
    TRY(const uint64_t size, reader->size());
    if (!query.after_set() || size > seen) {
      uint64_t last = size;   // the query may see more than size() did: what it gave is not given again
      RecordSink noting;
      noting.record = [&](const Record& record) -> Result<bool> {
        last = std::max(last, record.index() + 1);
        return give(sink, record);
      };
      TRY(const bool more, look(*reader, query, noting));
      if (!more) return {};
      seen = last;
      if (seen > 0) {
        query.set_after_set(true);
        query.set_after_index(seen - 1);
        query.set_limit(UINT32_MAX);
      }
    }
    if (!query.follow()) return {};
    TRY_STATUS(flush());
    if (stop->wait(kLookMilliseconds)) return {};
  }
}

Status from_daemon(Context& context, const LogQuery& query, const RecordSink& sink,
                   const std::optional<StopSignal>& stop) {
  Client client(context.socket);
  Record record;
  const LineSink each = [&](std::string_view line) -> Result<bool> {
    if (sink.json) {
      TRY(const bool more, sink.json(line));
      if (query.follow()) TRY_STATUS(flush());
      return more;
    }
    record.Clear();
    TRY_STATUS(from_json(line, &record));
    TRY(const bool more, sink.record(record));
    if (query.follow()) TRY_STATUS(flush());
    return more;
  };
  auto status = client.stream("/v1/log", query, each, stop ? stop->fd() : -1);
  context.daemon_missing = !client.answered();
  TRY_STATUS(status);
  if (!query.follow() || stop->wait(0)) return {};
  context.daemon_missing = true;
  return Error{Code::kIo, "infertraild ended: there is nothing to follow any more"};
}

}  // namespace

Status each_record(Context& context, const Arguments& arguments, const LogQuery& query,
                   const RecordSink& sink) {
  std::optional<StopSignal> stop;
  if (query.follow()) {
    auto opened = StopSignal::open();
    if (!opened.ok()) return opened.error();
    stop.emplace(std::move(opened.value()));
  }
  if (arguments.has("--trail")) return from_directory(arguments.value("--trail"), arguments, query, sink, stop);
  if (arguments.has("--no-index"))
    return Error{Code::kInvalid, "--no-index reads files itself: give --trail DIR too"};
  return from_daemon(context, query, sink, stop);
}

Result<StopSignal> StopSignal::open() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  Fd fd(signalfd(-1, &signals, SFD_CLOEXEC));
  if (!fd.valid() || sigprocmask(SIG_BLOCK, &signals, nullptr) != 0)
    return system_error("signalfd", "SIGINT", errno);
  return StopSignal(std::move(fd));
}

bool StopSignal::wait(int milliseconds) const {
  pollfd places[] = {{fd_.get(), POLLIN, 0}, {STDOUT_FILENO, 0, 0}};
  if (poll(places, 2, milliseconds) <= 0) return false;
  return (places[0].revents & POLLIN) || (places[1].revents & POLLERR);
}

}  // namespace infertrail::cli
