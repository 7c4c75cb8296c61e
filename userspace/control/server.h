// A small HTTP/1.1 server on a unix socket, by libmicrohttpd. One thread per connection, a bounded
// number of them. Handlers run on those threads and must be thread-safe.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/owned.h"
#include "base/result.h"

struct MHD_Daemon;

namespace infertrail {

struct HttpRequest {
  std::string_view method, path, body;
  uid_t peer_uid = 0;
};

// Bytes of the answer, piece by piece: called until it returns "" (the end). May block for a while;
// `gone()` tells that nobody reads any more.
using HttpBody = std::function<std::string()>;

struct HttpAnswer {
  unsigned status = 200;
  std::string content_type = "application/json";
  std::string body;
  HttpBody stream;   // when set, instead of `body`
};

struct HttpRoute {
  const char* method;
  const char* path;
  std::function<HttpAnswer(const HttpRequest&)> handle;
};

class ControlServer {
 public:
  // The socket is made 0600 (its folder 0700 when it is made here). A socket that another daemon
  // answers on is an error; one that nobody answers on is replaced.
  static Result<std::unique_ptr<ControlServer>> open(const std::string& path,
                                                     std::vector<HttpRoute> routes);
  ~ControlServer();
  // Streams end at their next piece. Call before what the handlers use is destroyed.
  void stop();
  bool stopping() const { return stopping_; }

  // For the C callbacks of libmicrohttpd only.
  HttpAnswer answer(const HttpRequest& request) const;

 private:
  ControlServer(std::string path, std::vector<HttpRoute> routes)
      : path_(std::move(path)), routes_(std::move(routes)) {}

  const std::string path_;
  const std::vector<HttpRoute> routes_;
  MHD_Daemon* daemon_ = nullptr;
  std::atomic<bool> stopping_{false};
};

}  // namespace infertrail
