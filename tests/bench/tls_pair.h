// Two TLS objects of one process that talk through memory: the calls of TLS and nothing else. Fails by ending
// the process.
#pragma once

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

namespace infertrail::bench {

[[noreturn]] inline void die(const char* what) {
  std::fprintf(stderr, "%s failed\n", what);
  std::exit(1);
}

inline SSL_CTX* server_context() {
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

}  // namespace infertrail::bench
