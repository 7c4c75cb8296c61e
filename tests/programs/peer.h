/* One end of a connection, as a process of its own that the kernel tests watch: it moves known bytes
 * in a chosen way and says on stdout what it moved, so that what was captured can be compared.
 *
 * Arguments are key=value; peer.c has the list. Every wait is for a line on stdin or for the peer:
 * nothing here depends on time. */
#ifndef INFERTRAIL_TESTS_PEER_H
#define INFERTRAIL_TESTS_PEER_H

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct connection {
  int fd;
  uint16_t local, remote;   /* ports */
  SSL *ssl;          /* NULL: plain */
  SSL *outer;        /* bio=tunnel: the TLS connection that carries this one */
  int memory_bio;    /* bytes are moved between SSL and socket by hand */
  EVP_MD_CTX *hash[2];   /* of what was received, of what was sent */
  uint64_t moved[2];
  uint64_t want_write, calls;
  BIO *filter;       /* bio=filter: BIO_f_ssl in front of ssl, as openssl s_server has it */
};

const char *option(const char *name, const char *otherwise);
uint64_t number(const char *name, uint64_t otherwise);
void fail(const char *what);

/* io.c */
SSL_CTX *make_context(int server);
void attach_tls(struct connection *c, SSL_CTX *context, int server);
int receive_some(struct connection *c, void *buffer, size_t n);   /* 0 = end */
/* Exactly n bytes. 0 when the peer reset the connection and that is what the test wants. */
int receive(struct connection *c, void *buffer, size_t n);
int transmit(struct connection *c, const void *buffer, size_t n);
void transmit_file(struct connection *c, const char *path, size_t n);
void hash_more(struct connection *c, int direction, const void *buffer, size_t n);

/* tls_forms.c: ways into libssl beside SSL_read and SSL_write. */
void use_early_data(SSL_CTX *context, int server);
void early_handshake(struct connection *c, int server);   /* the ordinary one follows */
void keep_session(struct connection *c);
void prepare_form(struct connection *c);                 /* after the handshake */
int form_call(struct connection *c, void *buffer, size_t n, int write);
ssize_t send_file_tls(struct connection *c, int file, off_t at, size_t n);

#endif
