/* it_gnutls_peer key=value…: one end of connections over GnuTLS, as it_peer (peer.c) is over OpenSSL; what it
 * says and the bytes on a connection are the same.
 *   role=server|client   port=N   conns=N (1)   request=N response=N   seed=N   version=1.2|1.3   parts=N
 *   transport=int|int2|ptr|ptr2 (how the descriptor is given)
 *   push=own|vector (functions of the program's own)  push=later (ciphertext leaves when the call is over)
 *   nonblock=1   sendbuf=N   retry=null (a send is repeated without its data)   write_size=N
 *   cork=1 (all of an answer or request is corked, in pieces)   read=plain|seq|packet   read_size=N
 *   unread=1 (with read=packet: one packet is thrown away unseen)   file=PATH (server: the answer by send_file)
 *   early=1 (two connections: the second's request is early data)  tunnel=1 (TLS inside TLS)   ktls=1
 *   dup=1 (server: a copy of the descriptor is used)   gate=0 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct connection {
  int fd;
  uint16_t local, remote;
  gnutls_session_t session, outer;
  gnutls_hash_hd_t hash[2];
  uint64_t moved[2], again, calls;
  unsigned char *later;
  size_t waiting;
};

static char **arguments;
static gnutls_certificate_credentials_t credentials;
static gnutls_datum_t ticket_key, kept_session;

static void fail(const char *what, int error) {
  fprintf(stderr, "it_gnutls_peer: %s: %s, %s\n", what, gnutls_strerror(error), strerror(errno));
  exit(3);
}

static const char *option(const char *name, const char *otherwise) {
  size_t n = strlen(name);
  for (char **at = arguments; *at; at++)
    if (!strncmp(*at, name, n) && (*at)[n] == '=') return *at + n + 1;
  return otherwise;
}
static uint64_t number(const char *name, uint64_t otherwise) {
  const char *text = option(name, "");
  return *text ? strtoull(text, 0, 10) : otherwise;
}
static int is(const char *name, const char *value) { return !strcmp(option(name, ""), value); }
static int server(void) { return is("role", "server"); }

static void gate(void) {
  char c;
  if (number("gate", 1))
    while (read(0, &c, 1) == 1 && c != '\n') continue;
}

static uint64_t state = 88172645463325252ull;
static void fill(unsigned char *buffer, size_t n) {
  for (size_t i = 0; i < n; i++) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    buffer[i] = state >> 24;
  }
}

static void wait_for(struct connection *c, short events) {
  struct pollfd one = {c->fd, events, 0};
  if (poll(&one, 1, -1) < 0) fail("poll", 0);
}

static void pump(struct connection *c) {
  for (size_t done = 0; done < c->waiting;) {
    ssize_t n = send(c->fd, c->later + done, c->waiting - done, MSG_NOSIGNAL);
    if (n > 0) done += n;
    else if (errno == EAGAIN) wait_for(c, POLLOUT);
    else fail("send", 0);
  }
  c->waiting = 0;
}

/* gnutls_record_get_direction says what it waits for. */
static int again(struct connection *c, ssize_t result) {
  pump(c);
  if (result != GNUTLS_E_AGAIN && result != GNUTLS_E_INTERRUPTED) return 0;
  c->again++;
  wait_for(c, gnutls_record_get_direction(c->outer ? c->outer : c->session) ? POLLOUT : POLLIN);
  return 1;
}

static ssize_t push_own(gnutls_transport_ptr_t to, const void *data, size_t n) {
  return send(((struct connection *)to)->fd, data, n, MSG_NOSIGNAL);
}
static ssize_t push_vector(gnutls_transport_ptr_t to, const giovec_t *parts, int n) {
  return writev(((struct connection *)to)->fd, (const struct iovec *)parts, n);
}
static ssize_t push_later(gnutls_transport_ptr_t to, const void *data, size_t n) {
  struct connection *c = to;
  c->later = realloc(c->later, c->waiting + n);
  memcpy(c->later + c->waiting, data, n);
  c->waiting += n;
  return n;
}
static ssize_t pull_own(gnutls_transport_ptr_t from, void *data, size_t n) {
  struct connection *c = from;
  pump(c);   /* who reads has nothing left to say */
  return recv(c->fd, data, n, 0);
}
static int pull_wait(gnutls_transport_ptr_t from, unsigned ms) {
  struct pollfd one = {((struct connection *)from)->fd, POLLIN, 0};
  return poll(&one, 1, ms == GNUTLS_INDEFINITE_TIMEOUT ? -1 : (int)ms);
}
static ssize_t push_tunnel(gnutls_transport_ptr_t to, const void *data, size_t n) {
  return gnutls_record_send(((struct connection *)to)->outer, data, n);
}
static ssize_t pull_tunnel(gnutls_transport_ptr_t from, void *data, size_t n) {
  return gnutls_record_recv(((struct connection *)from)->outer, data, n);
}
static int pull_tunnel_wait(gnutls_transport_ptr_t from, unsigned ms) {
  (void)from, (void)ms;
  return 1;
}

static void use_descriptor(gnutls_session_t session, int fd) {
  gnutls_transport_ptr_t as_pointer = (gnutls_transport_ptr_t)(intptr_t)fd;
  if (is("transport", "ptr")) gnutls_transport_set_ptr(session, as_pointer);
  else if (is("transport", "ptr2")) gnutls_transport_set_ptr2(session, as_pointer, as_pointer);
  else if (is("transport", "int2")) gnutls_transport_set_int2(session, fd, fd);
  else gnutls_transport_set_int(session, fd);
}

static int always_new(void *nobody, time_t expires, const gnutls_datum_t *key, const gnutls_datum_t *data) {
  (void)nobody, (void)expires, (void)key, (void)data;
  return 0;
}

static gnutls_session_t make_session(void) {
  gnutls_session_t session;
  unsigned flags = (server() ? GNUTLS_SERVER : GNUTLS_CLIENT) | (number("nonblock", 0) ? GNUTLS_NONBLOCK : 0);
  if (number("early", 0)) flags |= GNUTLS_ENABLE_EARLY_DATA;
  int error = gnutls_init(&session, flags);
  if (error) fail("gnutls_init", error);
  const char *version = is("version", "1.2") ? "NORMAL:-VERS-ALL:+VERS-TLS1.2" : "NORMAL:-VERS-ALL:+VERS-TLS1.3";
  if ((error = gnutls_priority_set_direct(session, version, 0))) fail(version, error);
  if ((error = gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials))) fail("credentials", error);
  if (server() && number("early", 0)) {
    static gnutls_anti_replay_t replay;
    if (!replay && gnutls_anti_replay_init(&replay)) fail("anti replay", 0);
    gnutls_anti_replay_set_add_function(replay, always_new);
    gnutls_session_ticket_enable_server(session, &ticket_key);
    gnutls_record_set_max_early_data_size(session, 65536);
    gnutls_anti_replay_enable(session, replay);
  }
  return session;
}

static void hash_more(struct connection *c, int direction, const void *data, size_t n) {
  gnutls_hash(c->hash[direction], data, n);
  c->moved[direction] += n;
}

static void shake(struct connection *c, gnutls_session_t session) {
  int error;
  do error = gnutls_handshake(session);
  while (error < 0 && (again(c, error) || !gnutls_error_is_fatal(error)));
  if (error < 0) fail("gnutls_handshake", error);
}

static uint16_t port_of(int fd, int remote) {
  struct sockaddr_in in;
  socklen_t length = sizeof(in);
  return (remote ? getpeername : getsockname)(fd, (void *)&in, &length) ? 0 : ntohs(in.sin_port);
}

static void begin(struct connection *c, int fd) {
  memset(c, 0, sizeof(*c));
  c->fd = fd;
  c->local = port_of(fd, 0);
  c->remote = port_of(fd, 1);
  for (int i = 0; i < 2; i++) gnutls_hash_init(&c->hash[i], GNUTLS_DIG_SHA256);
  int small = (int)number("sendbuf", 0), one = 1;
  if (small && setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small))) fail("SO_SNDBUF", 0);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  if (number("nonblock", 0) && fcntl(fd, F_SETFL, O_NONBLOCK)) fail("O_NONBLOCK", 0);
  c->session = make_session();
  if (number("tunnel", 0)) {
    c->outer = make_session();
    use_descriptor(c->outer, fd);
    shake(c, c->outer);
    gnutls_transport_set_ptr(c->session, c);
    gnutls_transport_set_push_function(c->session, push_tunnel);
    gnutls_transport_set_pull_function(c->session, pull_tunnel);
    gnutls_transport_set_pull_timeout_function(c->session, pull_tunnel_wait);
  } else if (*option("push", "")) {
    gnutls_transport_set_ptr(c->session, c);
    if (is("push", "vector")) gnutls_transport_set_vec_push_function(c->session, push_vector);
    else gnutls_transport_set_push_function(c->session, is("push", "later") ? push_later : push_own);
    gnutls_transport_set_pull_function(c->session, pull_own);
    gnutls_transport_set_pull_timeout_function(c->session, pull_wait);
  } else {
    use_descriptor(c->session, fd);
  }
  if (kept_session.data) gnutls_session_set_data(c->session, kept_session.data, kept_session.size);
}

static int send_all(struct connection *c, const unsigned char *data, size_t n) {
  size_t piece = number("write_size", n ? n : 1);
  if (number("cork", 0)) gnutls_record_cork(c->session);
  for (size_t done = 0; done < n;) {
    size_t want = n - done < piece ? n - done : piece;
    ssize_t sent = gnutls_record_send(c->session, data + done, want);
    c->calls++;
    while (again(c, sent)) {
      sent = is("retry", "null") ? gnutls_record_send(c->session, 0, 0) : gnutls_record_send(c->session, data + done, want);
      c->calls++;
    }
    if (sent < 0) fail("gnutls_record_send", (int)sent);
    done += sent;
  }
  int corked = 0;
  if (number("cork", 0))
    do corked = gnutls_record_uncork(c->session, number("nonblock", 0) ? 0 : GNUTLS_RECORD_WAIT);
    while (again(c, corked));
  if (corked < 0) fail("gnutls_record_uncork", corked);
  pump(c);
  hash_more(c, 1, data, n);
  return 1;
}

static void send_file(struct connection *c, size_t n) {
  int file = open(option("file", ""), O_RDONLY | O_CLOEXEC);
  unsigned char *data = malloc(n);
  if (file < 0 || !data || pread(file, data, n, 0) != (ssize_t)n) fail(option("file", ""), 0);
  for (size_t done = 0; done < n;) {
    ssize_t sent = gnutls_record_send_file(c->session, file, 0, n - done);
    c->calls++;
    if (sent < 0) fail("gnutls_record_send_file", (int)sent);
    done += sent;
  }
  hash_more(c, 1, data, n);
  free(data);
  close(file);
}

static ssize_t read_packet(struct connection *c, void *data, size_t n) {
  static int thrown;
  gnutls_packet_t packet;
  ssize_t got = gnutls_record_recv_packet(c->session, &packet);
  if (got <= 0) return got;
  gnutls_datum_t bytes;
  if ((size_t)got > n) fail("a packet of two messages", 0);
  /* What it held is known all the same: the program asks after the end of it was watched, by other means. */
  if (number("unread", 0) && c->moved[0] >= 16 && !thrown) {
    thrown = 1;
    gnutls_packet_deinit(packet);
    memset(data, 0, got);
    return got;
  }
  gnutls_packet_get(packet, &bytes, 0);
  memcpy(data, bytes.data, bytes.size);
  gnutls_packet_deinit(packet);
  return got;
}

static ssize_t receive_some(struct connection *c, void *data, size_t n) {
  unsigned char sequence[8];
  ssize_t got;
  size_t most = number("read_size", n);
  if (most < n) n = most;
  do {
    if (is("read", "packet")) got = read_packet(c, data, n);
    else if (is("read", "seq")) got = gnutls_record_recv_seq(c->session, data, n, sequence);
    else got = gnutls_record_recv(c->session, data, n);
    c->calls++;
  } while (again(c, got) || (got < 0 && !gnutls_error_is_fatal((int)got)));
  if (got == GNUTLS_E_PREMATURE_TERMINATION) return 0;
  if (got < 0) fail("gnutls_record_recv", (int)got);
  hash_more(c, 0, data, got);
  return got;
}

static int receive(struct connection *c, void *data, size_t n) {
  for (size_t done = 0; done < n;) {
    ssize_t got = receive_some(c, (char *)data + done, n - done);
    if (got == 0) return 0;
    done += got;
  }
  return 1;
}

static void finish(struct connection *c) {
  if (number("early", 0) && !server() && !kept_session.data &&
      gnutls_session_get_data2(c->session, &kept_session) < 0)
    fail("session", 0);
  int error;
  do error = gnutls_bye(c->session, GNUTLS_SHUT_WR);
  while (again(c, error));
  pump(c);
  uint64_t cookie = 0;
  socklen_t length = sizeof(cookie);
  getsockopt(c->fd, SOL_SOCKET, SO_COOKIE, &cookie, &length);
  printf("conn pid=%d ssl=%p local=%u remote=%u cookie=%llu want_write=%llu calls=%llu failed=0", getpid(),
         (void *)c->session, c->local, c->remote, (unsigned long long)cookie, (unsigned long long)c->again,
         (unsigned long long)c->calls);
  for (int i = 0; i < 2; i++) {
    unsigned char hash[32];
    gnutls_hash_deinit(c->hash[i], hash);
    printf(" %s=%llu %s_sha=", i ? "out" : "in", (unsigned long long)c->moved[i], i ? "out" : "in");
    for (int j = 0; j < 32; j++) printf("%02x", hash[j]);
  }
  printf("\n");
  fflush(stdout);
  gnutls_deinit(c->session);
  if (c->outer) gnutls_deinit(c->outer);
  close(c->fd);
  free(c->later);
}

static void call(struct connection *c, int early) {
  uint64_t lengths[2] = {number("request", 1000), number("response", 1000)};
  unsigned char *out = malloc(16 + lengths[0]), *in = malloc(lengths[1] + 1);
  memcpy(out, lengths, 16);
  fill(out + 16, lengths[0]);
  if (early) {   /* leaves inside the handshake */
    int error = gnutls_record_send_early_data(c->session, out, 16 + lengths[0]);
    if (error) fail("gnutls_record_send_early_data", error);
    hash_more(c, 1, out, 16 + lengths[0]);
    shake(c, c->session);
    if (!(gnutls_session_get_flags(c->session) & GNUTLS_SFLAGS_EARLY_DATA)) fail("early data was refused", 0);
  } else {
    send_all(c, out, 16 + lengths[0]);
  }
  receive(c, in, lengths[1]);
  free(out);
  free(in);
}

static int answer(struct connection *c, int early) {
  uint64_t lengths[2];
  unsigned char first[16 + 65536];
  size_t got = 0;
  while (early && got < sizeof(first)) {
    ssize_t n = gnutls_record_recv_early_data(c->session, first + got, sizeof(first) - got);
    if (n <= 0) break;
    hash_more(c, 0, first + got, n);
    got += n;
  }
  if (got == 0 && (is("read", "packet") || number("read_size", 16) < 16)) {
    while (got < 16) {
      ssize_t n = receive_some(c, first + got, sizeof(first) - got);
      if (n == 0) return 0;
      got += n;
    }
  } else if (got == 0) {
    if (!receive(c, first, 16)) return 0;
    got = 16;
  }
  memcpy(lengths, first, 16);
  unsigned char *in = malloc(lengths[0] + 65536), *out = malloc(lengths[1] + 1);
  uint64_t left = lengths[0] - (got - 16);
  while (left > 0) {
    ssize_t n = receive_some(c, in, is("read", "packet") ? 65536 : left);
    if (n <= 0) return 0;
    left -= n;
  }
  fill(out, lengths[1]);
  if (*option("file", "")) send_file(c, lengths[1]);
  else send_all(c, out, lengths[1]);
  free(in);
  free(out);
  return 1;
}

static void serve(int listener) {
  for (uint64_t i = 0; i < number("conns", 1); i++) {
    struct connection c;
    int fd = accept4(listener, 0, 0, SOCK_CLOEXEC);
    if (fd < 0) fail("accept4", 0);
    if (number("dup", 0)) {
      int copy = dup(fd);
      close(fd);
      fd = copy;
    }
    begin(&c, fd);
    shake(&c, c.session);
    int early = number("early", 0) && i > 0;
    while (answer(&c, early)) early = 0;
    finish(&c);
  }
}

static void connect_all(void) {
  for (uint64_t i = 0; i < number("conns", 1); i++) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(number("port", 0)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (void *)&to, sizeof(to))) fail("connect", 0);
    struct connection c;
    begin(&c, fd);
    int early = number("early", 0) && i > 0;
    if (!early) shake(&c, c.session);
    for (uint64_t part = 0; part < number("parts", 1); part++) {
      if (part > 0) {
        printf("part %llu\n", (unsigned long long)part);
        fflush(stdout);
        gate();
      }
      call(&c, early);
    }
    finish(&c);
  }
}

static void make_certificate(void) {
  gnutls_x509_privkey_t key;
  gnutls_x509_crt_t certificate;
  gnutls_x509_privkey_init(&key);
  gnutls_x509_crt_init(&certificate);
  int error = gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
  gnutls_x509_crt_set_version(certificate, 3);
  gnutls_x509_crt_set_serial(certificate, "\1", 1);
  gnutls_x509_crt_set_activation_time(certificate, time(0) - 60);
  gnutls_x509_crt_set_expiration_time(certificate, time(0) + 86400);
  gnutls_x509_crt_set_key(certificate, key);
  if (!error) error = gnutls_x509_crt_sign2(certificate, certificate, key, GNUTLS_DIG_SHA256, 0);
  if (!error) error = gnutls_certificate_set_x509_key(credentials, &certificate, 1, key);
  if (error) fail("certificate", error);
}

int main(int argc, char **argv) {
  (void)argc;
  arguments = argv + 1;
  signal(SIGPIPE, SIG_IGN);
  state ^= number("seed", 1) * 0x9E3779B97F4A7C15ull;
  gnutls_certificate_allocate_credentials(&credentials);
  int listener = -1;
  if (server()) {
    make_certificate();
    gnutls_session_ticket_key_generate(&ticket_key);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(number("port", 0)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (void *)&at, sizeof(at)) || listen(listener, 256)) fail("listen", 0);
  }
  printf("ready port=%u\n", server() ? port_of(listener, 0) : 0);
  fflush(stdout);
  gate();
  server() ? serve(listener) : connect_all();
  printf("done\n");
  fflush(stdout);
  gate();
  return 0;
}
