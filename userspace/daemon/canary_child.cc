#include "daemon/canary_child.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace infertrail {
namespace {

constexpr char kArgument[] = "--infertrail-canary";

// Between fork and exec of a process with threads: system calls only.
[[noreturn]] void become(int gate) {
  const int copy = fcntl(gate, F_DUPFD, 16);
  const int none = open("/dev/null", O_RDWR);
  if (dup2(copy, 0) < 0 || dup2(none, 1) < 0 || dup2(none, 2) < 0) _exit(127);
  syscall(SYS_close_range, 3, ~0u, 0);
  char name[] = "infertrail-canary", argument[sizeof(kArgument)];
  std::memcpy(argument, kArgument, sizeof(kArgument));
  char* arguments[] = {name, argument, nullptr};
  char* environment[] = {nullptr};
  execve("/proc/self/exe", arguments, environment);
  _exit(127);
}

// A certificate of the moment: nobody checks it.
bool certify(SSL_CTX* context) {
  Owned<EVP_PKEY, EVP_PKEY_free> key(EVP_EC_gen("P-256"));
  Owned<X509, X509_free> certificate(X509_new());
  if (!key || !certificate) return false;
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), 0);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
  X509_set_pubkey(certificate.get(), key.get());
  return X509_sign(certificate.get(), key.get(), EVP_sha256()) > 0 &&
         SSL_CTX_use_certificate(context, certificate.get()) == 1 &&
         SSL_CTX_use_PrivateKey(context, key.get()) == 1;
}

struct Pair {
  Fd client, server;
};

bool connect_pair(Pair* out) {
  Fd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(at);
  auto* address = reinterpret_cast<sockaddr*>(&at);
  if (!listener.valid() || bind(listener.get(), address, length) != 0 || listen(listener.get(), 1) != 0 ||
      getsockname(listener.get(), address, &length) != 0)
    return false;
  out->client = Fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!out->client.valid() || connect(out->client.get(), address, length) != 0) return false;
  out->server = Fd(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  return out->server.valid() && fcntl(out->client.get(), F_SETFL, O_NONBLOCK) == 0 &&
         fcntl(out->server.get(), F_SETFL, O_NONBLOCK) == 0;
}

bool shake_hands(SSL* client, SSL* server) {
  for (int i = 0; i < 1000; i++) {
    const int a = SSL_do_handshake(client), b = SSL_do_handshake(server);
    if (a == 1 && b == 1) return true;
    usleep(1000);
  }
  return false;
}

// One thread plays both ends, so what was written is there to be read; small enough for any buffer.
bool say(SSL* from, SSL* to, std::string_view text, bool ex) {
  char heard[256];
  size_t wrote = 0;
  if (ex ? SSL_write_ex(from, text.data(), text.size(), &wrote) != 1
         : SSL_write(from, text.data(), static_cast<int>(text.size())) != static_cast<int>(text.size()))
    return false;
  size_t got = 0;
  for (int i = 0; i < 1000 && got < text.size(); i++) {
    size_t n = 0;
    if (ex && SSL_read_ex(to, heard + got, sizeof(heard) - got, &n) != 1) n = 0;
    if (!ex) {
      const int result = SSL_read(to, heard + got, static_cast<int>(sizeof(heard) - got));
      n = result > 0 ? static_cast<size_t>(result) : 0;
    }
    got += n;
    if (n == 0) usleep(1000);
  }
  return std::string_view(heard, got) == text;
}

int exchange() {
  Owned<SSL_CTX, SSL_CTX_free> asks(SSL_CTX_new(TLS_client_method())), answers(SSL_CTX_new(TLS_server_method()));
  Pair pair;
  if (!asks || !answers || !certify(answers.get()) || !connect_pair(&pair)) return 3;
  Owned<SSL, SSL_free> client(SSL_new(asks.get())), server(SSL_new(answers.get()));
  if (!client || !server || SSL_set_fd(client.get(), pair.client.get()) != 1 ||
      SSL_set_fd(server.get(), pair.server.get()) != 1)
    return 4;
  SSL_set_connect_state(client.get());
  SSL_set_accept_state(server.get());
  if (!shake_hands(client.get(), server.get())) return 5;
  return say(client.get(), server.get(), kCanaryQuestion, false) &&
                 say(server.get(), client.get(), kCanaryAnswer, true)
             ? 0
             : 6;
}

}  // namespace

Result<CanaryChild> start_canary() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Error{Code::kIo, std::string("pipe: ") + std::strerror(errno)};
  Fd read_end(ends[0]);
  CanaryChild out;
  out.gate = Fd(ends[1]);
  out.pid = fork();
  if (out.pid == 0) become(read_end.get());
  if (out.pid < 0) return Error{Code::kIo, std::string("start the canary: ") + std::strerror(errno)};
  return out;
}

std::optional<int> run_as_canary(int argc, char** argv) {
  if (argc != 2 || std::string_view(argv[1]) != kArgument) return std::nullopt;
  prctl(PR_SET_NAME, "infertrail-cnry");
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  alarm(10);
  char none;
  while (read(0, &none, 1) < 0 && errno == EINTR) continue;   // until the gate is closed
  return exchange();
}

}  // namespace infertrail
