/* uring_server PORT: plain HTTP/1.1 by io_uring alone: accept, recv and send are never syscalls of their own.
 * POST /x/SIZE?NAME is answered with SIZE bytes of NAME reversed; one thread, 256 connections at most. */
#include <arpa/inet.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS = 256, HEAD = 8192, PIECE = 65536 };

struct connection {
  int fd;
  char head[HEAD];
  size_t have;       /* bytes of the head so far */
  long long body;    /* bytes of the request's body still to come; -1: in the head */
  char *answer;
  size_t length, sent;
  char piece[PIECE];
};

static struct connection *all[CONNECTIONS];
static struct io_uring ring;
static int listener;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static struct io_uring_sqe *next(void) {
  struct io_uring_sqe *out = io_uring_get_sqe(&ring);
  if (!out) fail("io_uring_get_sqe");
  return out;
}

static void accept_next(void) {
  struct io_uring_sqe *sqe = next();
  io_uring_prep_accept(sqe, listener, 0, 0, SOCK_CLOEXEC);
  io_uring_sqe_set_data(sqe, 0);
}

static void receive_next(struct connection *c) {
  struct io_uring_sqe *sqe = next();
  if (c->body >= 0)
    io_uring_prep_recv(sqe, c->fd, c->piece, PIECE, 0);
  else
    io_uring_prep_recv(sqe, c->fd, c->head + c->have, HEAD - 1 - c->have, 0);
  io_uring_sqe_set_data(sqe, c);
}

static void send_next(struct connection *c) {
  struct io_uring_sqe *sqe = next();
  io_uring_prep_send(sqe, c->fd, c->answer + c->sent, c->length - c->sent, MSG_NOSIGNAL);
  io_uring_sqe_set_data(sqe, c);
}

static void answer(struct connection *c) {
  char *target = strchr(c->head, ' ');
  char *name = target ? strchr(target, '?') : 0, *end = name ? strchr(name, ' ') : 0;
  if (!end) fail("request");
  size_t size = strtoul(target + 4, 0, 10), n = end - name - 1;
  char head[128];
  int h = snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n", size);
  c->length = h + size;
  c->sent = 0;
  c->answer = malloc(c->length);
  if (!c->answer) fail("malloc");
  memcpy(c->answer, head, h);
  for (size_t i = 0; i < size; i++) {
    size_t at = i % (n + 1);
    c->answer[h + i] = at == n ? '\n' : end[-1 - (long)at];
  }
  c->have = 0;
  c->body = -1;
  send_next(c);
}

/* What came in the head's buffer: a whole head, and perhaps a part of the body. */
static void look(struct connection *c) {
  c->head[c->have] = 0;
  char *end = strstr(c->head, "\r\n\r\n");
  if (!end) return receive_next(c);
  char *length = strcasestr(c->head, "\r\ncontent-length:");
  c->body = length && length < end ? strtoll(length + 17, 0, 10) : 0;
  c->body -= c->head + c->have - (end + 4);
  if (c->body < 0) fail("pipelining");
  if (c->body == 0) return answer(c);
  receive_next(c);
}

static void ended(struct connection *c) {
  close(c->fd);
  for (int i = 0; i < CONNECTIONS; i++)
    if (all[i] == c) all[i] = 0;
  free(c->answer);
  free(c);
}

static void moved(struct connection *c, int n) {
  if (n <= 0) return ended(c);
  if (c->answer) {
    c->sent += n;
    if (c->sent < c->length) return send_next(c);
    free(c->answer);
    c->answer = 0;
    return receive_next(c);
  }
  if (c->body < 0) {
    c->have += n;
    return look(c);
  }
  c->body -= n;
  if (c->body < 0) fail("pipelining");
  if (c->body == 0) return answer(c);
  receive_next(c);
}

static void accepted(int fd) {
  if (fd < 0) fail("accept");
  int one = 1, at = 0;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  while (at < CONNECTIONS && all[at]) at++;
  if (at == CONNECTIONS || !(all[at] = calloc(1, sizeof(struct connection)))) fail("connections");
  all[at]->fd = fd;
  all[at]->body = -1;
  receive_next(all[at]);
  accept_next();
}

int main(int argc, char **argv) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  at.sin_port = htons(argc > 1 ? atoi(argv[1]) : 0);
  listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int one = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  if (listener < 0 || bind(listener, (void *)&at, sizeof(at)) || listen(listener, 1024)) fail("listen");
  if (io_uring_queue_init(1024, &ring, 0)) fail("io_uring_queue_init");
  accept_next();
  for (;;) {
    if (io_uring_submit_and_wait(&ring, 1) < 0) fail("io_uring_submit_and_wait");
    struct io_uring_cqe *done;
    while (!io_uring_peek_cqe(&ring, &done)) {
      struct connection *c = io_uring_cqe_get_data(done);
      int result = done->res;
      io_uring_cqe_seen(&ring, done);
      c ? moved(c, result) : accepted(result);
    }
  }
}
