// What one call costs the process that makes it: SSL_write + SSL_read of N bytes between two objects in
// memory, and a ping-pong over a loopback TCP connection; nanoseconds per pair, the least of several
// series. cost.py runs it with nothing attached, beside a daemon, and as a target.
//
// Usage:  call_cost   prints "ready", then a JSON line for each line "x" that it reads
#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>

namespace {

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "call_cost: %s failed\n", what);
  std::exit(1);
}

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

SSL_CTX* server_context() {
  SSL_CTX* context = SSL_CTX_new(TLS_server_method());
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = X509_new();
  if (!context || !key || !certificate) die("key");
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
  X509_set_pubkey(certificate, key);
  if (!X509_sign(certificate, key, EVP_sha256()) || SSL_CTX_use_certificate(context, certificate) != 1 ||
      SSL_CTX_use_PrivateKey(context, key) != 1)
    die("certificate");
  X509_free(certificate);
  EVP_PKEY_free(key);
  return context;
}

struct TlsPair {
  SSL *client, *server;
  TlsPair() {
    client = SSL_new(SSL_CTX_new(TLS_client_method()));
    server = SSL_new(server_context());
    BIO *one, *other;
    if (!client || !server || BIO_new_bio_pair(&one, 1 << 20, &other, 1 << 20) != 1) die("objects");
    SSL_set_bio(client, one, one);
    SSL_set_bio(server, other, other);
    SSL_set_connect_state(client);
    SSL_set_accept_state(server);
    for (int i = 0; i < 10; i++) {
      SSL_do_handshake(client);
      SSL_do_handshake(server);
    }
    if (!SSL_is_init_finished(client) || !SSL_is_init_finished(server)) die("handshake");
  }
  void pass(std::vector<char>& bytes) {
    const int n = static_cast<int>(bytes.size());
    if (SSL_write(client, bytes.data(), n) != n) die("SSL_write");
    for (int got = 0; got < n;) {
      const int more = SSL_read(server, bytes.data() + got, n - got);
      if (more <= 0) die("SSL_read");
      got += more;
    }
  }
};

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
    const double tls_small = nanoseconds(20, 2000, [&] { tls.pass(small); });
    const double tls_large = nanoseconds(20, 200, [&] { tls.pass(large); });
    const double tcp_line = nanoseconds(20, 500, [&] { tcp.pass(line); });
    std::printf("{\"tls_100\": %.0f, \"tls_16k\": %.0f, \"tcp_512\": %.0f}\n", tls_small, tls_large, tcp_line);
    std::fflush(stdout);
  }
}
