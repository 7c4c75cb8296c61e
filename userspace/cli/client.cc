#include "cli/client.h"

#include <curl/curl.h>
#include <google/protobuf/util/json_util.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>

#include "base/owned.h"
#include "cli/terminal.h"
#include "infertrail/control.pb.h"

namespace infertrail::cli {
namespace {

using google::protobuf::Message;

constexpr size_t kMaxReply = 64u << 20;   // of an answer that is one message
constexpr size_t kMaxLine = 1u << 30;     // of a streamed one: a record with its bodies
constexpr long kConnectSeconds = 5, kReplySeconds = 30;

using Easy = Owned<CURL, curl_easy_cleanup>;
using Multi = Owned<CURLM, curl_multi_cleanup>;
using Headers = Owned<curl_slist, curl_slist_free_all>;

Code code_of(long http_status) {
  switch (http_status) {
    case 400: return Code::kInvalid;
    case 403: return Code::kPermission;
    case 404: return Code::kNotFound;
    case 501: return Code::kUnsupported;
    case 503: return Code::kExhausted;
    default: return Code::kIo;
  }
}

// errno of connecting to `path`; 0: somebody listens.
int probe(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return ENAMETOOLONG;
  std::memcpy(address.sun_path, path.data(), path.size());
  Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return errno;
  return connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 ? 0 : errno;
}

bool stdout_is_gone() {
  pollfd out{STDOUT_FILENO, 0, 0};
  return poll(&out, 1, 0) > 0 && (out.revents & POLLERR);
}

}  // namespace

struct Client::Exchange {
  std::string path;
  std::optional<std::string> body;   // with one: POST
  const LineSink* each = nullptr;    // with one: lines
  int stop_fd = -1;

  Easy easy;
  std::string received;              // the answer, or the line that has begun
  std::optional<Error> failed;       // by us
  bool enough = false;

  long status() const {
    long code = 0;
    curl_easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &code);
    return code;
  }

  // False ends the transfer.
  bool take(std::string_view bytes) {
    const size_t searched = received.size();
    received += bytes;
    const bool lines = each && status() == 200;
    if (lines && !take_lines(searched)) return false;
    if (received.size() <= (lines ? kMaxLine : kMaxReply)) return true;
    failed = Error{Code::kExhausted, "the daemon's answer is longer than this program takes"};
    return false;
  }

  bool take_lines(size_t searched) {
    size_t begin = 0, end;
    while ((end = received.find('\n', std::max(begin, searched))) != std::string::npos) {
      if (!take_line(std::string_view(received).substr(begin, end - begin))) return false;
      begin = end + 1;
    }
    received.erase(0, begin);
    return true;
  }

  bool take_line(std::string_view line) {
    if (line.empty()) return true;
    ErrorReply error;
    // No record begins like this, and few lines are parsed twice.
    if (line.starts_with("{\"error\":") && from_json(line, &error).ok()) {
      failed = Error{Code::kIo, error.error()};
      return false;
    }
    auto more = (*each)(line);
    if (!more.ok()) failed = more.error();
    enough = more.ok() && !more.value();
    return more.ok() && more.value();
  }

  static size_t on_bytes(char* bytes, size_t, size_t count, void* self) {
    return static_cast<Exchange*>(self)->take({bytes, count}) ? count : 0;
  }
};

Error Client::no_answer(const std::string& what_curl_said) {
  answered_ = false;
  const int problem = probe(socket_);
  if (problem != 0) return {problem == EACCES ? Code::kPermission : Code::kIo, why_no_answer(socket_, problem)};
  return {Code::kIo, "infertraild at " + one_line(socket_) + " ended in the middle of its answer (" +
                         what_curl_said + "): is it still running? See its log"};
}

// Drives the transfer until it ends, it is stopped, or nobody reads our output.
Status Client::run(Exchange& exchange) {
  Multi multi(curl_multi_init());
  if (!multi) return Error{Code::kExhausted, "libcurl: no memory"};
  curl_multi_add_handle(multi.get(), exchange.easy.get());
  std::optional<CURLcode> ended;
  bool stopped = false;
  for (int running = 1; running != 0 && !stopped;) {
    CURLMcode code = curl_multi_perform(multi.get(), &running);
    curl_waitfd stop{exchange.stop_fd, CURL_WAIT_POLLIN, 0};
    if (code == CURLM_OK && running != 0)
      code = curl_multi_poll(multi.get(), &stop, exchange.stop_fd >= 0 ? 1 : 0, 1000, nullptr);
    if (code != CURLM_OK) exchange.failed = Error{Code::kIo, std::string("libcurl: ") + curl_multi_strerror(code)};
    stopped = stop.revents != 0 || code != CURLM_OK || (exchange.stop_fd >= 0 && stdout_is_gone());
  }
  int left = 0;
  while (CURLMsg* message = curl_multi_info_read(multi.get(), &left))
    if (message->msg == CURLMSG_DONE) ended = message->data.result;
  curl_multi_remove_handle(multi.get(), exchange.easy.get());
  answered_ = exchange.status() != 0;
  if (exchange.failed) return *exchange.failed;
  if (stopped || exchange.enough) return {};
  if (!ended || *ended != CURLE_OK) return no_answer(ended ? curl_easy_strerror(*ended) : "no result");
  return {};
}

Status Client::perform(Exchange& exchange) {
  answered_ = true;
  if (socket_.empty() || socket_.size() >= sizeof(sockaddr_un::sun_path))
    return Error{Code::kInvalid, "--socket " + one_line(socket_) + ": a socket path has 1 to 107 bytes"};
  exchange.easy.reset(curl_easy_init());
  if (!exchange.easy) return Error{Code::kExhausted, "libcurl: no memory"};
  CURL* easy = exchange.easy.get();
  // "Expect:" empty: no round trip before a body.
  Headers headers(curl_slist_append(curl_slist_append(nullptr, "Content-Type: application/json"), "Expect:"));
  curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, socket_.c_str());
  curl_easy_setopt(easy, CURLOPT_URL, ("http://infertraild" + exchange.path).c_str());
  curl_easy_setopt(easy, CURLOPT_PROXY, "");   // whatever the environment says
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);   // SIGPIPE stays as main() set it
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  if (!exchange.each) curl_easy_setopt(easy, CURLOPT_TIMEOUT, kReplySeconds);
  if (exchange.body) {
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(exchange.body->size()));
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, exchange.body->c_str());
  }
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, Exchange::on_bytes);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &exchange);
  TRY_STATUS(run(exchange));
  const long status = exchange.status();
  if (status == 200 || status == 0) return {};   // 0: stopped before the first byte
  ErrorReply error;
  if (from_json(exchange.received, &error).ok() && !error.error().empty())
    return Error{code_of(status), error.error()};
  return Error{code_of(status), "infertraild answered " + exchange.path + " with HTTP status " +
                                    std::to_string(status) + " and no reason"};
}

Status Client::get(const std::string& path, Message* reply) {
  Exchange exchange;
  exchange.path = path;
  TRY_STATUS(perform(exchange));
  return from_json(exchange.received, reply);
}

Status Client::post(const std::string& path, const Message& request, Message* reply) {
  Exchange exchange;
  exchange.path = path;
  exchange.body = to_json(request);
  TRY_STATUS(perform(exchange));
  return from_json(exchange.received, reply);
}

Status Client::stream(const std::string& path, const Message& request, const LineSink& each, int stop_fd) {
  Exchange exchange;
  exchange.path = path;
  exchange.body = to_json(request);
  exchange.each = &each;
  exchange.stop_fd = stop_fd;
  TRY_STATUS(perform(exchange));
  if (exchange.received.empty() || exchange.enough) return {};
  if (exchange.status() == 200 && stop_fd < 0)
    return Error{Code::kIo, "infertraild ended its answer inside a line: look at its log"};
  return {};
}

std::string why_no_answer(const std::string& path, int problem) {
  const std::string at = "infertraild does not answer at " + one_line(path);
  if (problem == EACCES || problem == EPERM)
    return at + " (permission denied): the socket belongs to the user that runs the daemon, mostly root; "
                "use sudo, or give --socket";
  std::string why = std::strerror(problem);
  if (problem == ENOENT) why = "no such socket";
  if (problem == ECONNREFUSED) why = "the socket is there, but nobody listens";
  return at + " (" + why + "): is it running? Start it with `sudo infertraild`, or give --socket";
}

Status from_json(std::string_view text, Message* out) {
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  auto status = google::protobuf::util::JsonStringToMessage(
      google::protobuf::StringPiece(text.data(), text.size()), out, options);
  if (status.ok()) return {};
  return Error{Code::kIo, "the daemon's answer is not as control.proto says: " + one_line(status.ToString())};
}

}  // namespace infertrail::cli
