/* Ways into libssl beside SSL_read and SSL_write: BIO_f_ssl, SSL_write_ex2, peeks, early data, references,
 * SSL_sendfile. */
#define _GNU_SOURCE
#include "peer.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* --- early data (0-RTT): the second connection begins with it ----------------------------------- */

static SSL_SESSION *session;

void use_early_data(SSL_CTX *context, int server) {
  if (server) {
    SSL_CTX_set_max_early_data(context, 1 << 20);
    SSL_CTX_set_recv_max_early_data(context, 1 << 20);
    SSL_CTX_set_options(context, SSL_OP_NO_ANTI_REPLAY);
    if (SSL_CTX_set_session_id_context(context, (const unsigned char *)"it", 2) != 1) fail("session id");
  } else {
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT);
  }
}

void keep_session(struct connection *c) {
  if (!number("early", 0) || session || SSL_is_server(c->ssl)) return;
  session = SSL_get1_session(c->ssl);
}

static void early_client(struct connection *c) {
  if (!session) return;
  size_t n = number("early", 0), done = 0;
  char *bytes = malloc(n);
  if (!bytes) fail("memory");
  memset(bytes, 'e', n);
  if (SSL_set_session(c->ssl, session) != 1) fail("SSL_set_session");
  while (done < n) {
    size_t written = 0;
    if (SSL_write_early_data(c->ssl, bytes + done, n - done, &written) != 1) fail("SSL_write_early_data");
    hash_more(c, 1, bytes + done, written);
    done += written;
  }
  free(bytes);
}

static void early_server(struct connection *c) {
  char buffer[4096];
  for (;;) {
    size_t got = 0;
    int state = SSL_read_early_data(c->ssl, buffer, sizeof(buffer), &got);
    if (state == SSL_READ_EARLY_DATA_ERROR) fail("SSL_read_early_data");
    hash_more(c, 0, buffer, got);
    if (state == SSL_READ_EARLY_DATA_FINISH) return;
  }
}

void early_handshake(struct connection *c, int server) {
  if (!number("early", 0)) return;
  server ? early_server(c) : early_client(c);
}

/* --- calls ---------------------------------------------------------------------------------------- */

static void *gone_from;
static size_t gone_size;

/* The pages of the call under way leave as soon as their ciphertext has been handed on. */
static long drop_pages(BIO *bio, int operation, const char *data, size_t n, int command, long value, int result,
                       size_t *done) {
  (void)bio, (void)data, (void)n, (void)command, (void)value, (void)done;
  if (operation == (BIO_CB_WRITE | BIO_CB_RETURN) && gone_from && madvise(gone_from, gone_size, MADV_DONTNEED))
    fail("madvise");
  return result;
}

void prepare_form(struct connection *c) {
  if (number("gone", 0)) BIO_set_callback_ex(SSL_get_wbio(c->ssl), drop_pages);
  if (number("references", 0)) {   /* two owners; one lets go */
    if (SSL_up_ref(c->ssl) != 1) fail("SSL_up_ref");
    SSL_free(c->ssl);
  }
  if (!strcmp(option("bio", "socket"), "filter")) {
    c->filter = BIO_new(BIO_f_ssl());
    if (!c->filter || BIO_set_ssl(c->filter, c->ssl, BIO_NOCLOSE) != 1) fail("BIO_set_ssl");
  }
}

/* OpenSSL 3.3 and later; by name, because we are built with an older one. */
typedef int write_ex2(SSL *, const void *, size_t, uint64_t, size_t *);

int form_call(struct connection *c, void *buffer, size_t n, int write) {
  const char *form = option(write ? "write" : "read", "plain");
  size_t moved = 0;
  if (write && number("gone", 0)) {
    size_t size = (n + 4095) & ~4095ull;
    void *copy = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED) fail("mmap");
    memcpy(copy, buffer, n);
    gone_from = copy, gone_size = size;
    int result = SSL_write(c->ssl, copy, (int)n);
    gone_from = 0;
    munmap(copy, size);
    return result;
  }
  if (!write && number("peek", 0)) {   /* sees the same bytes, and must not count */
    int first = c->calls % 2 ? SSL_peek(c->ssl, buffer, (int)n) : SSL_peek_ex(c->ssl, buffer, n, &moved);
    if (first <= 0) return first;
  }
  if (c->filter) return write ? BIO_write(c->filter, buffer, (int)n) : BIO_read(c->filter, buffer, (int)n);
  if (!strcmp(form, "ex"))
    return (write ? SSL_write_ex(c->ssl, buffer, n, &moved) : SSL_read_ex(c->ssl, buffer, n, &moved)) ? (int)moved : 0;
  if (!strcmp(form, "ex2")) {
    write_ex2 *call = (write_ex2 *)dlsym(RTLD_DEFAULT, "SSL_write_ex2");
    if (!call) fail("no SSL_write_ex2 here");
    return call(c->ssl, buffer, n, 0, &moved) ? (int)moved : 0;
  }
  return write ? SSL_write(c->ssl, buffer, (int)n) : SSL_read(c->ssl, buffer, (int)n);
}

ssize_t send_file_tls(struct connection *c, int file, off_t at, size_t n) {
  if (!BIO_get_ktls_send(SSL_get_wbio(c->ssl))) fail("this kernel does not encrypt (tls module)");
  return SSL_sendfile(c->ssl, file, at, n, 0);
}
