#include "control/api.h"

#include <google/protobuf/util/json_util.h>
#include <chrono>
#include <map>
#include <memory>
#include <thread>

#include "base/proto_json.h"
#include "base/queue.h"
#include "control/doctor.h"
#include "trail/reader.h"

namespace infertrail {
namespace {

using google::protobuf::Message;

HttpAnswer refuse(unsigned status, const std::string& why) {
  ErrorReply reply;
  reply.set_error(why);
  return {status, "application/json", to_json(reply), {}};
}

HttpAnswer refuse(const Error& error) {
  switch (error.code) {
    case Code::kInvalid: return refuse(400, error.message);
    case Code::kNotFound: return refuse(404, error.message);
    case Code::kPermission: return refuse(403, error.message);
    case Code::kUnsupported: return refuse(501, error.message);
    case Code::kExhausted: return refuse(503, error.message);
    case Code::kCorrupt:
    case Code::kIo: return refuse(500, error.message);
  }
  return refuse(500, error.message);
}

HttpAnswer reply(const Message& message) { return {200, "application/json", to_json(message), {}}; }

Status parse(const HttpRequest& request, Message* out) {
  google::protobuf::util::JsonParseOptions options;
  auto status = google::protobuf::util::JsonStringToMessage(std::string(request.body), out, options);
  if (!status.ok()) return Error{Code::kInvalid, "the request is not as control.proto says: " + status.ToString()};
  return {};
}

void fill(const TargetInfo& info, const std::string& coverage, TargetProcess* out) {
  Process* process = out->mutable_process();
  process->set_pid(info.facts.pid);
  process->set_ppid(info.facts.ppid);
  process->set_exe(info.facts.exe);
  process->set_comm(info.facts.comm);
  process->set_uid(info.facts.uid);
  process->set_user(user_name(info.facts.uid));
  process->set_cgroup(info.facts.cgroup);
  process->set_container_id(container_id_of(info.facts.cgroup));
  out->set_selector(info.selector);
  out->set_coverage(coverage);
  out->set_stops(info.stops);
  out->set_stopped_us(info.stopped_ns / 1000);
  out->set_longest_stop_us(info.longest_stop_ns / 1000);
  for (const std::string& library : info.libraries) out->add_libraries(library);
}

TargetList targets(const ApiSources& sources) {
  TargetList list;
  for (const std::string& selector : sources.targets.selectors()) list.add_selectors(selector);
  for (const TargetInfo& info : sources.targets.list())
    fill(info, coverage_words(info, sources.coverage(info.facts.pid)), list.add_processes());
  return list;
}

HttpAnswer status(const ApiSources& sources) {
  StatusReply out;
  const trail::TrailStats stats = sources.writer.stats();
  out.set_trail(sources.trail_dir);
  out.set_origin(stats.origin);
  out.set_size(stats.size);
  out.set_published(stats.published);
  out.set_root(stats.root_base64);
  TargetList list = targets(sources);
  out.mutable_selectors()->Swap(list.mutable_selectors());
  out.mutable_processes()->Swap(list.mutable_processes());
  sources.fill_status(&out);
  return reply(out);
}

HttpAnswer change(const ApiSources& sources, const HttpRequest& request) {
  TargetChange wanted;
  if (auto status = parse(request, &wanted); !status.ok()) return refuse(status.error());
  if (wanted.add().empty() == wanted.remove().empty())
    return refuse(400, "give either add or remove");
  const bool adding = !wanted.add().empty();
  const std::string selector = adding ? wanted.add() : wanted.remove();
  Status done = adding ? sources.targets.add(selector) : sources.targets.remove(selector);
  if (!done.ok()) return refuse(done.error());
  sources.on_change(adding ? "target add" : "target remove", selector, request.peer_uid);
  return reply(targets(sources));
}

// A running query: the matches of a first look, then, with follow, what is sequenced later. A thread
// of its own reads the trail; the connection takes lines from a bounded queue, so that an answer of
// any size costs little memory and a reader that goes away ends the query.
class LogStream {
 public:
  LogStream(const ApiSources& sources, LogQuery query, std::unique_ptr<trail::Reader> reader)
      : sources_(sources), query_(std::move(query)), reader_(std::move(reader)), lines_(1024, 4u << 20),
        thread_([this] { produce(); }) {}
  ~LogStream() {
    lines_.close();
    thread_.join();
  }

  // The next piece: whole lines. "" ends the answer.
  std::string next() {
    for (;;) {
      const auto lines = lines_.pop(256, 1u << 20, std::chrono::steady_clock::now() + std::chrono::seconds(2));
      std::string piece;
      for (const std::string& line : lines) piece += line;
      if (!piece.empty()) return piece;
      if (lines_.closed() || sources_.stopping()) return "";
      // A blank line: libmicrohttpd learns that nobody reads any more only by writing.
      if (query_.follow()) return "\n";
    }
  }

 private:
  void produce() {
    Status done = look();
    while (done.ok() && query_.follow() && !lines_.closed() && !sources_.stopping()) {
      sources_.writer.wait_sequenced(seen_, std::chrono::milliseconds(200));
      done = look();
    }
    if (!done.ok()) {
      ErrorReply error;
      error.set_error(done.error().message);
      push(to_json(error));
    }
    lines_.close();
  }

  Status look() {
    const uint64_t size = sources_.writer.wait_sequenced(0, std::chrono::milliseconds(0));
    if (looked_ && size == seen_) return {};
    LogQuery query = query_;
    if (looked_ && seen_ > 0) {
      query.set_after_set(true);
      query.set_after_index(seen_ - 1);
    }
    if (looked_) query.set_limit(UINT32_MAX);
    looked_ = true;
    seen_ = size;
    return reader_->query(query, [&](Record record) -> Status {
      if (query_.follow() && record.index() >= size) return {};   // the next look gives it
      if (!push(to_json(record))) return Error{Code::kIo, "nobody reads the answer"};
      return {};
    });
  }

  bool push(std::string line) {
    line += '\n';
    const size_t weight = line.size();
    return lines_.push(std::move(line), weight);
  }

  const ApiSources& sources_;
  const LogQuery query_;
  std::unique_ptr<trail::Reader> reader_;
  bool looked_ = false;
  uint64_t seen_ = 0;
  BoundedQueue<std::string> lines_;
  std::thread thread_;   // last: it uses everything above
};

HttpAnswer log(const ApiSources& sources, const HttpRequest& request) {
  LogQuery query;
  if (auto status = parse(request, &query); !status.ok()) return refuse(status.error());
  auto reader = trail::Reader::open(sources.trail_dir);
  if (!reader.ok()) return refuse(reader.error());
  auto stream = std::make_shared<LogStream>(sources, std::move(query), std::move(reader.value()));
  return {200, "application/x-ndjson", "", [stream] { return stream->next(); }};
}

HttpAnswer discover(const ApiSources& sources) {
  ProcessList list;
  std::map<uint32_t, TargetInfo> monitored;
  for (TargetInfo& info : sources.targets.list()) monitored[info.facts.pid] = std::move(info);
  for (const TargetInfo& info : sources.targets.discover()) {
    auto known = monitored.find(info.facts.pid);
    fill(info,
         known == monitored.end() ? "not monitored"
                                  : coverage_words(known->second, sources.coverage(info.facts.pid)),
         list.add_processes());
  }
  return reply(list);
}

}  // namespace

std::string coverage_words(const TargetInfo& info, const ProcessCoverage& seen) {
  std::string libraries;
  for (const std::string& library : info.libraries) {
    std::string name = library.substr(library.rfind('/') + 1);
    if (name.starts_with("libcrypto")) continue;
    libraries += (libraries.empty() ? "" : ",") + name;
  }
  auto connections = [](uint64_t n) { return "(" + std::to_string(n) + (n == 1 ? " connection)" : " connections)"); };
  std::string out;
  auto add = [&](const std::string& part) { out += (out.empty() ? "" : " + ") + part; };
  if (seen.dark > 0) add("TLS NOT VISIBLE " + connections(seen.dark));
  if (seen.incomplete > 0) add("TLS PLAINTEXT MISSING " + connections(seen.incomplete));
  if (seen.plain > 0) add("plain");
  if (seen.read > 0) add("tls:" + libraries);
  if (out.empty() && seen.tls > 0) out = "TLS, nothing said yet";
  if (out.empty()) out = libraries.empty() ? "no traffic" : "no traffic (ready for tls:" + libraries + ")";
  for (const std::string& problem : info.problems) out += "; " + problem;
  return out;
}

std::vector<HttpRoute> api_routes(ApiSources from) {
  auto sources = std::make_shared<ApiSources>(std::move(from));
  return {
      {"GET", "/v1/status", [=](const HttpRequest&) { return status(*sources); }},
      {"GET", "/v1/targets", [=](const HttpRequest&) { return reply(targets(*sources)); }},
      {"POST", "/v1/targets", [=](const HttpRequest& request) { return change(*sources, request); }},
      {"GET", "/v1/discover", [=](const HttpRequest&) { return discover(*sources); }},
      {"POST", "/v1/log", [=](const HttpRequest& request) { return log(*sources, request); }},
      {"GET", "/v1/doctor",
       [=](const HttpRequest&) {
         DoctorReply out;
         StatusReply status;
         sources->fill_status(&status);
         fill_doctor(sources->probes, sources->targets, status, sources->coverage, &out);
         out.mutable_processes()->Swap(targets(*sources).mutable_processes());
         return reply(out);
       }},
  };
}

}  // namespace infertrail
