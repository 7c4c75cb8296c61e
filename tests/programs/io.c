/* How bytes are moved: every form of read and write that the tests want to see captured. */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

void hash_more(struct connection *c, int direction, const void *buffer, size_t n) {
  EVP_DigestUpdate(c->hash[direction], buffer, n);
  c->moved[direction] += n;
}

SSL_CTX *make_context(int server) {
  SSL_CTX *context = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
  if (!context) fail("SSL_CTX_new");
  int version = !strcmp(option("version", "1.3"), "1.2") ? TLS1_2_VERSION : TLS1_3_VERSION;
  SSL_CTX_set_min_proto_version(context, version);
  SSL_CTX_set_max_proto_version(context, version);
  if (number("partial", 0)) SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE);
  SSL_CTX_set_mode(context, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  if (number("early", 0)) use_early_data(context, server);
  if (number("ktls", 0)) SSL_CTX_set_options(context, SSL_OP_ENABLE_KTLS);
  const char *cipher = option("cipher", "");   /* of TLS 1.2 */
  if (*cipher && SSL_CTX_set_cipher_list(context, cipher) != 1) fail(cipher);
  const char *groups = option("groups", "");
  if (*groups && SSL_CTX_set1_groups_list(context, groups) != 1) fail("groups");
  if (!server) return context;
  EVP_PKEY *key = EVP_EC_gen("P-256");
  X509 *certificate = X509_new();
  X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
  X509_set_pubkey(certificate, key);
  if (!X509_sign(certificate, key, EVP_sha256()) || SSL_CTX_use_certificate(context, certificate) != 1 ||
      SSL_CTX_use_PrivateKey(context, key) != 1)
    fail("certificate");
  X509_free(certificate);
  EVP_PKEY_free(key);
  return context;
}

static void wait_for(int fd, short events) {
  struct pollfd one = {fd, events, 0};
  if (poll(&one, 1, -1) < 0) fail("poll");
}

/* Ciphertext that the SSL object left in its memory BIO goes out. */
static void pump_out(struct connection *c) {
  char buffer[65536];
  int n;
  while ((n = BIO_read(SSL_get_wbio(c->ssl), buffer, sizeof(buffer))) > 0)
    for (int done = 0; done < n;) {
      int at_once = number("drip", 0) ? 1 : n - done;
      ssize_t sent = send(c->fd, buffer + done, at_once, MSG_NOSIGNAL);
      if (sent <= 0) fail("send");
      done += sent;
    }
}

/* 0 = the peer closed */
static int pump_in(struct connection *c) {
  char buffer[16384];
  ssize_t n = recv(c->fd, buffer, sizeof(buffer), 0);
  if (n < 0) fail("recv");
  if (n > 0 && BIO_write(SSL_get_rbio(c->ssl), buffer, n) != n) fail("BIO_write");
  return n > 0;
}

/* After a call that could not finish: makes it possible, or says that the stream is over. */
static int again(struct connection *c, int result) {
  int error = SSL_get_error(c->ssl, result);
  if (c->memory_bio) pump_out(c);
  if (error == SSL_ERROR_WANT_READ) {
    if (c->memory_bio) return pump_in(c);
    wait_for(c->fd, POLLIN);
    return 1;
  }
  if (error == SSL_ERROR_WANT_WRITE) {
    c->want_write++;
    if (number("giveup", 0) && c->want_write >= number("giveup", 0)) return 0;
    if (!c->memory_bio) wait_for(c->fd, POLLOUT);
    return 1;
  }
  return 0;
}

/* A BIO whose socket is another SSL object, as a client has that talks through an HTTPS proxy: SSL
 * calls inside SSL calls. */
static int tunnel_write(BIO *bio, const char *data, int n) { return SSL_write(BIO_get_data(bio), data, n); }
static int tunnel_read(BIO *bio, char *data, int n) { return SSL_read(BIO_get_data(bio), data, n); }
static long tunnel_ctrl(BIO *bio, int command, long n, void *p) {
  (void)bio, (void)n, (void)p;
  return command == BIO_CTRL_FLUSH;
}

static BIO *tunnel(SSL *outer) {
  static BIO_METHOD *method;
  if (!method) {
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "tunnel");
    BIO_meth_set_write(method, tunnel_write);
    BIO_meth_set_read(method, tunnel_read);
    BIO_meth_set_ctrl(method, tunnel_ctrl);
  }
  BIO *bio = BIO_new(method);
  BIO_set_data(bio, outer);
  BIO_set_init(bio, 1);
  return bio;
}

void attach_tls(struct connection *c, SSL_CTX *context, int server) {
  c->ssl = SSL_new(context);
  if (!c->ssl) fail("SSL_new");
  if (!strcmp(option("bio", "socket"), "tunnel")) {
    c->outer = c->ssl;
    if (SSL_set_fd(c->outer, c->fd) != 1) fail("SSL_set_fd");
    if ((server ? SSL_accept(c->outer) : SSL_connect(c->outer)) != 1) fail("outer handshake");
    c->ssl = SSL_new(context);
    BIO *bio = tunnel(c->outer);
    SSL_set_bio(c->ssl, bio, bio);
    if ((server ? SSL_accept(c->ssl) : SSL_connect(c->ssl)) != 1) fail("inner handshake");
    return;
  }
  c->memory_bio = !strcmp(option("bio", "socket"), "memory");
  if (c->memory_bio)
    SSL_set_bio(c->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  else if (SSL_set_fd(c->ssl, c->fd) != 1)
    fail("SSL_set_fd");
  early_handshake(c, server);
  for (;;) {
    int result = server ? SSL_accept(c->ssl) : SSL_connect(c->ssl);
    if (c->memory_bio) pump_out(c);
    if (result == 1) return prepare_form(c);
    if (!again(c, result)) fail("handshake");
  }
}

struct job {
  struct connection *c;
  void *buffer;
  size_t n;
  int write, result;
};

static int one_call(struct connection *c, void *buffer, size_t n, int write) {
  c->calls++;
  return form_call(c, buffer, n, write);
}

static void *run_job(void *argument) {
  struct job *job = argument;
  job->result = one_call(job->c, job->buffer, job->n, job->write);
  return 0;
}

/* With threads=1 each call is made by a thread of its own: the object moves between threads. */
static int tls_call(struct connection *c, void *buffer, size_t n, int write) {
  for (;;) {
    struct job job = {c, buffer, n, write, 0};
    pthread_t thread;
    if (!number("threads", 0))
      run_job(&job);
    else if (pthread_create(&thread, 0, run_job, &job) || pthread_join(thread, 0))
      fail("pthread");
    if (c->memory_bio) pump_out(c);
    if (job.result > 0) return job.result;
    if (!again(c, job.result)) return 0;
  }
}

int receive_some(struct connection *c, void *buffer, size_t n) {
  if (number("peek", 0) && !c->ssl && recv(c->fd, buffer, n, MSG_PEEK) < 0) fail("peek");
  ssize_t got = c->ssl ? tls_call(c, buffer, n, 0) : recv(c->fd, buffer, n, 0);
  if (got < 0 && number("reset", 0)) return 0;
  if (got < 0) fail("recv");
  hash_more(c, 0, buffer, got);
  return (int)got;
}

int receive(struct connection *c, void *buffer, size_t n) {
  size_t at_once = number("read_size", 1 << 20);
  for (size_t done = 0; done < n;) {
    size_t want = n - done < at_once ? n - done : at_once;
    int got = receive_some(c, (char *)buffer + done, want);
    if (got <= 0 && (number("reset", 0) || number("giveup", 0))) return 0;
    if (got <= 0) fail("the peer ended early");
    done += got;
  }
  return 1;
}

int transmit(struct connection *c, const void *buffer, size_t n) {
  size_t at_once = number("write_size", 1 << 30);
  for (size_t done = 0; done < n;) {
    size_t want = n - done < at_once ? n - done : at_once;
    const char *from = (const char *)buffer + done;
    ssize_t sent = c->ssl ? tls_call(c, (void *)from, want, 1) : send(c->fd, from, want, MSG_NOSIGNAL);
    if (sent <= 0 && (number("reset", 0) || number("giveup", 0))) return 0;
    if (sent <= 0) fail("write");
    hash_more(c, 1, from, sent);
    done += sent;
  }
  return 1;
}

void transmit_file(struct connection *c, const char *path, size_t n) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) fail(path);
  off_t at = 0;
  while ((size_t)at < n) {
    off_t from = at;
    ssize_t sent = c->ssl ? send_file_tls(c, file, at, n - at) : sendfile(c->fd, file, &at, n - at);
    if (sent <= 0) fail("sendfile");
    if (c->ssl) at += sent;
    char buffer[65536];
    for (ssize_t done = 0; done < sent;) {
      ssize_t part = sent - done < (ssize_t)sizeof(buffer) ? sent - done : (ssize_t)sizeof(buffer);
      part = pread(file, buffer, part, from + done);
      if (part <= 0) fail("pread");
      hash_more(c, 1, buffer, part);
      done += part;
    }
  }
  close(file);
}
