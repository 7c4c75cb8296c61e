/* it_peer key=value…
 *   role=server|client   port=N (client; 0 for a server = any)   family=4|6   conns=N (1)
 *   tls=0|1   version=1.2|1.3   groups=LIST   cipher=LIST   bio=socket|memory|tunnel|filter   ktls=1
 *   request=N response=N (bytes; random=N adds up to N)   seed=N
 *   read=plain|ex  write=plain|ex|ex2  peek=1 (before each read)  references=1 (SSL_up_ref, SSL_free)
 *   cold=anon|file (client: the request from pages that are not in memory)
 *   gone=1 (client: what was encrypted leaves memory before the call returns)
 *   early=N (bytes of early data from the second connection on)   giveup=N (after N WANT_WRITEs it closes)
 *   read_size=N  write_size=N  nonblock=1  partial=1  threads=1
 *   sendbuf=N   file=PATH (server: the response by sendfile)
 *   halfclose=1 (client ends its side before it reads)   listen_late=1 (server: a line, then listen)
 *   reset=1 (both: the client ends by RST in the middle of the answer)
 *   forks=N (each child does all connections)   workers=N (server: children accept)
 *   failing=1 (a write that must fail, at the end)   parts=N (client: N exchanges, each after a line)
 *   early=1 (client: the socket of its first connection is there before it says that it is ready)
 *   cpu=N (runs there alone)   peek=1 (looks with MSG_PEEK before it reads)   dup=1 (server: a copy of the
 *   descriptor is used, the first is closed)   hand=1 (server: another process gets each connection by
 *   SCM_RIGHTS)   hand=2 (server: a child of its own for each)   mapped=1 (server: IPv6, also for IPv4)
 *   unix=PATH (both: AF_UNIX)   header=1…6 (a PROXY header or a dialogue in clear comes
 *   first: tricks.c)   drip=1 (with bio=memory:
 *   ciphertext leaves byte by byte)   role=proxy to=N (a TCP proxy for port N, a process per connection)
 *   gate=0 (start at once, end at once: no lines on stdin)
 * A connection: 16 bytes (request length, response length), the request, the response. */
#define _GNU_SOURCE
#include "peer.h"
#include "tricks.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char **arguments;

void fail(const char *what) {
  fprintf(stderr, "it_peer: %s: %s\n", what, strerror(errno));
  ERR_print_errors_fp(stderr);
  exit(3);
}

const char *option(const char *name, const char *otherwise) {
  size_t n = strlen(name);
  for (char **at = arguments; *at; at++)
    if (!strncmp(*at, name, n) && (*at)[n] == '=') return *at + n + 1;
  return otherwise;
}

uint64_t number(const char *name, uint64_t otherwise) {
  const char *text = option(name, "");
  return *text ? strtoull(text, 0, 10) : otherwise;
}

/* A line on stdin lets the program go on; the end of stdin does, too. */
static void gate(void) {
  char c;
  if (number("gate", 1))
    while (read(0, &c, 1) == 1 && c != '\n') continue;
}

static uint64_t state = 88172645463325252ull;
static uint64_t next(void) {
  state ^= state << 13;
  state ^= state >> 7;
  return state ^= state << 17;
}

static void fill(unsigned char *buffer, size_t n) {
  for (size_t i = 0; i < n; i++) buffer[i] = next() >> 24;
}

static struct sockaddr_storage address(uint16_t port, socklen_t *length) {
  struct sockaddr_storage out = {0};
  if (*option("unix", "")) {
    struct sockaddr_un *un = (void *)&out;
    un->sun_family = AF_UNIX;
    strncpy(un->sun_path, option("unix", ""), sizeof(un->sun_path) - 1);
    *length = sizeof(*un);
  } else if (number("family", 4) == 6 || number("mapped", 0)) {
    struct sockaddr_in6 *in = (void *)&out;
    in->sin6_family = AF_INET6;
    in->sin6_addr = in6addr_loopback;
    if (number("mapped", 0)) inet_pton(AF_INET6, "::ffff:127.0.0.1", &in->sin6_addr);
    in->sin6_port = htons(port);
    *length = sizeof(*in);
  } else {
    struct sockaddr_in *in = (void *)&out;
    in->sin_family = AF_INET;
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    in->sin_port = htons(port);
    *length = sizeof(*in);
  }
  return out;
}

static uint16_t port_of(int fd, int remote) {
  struct sockaddr_in6 any;
  socklen_t length = sizeof(any);
  if ((remote ? getpeername : getsockname)(fd, (void *)&any, &length)) return 0;
  return ntohs(any.sin6_port);   /* the port stands at the same place for both families */
}

static void say_hash(struct connection *c, int direction, const char *name) {
  unsigned char hash[32];
  EVP_DigestFinal_ex(c->hash[direction], hash, 0);
  printf(" %s=%llu %s_sha=", name, (unsigned long long)c->moved[direction], name);
  for (int i = 0; i < 32; i++) printf("%02x", hash[i]);
}

static void begin(struct connection *c, int fd, SSL_CTX *context, int server) {
  memset(c, 0, sizeof(*c));
  c->fd = fd;
  c->local = port_of(fd, 0);
  c->remote = port_of(fd, 1);
  for (int i = 0; i < 2; i++) {
    c->hash[i] = EVP_MD_CTX_new();
    EVP_DigestInit_ex(c->hash[i], EVP_sha256(), 0);
  }
  int small = (int)number("sendbuf", 0);
  if (small && setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small))) fail("SO_SNDBUF");
  int one = 1;   /* else each small answer waits 40 ms for a delayed ACK */
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  if (number("header", 0)) proxy_header(fd, (int)number("header", 0), server);
  if (number("nonblock", 0) && fcntl(fd, F_SETFL, O_NONBLOCK)) fail("O_NONBLOCK");
  if (number("tls", 0)) attach_tls(c, context, server);
}

static void finish(struct connection *c) {
  int failed = 0;
  if (c->filter) BIO_free(c->filter);
  if (c->ssl) {
    keep_session(c);
    if (!number("giveup", 0)) SSL_shutdown(c->ssl);
    if (number("failing", 0)) failed = SSL_write(c->ssl, "never", 5) <= 0;
  }
  uint64_t cookie = 0;
  socklen_t length = sizeof(cookie);
  getsockopt(c->fd, SOL_SOCKET, SO_COOKIE, &cookie, &length);
  printf("conn pid=%d ssl=%p local=%u remote=%u cookie=%llu want_write=%llu calls=%llu failed=%d", getpid(),
         (void *)c->ssl, c->local, c->remote, (unsigned long long)cookie, (unsigned long long)c->want_write,
         (unsigned long long)c->calls, failed);
  say_hash(c, 0, "in");
  say_hash(c, 1, "out");
  printf("\n");
  fflush(stdout);
  if (c->ssl) SSL_free(c->ssl);
  if (c->outer) SSL_free(c->outer);
  if (number("reset", 0) && strcmp(option("role", "client"), "server")) {
    struct linger now = {1, 0};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  }
  close(c->fd);
  EVP_MD_CTX_free(c->hash[0]);
  EVP_MD_CTX_free(c->hash[1]);
}

static uint64_t length_of(const char *name) {
  uint64_t spread = number("random", 0);
  return number(name, 1000) + (spread ? next() % spread : 0);
}

/* Pages that nobody has touched, or that were written to a file and dropped from memory. */
static unsigned char *cold_pages(size_t n) {
  int file = -1;
  if (!strcmp(option("cold", ""), "file")) {
    char name[] = "/var/tmp/it_cold_XXXXXX", block[65536];
    file = mkstemp(name);
    if (file < 0 || unlink(name)) fail(name);
    for (size_t done = 0; done < n; done += sizeof(block)) {
      fill((unsigned char *)block, sizeof(block));
      if (write(file, block, sizeof(block)) != sizeof(block)) fail("write");
    }
    if (fsync(file) || posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED)) fail("evict");
  }
  void *out = mmap(0, n, PROT_READ, file < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, file, 0);
  if (out == MAP_FAILED) fail("mmap");
  if (file >= 0) close(file);
  return out;
}

static void send_request(struct connection *c, const uint64_t lengths[2]) {
  size_t head = 2 * sizeof(lengths[0]);
  if (*option("cold", "")) {
    unsigned char *pages = cold_pages(lengths[0]);
    transmit(c, lengths, head);
    transmit(c, pages, lengths[0]);
    munmap(pages, lengths[0]);
    return;
  }
  unsigned char *out = malloc(head + lengths[0]);
  if (!out) fail("memory");
  memcpy(out, lengths, head);
  fill(out + head, lengths[0]);
  transmit(c, out, head + lengths[0]);
  free(out);
}

static void call(struct connection *c) {
  uint64_t lengths[2] = {length_of("request"), length_of("response")};
  unsigned char *in = malloc(lengths[1] + 1);
  if (!in) fail("memory");
  send_request(c, lengths);
  if (number("halfclose", 0)) shutdown(c->fd, SHUT_WR);
  if (number("giveup", 0)) {   /* nobody answers half a request; what was sent must still arrive */
    fcntl(c->fd, F_SETFL, 0);
    shutdown(c->fd, SHUT_WR);
    char rest[4096];
    while (recv(c->fd, rest, sizeof(rest), 0) > 0) continue;
    return;
  }
  if (number("reset", 0))
    receive_some(c, in, 1);   /* the server has the request, and is in the middle of its answer */
  else
    receive(c, in, lengths[1]);
  free(in);
}

/* 0 = the client ended before a request */
static int answer(struct connection *c) {
  uint64_t lengths[2];
  int first = receive_some(c, lengths, number("read_size", sizeof(lengths)) == 1 ? 1 : sizeof(lengths));
  if (first <= 0 || !receive(c, (char *)lengths + first, sizeof(lengths) - first)) return 0;
  unsigned char *in = malloc(lengths[0] + 1), *out = malloc(lengths[1] + 1);
  if (!in || !out) fail("memory");
  int going = receive(c, in, lengths[0]);
  fill(out, lengths[1]);
  if (going && *option("file", ""))
    transmit_file(c, option("file", ""), lengths[1]);
  else if (going)
    going = transmit(c, out, lengths[1]);
  free(in);
  free(out);
  return going;
}

static void serve_one(int fd, SSL_CTX *context) {
  struct connection c;
  begin(&c, fd, context, 1);
  while (answer(&c)) continue;
  finish(&c);
}

static void end_children(uint64_t children) {
  for (uint64_t i = 0; i < children; i++) {
    int status;
    if (wait(&status) < 0 || status) fail("a child failed");
  }
}

/* hand=1: one other process serves what it is sent; hand=2: each connection has a child. */
static void hand_on(int listener, SSL_CTX *context) {
  int channel[2], by_message = number("hand", 0) == 1;
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel)) fail("socketpair");
  if (by_message && fork() == 0) {
    close(channel[0]);
    for (int fd; (fd = receive_descriptor(channel[1])) >= 0;) serve_one(fd, context);
    exit(0);
  }
  close(channel[1]);
  for (uint64_t i = 0; i < number("conns", 1); i++) {
    int fd = accept4(listener, 0, 0, SOCK_CLOEXEC);
    if (fd < 0) fail("accept4");
    if (by_message)
      send_descriptor(channel[0], fd);
    else if (fork() == 0) {
      serve_one(fd, context);
      exit(0);
    }
    close(fd);
  }
  close(channel[0]);
  end_children(by_message ? 1 : number("conns", 1));
}

static void serve(int listener, SSL_CTX *context) {
  if (number("hand", 0)) return hand_on(listener, context);
  for (uint64_t i = 0; i < number("conns", 1); i++) {
    int fd = accept4(listener, 0, 0, SOCK_CLOEXEC);
    if (fd < 0) fail("accept4");
    if (number("dup", 0)) {
      int copy = dup(fd);
      close(fd);   /* the number is free for another file of this process */
      fd = copy;
    }
    serve_one(fd, context);
  }
}

static int onward(void) {
  socklen_t length;
  struct sockaddr_storage to = address(number("to", 0), &length);
  int fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (void *)&to, length)) fail("connect onward");
  return fd;
}

static int early_socket = -1;

static void connect_all(SSL_CTX *context) {
  for (uint64_t i = 0; i < number("conns", 1); i++) {
    socklen_t length;
    struct sockaddr_storage to = address(number("port", 0), &length);
    int fd = early_socket >= 0 ? early_socket : socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    early_socket = -1;
    if (fd < 0 || connect(fd, (void *)&to, length)) fail("connect");
    struct connection c;
    begin(&c, fd, context, 0);
    for (uint64_t part = 0; part < number("parts", 1); part++) {
      if (part > 0) {
        printf("part %llu\n", (unsigned long long)part);
        fflush(stdout);
        gate();
      }
      call(&c);
    }
    finish(&c);
  }
}

int main(int argc, char **argv) {
  (void)argc;
  arguments = argv + 1;
  signal(SIGPIPE, SIG_IGN);   /* over AF_UNIX the last close_notify finds nobody */
  state ^= number("seed", 1) * 0x9E3779B97F4A7C15ull;
  int proxy = !strcmp(option("role", "client"), "proxy");
  int server = proxy || !strcmp(option("role", "client"), "server"), listener = -1;
  if (*option("cpu", "")) run_on_cpu((int)number("cpu", 0));
  int early = (int)number("listen_late", 0);
  if (early) printf("ready port=0\n"), fflush(stdout), gate();
  if (server) {
    socklen_t length;
    struct sockaddr_storage at = address(number("port", 0), &length);
    listener = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (listener < 0 || bind(listener, (void *)&at, length) || listen(listener, 256)) fail("listen");
  }
  if (number("early", 0)) early_socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  printf("ready port=%u\n", server ? port_of(listener, 0) : 0);
  fflush(stdout);
  if (!early) gate();
  if (proxy) carry_all(listener, number("conns", 1), onward);
  SSL_CTX *context = number("tls", 0) ? make_context(server) : 0;
  uint64_t children = number("forks", 0) + number("workers", 0);
  for (uint64_t i = 0; i < children; i++) {
    pid_t child = fork();
    if (child < 0) fail("fork");
    if (child > 0) continue;
    state ^= (uint64_t)getpid() << 20;
    server ? serve(listener, context) : connect_all(context);
    exit(0);
  }
  if (!children && !proxy) server ? serve(listener, context) : connect_all(context);
  end_children(children);
  printf("done\n");
  fflush(stdout);
  gate();
  return 0;
}
