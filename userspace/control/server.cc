#include "control/server.h"

#include <microhttpd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/file.h"

namespace infertrail {
namespace {

constexpr size_t kMaxBody = 1u << 20;
constexpr unsigned kMaxConnections = 64;

struct Pending {
  std::string body;
  bool too_long = false;
};

struct Streaming {
  HttpBody next;
  std::string piece;
  size_t sent = 0;
};

ssize_t read_stream(void* context, uint64_t, char* out, size_t room) {
  auto* stream = static_cast<Streaming*>(context);
  if (stream->sent == stream->piece.size()) {
    stream->piece = stream->next();
    stream->sent = 0;
    if (stream->piece.empty()) return MHD_CONTENT_READER_END_OF_STREAM;
  }
  const size_t n = std::min(room, stream->piece.size() - stream->sent);
  std::memcpy(out, stream->piece.data() + stream->sent, n);
  stream->sent += n;
  return static_cast<ssize_t>(n);
}

void free_stream(void* context) { delete static_cast<Streaming*>(context); }

uid_t peer_uid(MHD_Connection* connection) {
  const MHD_ConnectionInfo* info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
  ucred peer{};
  socklen_t length = sizeof(peer);
  if (!info || getsockopt(info->connect_fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0)
    return static_cast<uid_t>(-1);
  return peer.uid;
}

MHD_Result respond(MHD_Connection* connection, HttpAnswer answer) {
  Owned<MHD_Response, MHD_destroy_response> response;
  if (answer.stream) {
    auto* stream = new Streaming{std::move(answer.stream), "", 0};
    response.reset(MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 256u << 10, read_stream, stream, free_stream));
  } else {
    response.reset(MHD_create_response_from_buffer(answer.body.size(), answer.body.data(), MHD_RESPMEM_MUST_COPY));
  }
  if (!response) return MHD_NO;
  MHD_add_response_header(response.get(), MHD_HTTP_HEADER_CONTENT_TYPE, answer.content_type.c_str());
  return MHD_queue_response(connection, answer.status, response.get());
}

MHD_Result on_request(void* self, MHD_Connection* connection, const char* url, const char* method,
                      const char*, const char* upload, size_t* upload_size, void** context) {
  if (!*context) {
    *context = new Pending;
    return MHD_YES;
  }
  auto* pending = static_cast<Pending*>(*context);
  if (*upload_size > 0) {
    if (pending->body.size() + *upload_size > kMaxBody)
      pending->too_long = true;
    else
      pending->body.append(upload, *upload_size);
    *upload_size = 0;
    return MHD_YES;
  }
  if (pending->too_long) return respond(connection, {413, "application/json", "{\"error\":\"request too long\"}", {}});
  HttpRequest request{method, url, pending->body, peer_uid(connection)};
  return respond(connection, static_cast<ControlServer*>(self)->answer(request));
}

void on_done(void*, MHD_Connection*, void** context, MHD_RequestTerminationCode) {
  delete static_cast<Pending*>(*context);
  *context = nullptr;
}

bool somebody_answers(const sockaddr_un& address) {
  Fd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
}

Result<Fd> listen_at(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path))
    return Error{Code::kInvalid, path + ": a socket path has at most 107 bytes"};
  std::memcpy(address.sun_path, path.data(), path.size());
  if (size_t slash = path.rfind('/'); slash != std::string::npos && slash > 0)
    TRY_STATUS(mkdirs(path.substr(0, slash), 0700));
  if (somebody_answers(address))
    return Error{Code::kExhausted, path + ": another infertraild answers here; stop it, or use --socket"};
  struct stat file {};
  if (lstat(path.c_str(), &file) == 0 && !S_ISSOCK(file.st_mode))
    return Error{Code::kInvalid, path + ": is there and is not a socket; use --socket"};
  unlink(path.c_str());
  Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const mode_t old = umask(0177);
  const int bound = bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  const int error = errno;
  umask(old);
  if (bound != 0) return system_error("bind", path, error);
  if (listen(fd.get(), 64) != 0) return system_error("listen", path, errno);
  return fd;
}

}  // namespace

Result<std::unique_ptr<ControlServer>> ControlServer::open(const std::string& path,
                                                           std::vector<HttpRoute> routes) {
  TRY(Fd fd, listen_at(path));
  std::unique_ptr<ControlServer> server(new ControlServer(path, std::move(routes)));
  server->daemon_ = MHD_start_daemon(
      MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL, 0, nullptr,
      nullptr, on_request, server.get(), MHD_OPTION_LISTEN_SOCKET, fd.get(),
      MHD_OPTION_NOTIFY_COMPLETED, on_done, nullptr, MHD_OPTION_CONNECTION_LIMIT, kMaxConnections,
      MHD_OPTION_END);
  if (!server->daemon_) return Error{Code::kIo, path + ": libmicrohttpd does not start"};
  (void)fd.release();   // libmicrohttpd closes it
  return server;
}

void ControlServer::stop() {
  stopping_ = true;
  if (daemon_) MHD_stop_daemon(daemon_);
  daemon_ = nullptr;
  unlink(path_.c_str());
}

ControlServer::~ControlServer() {
  if (daemon_) stop();
}

HttpAnswer ControlServer::answer(const HttpRequest& request) const {
  bool path_known = false;
  for (const HttpRoute& route : routes_) {
    if (request.path != route.path) continue;
    path_known = true;
    if (request.method == route.method) return route.handle(request);
  }
  if (path_known) return {405, "application/json", "{\"error\":\"method not allowed here\"}", {}};
  return {404, "application/json", "{\"error\":\"no such path\"}", {}};
}

}  // namespace infertrail
