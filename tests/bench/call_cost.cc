// What one call costs the process that makes it: SSL_write + SSL_read of N bytes between two objects in
// memory, and a ping-pong over a loopback TCP connection; nanoseconds per pair, the least of several
// series. cost.py runs it with nothing attached, beside a daemon, and as a target.
//
// Usage:  call_cost   prints "ready", then a JSON line for each line "x" that it reads
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>

#include "tls_pair.h"

namespace {

using namespace infertrail::bench;

// The least of `series`: what disturbs makes it slower, never faster.
double nanoseconds(int series, int rounds, const std::function<void()>& work) {
  double least = 1e18;
  for (int i = 0; i < series; i++) {
    const auto began = std::chrono::steady_clock::now();
    for (int j = 0; j < rounds; j++) work();
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - began;
    least = std::min(least, took.count() / rounds);
  }
  return least;
}

struct TcpPair {
  int here = -1, there = -1;
  std::thread echo;
  TcpPair() {
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    here = socket(AF_INET, SOCK_STREAM, 0);
    auto* name = reinterpret_cast<sockaddr*>(&address);
    if (bind(listener, name, size) != 0 || listen(listener, 1) != 0 || getsockname(listener, name, &size) != 0 ||
        connect(here, name, size) != 0 || (there = accept(listener, nullptr, nullptr)) < 0)
      die("loopback");
    close(listener);
    echo = std::thread([fd = there] {
      char bytes[4096];
      for (ssize_t n; (n = read(fd, bytes, sizeof(bytes))) > 0;)
        if (write(fd, bytes, static_cast<size_t>(n)) != n) return;
    });
  }
  ~TcpPair() {
    shutdown(here, SHUT_RDWR);
    echo.join();
    close(here);
    close(there);
  }
  void pass(std::vector<char>& bytes) {
    if (write(here, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) die("write");
    for (size_t got = 0; got < bytes.size();) {
      const ssize_t n = read(here, bytes.data() + got, bytes.size() - got);
      if (n <= 0) die("read");
      got += static_cast<size_t>(n);
    }
  }
};

}  // namespace

int main() {
  TlsPair warm;   // the library is mapped before anybody looks at this process
  std::printf("ready\n");
  std::fflush(stdout);
  while (std::getchar() == 'x') {
    std::getchar();
    TlsPair tls;
    TcpPair tcp;
    std::vector<char> small(100, 'a'), large(16384, 'b'), line(512, 'c');
    const double tls_small = nanoseconds(400, 100, [&] { tls.pass(small); });
    const double tls_large = nanoseconds(200, 20, [&] { tls.pass(large); });
    const double tcp_line = nanoseconds(200, 50, [&] { tcp.pass(line); });
    std::printf("{\"tls_100\": %.0f, \"tls_16k\": %.0f, \"tcp_512\": %.0f}\n", tls_small, tls_large, tcp_line);
    std::fflush(stdout);
  }
}
