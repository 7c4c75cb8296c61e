/* server_microhttpd PORT KEY CERT: libmicrohttpd, whose TLS is GnuTLS; answers as order.py's answer_of says. */
#include <arpa/inet.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *content_of(const char *path) {
  FILE *file = fopen(path, "r");
  static char text[2][16384];
  static int used;
  char *out = text[used++ % 2];
  if (!file) return perror(path), exit(1), NULL;
  out[fread(out, 1, sizeof(text[0]) - 1, file)] = 0;
  fclose(file);
  return out;
}

static enum MHD_Result name_of(void *out, enum MHD_ValueKind kind, const char *key, const char *value) {
  (void)kind, (void)value;
  *(const char **)out = key;
  return MHD_NO;
}

static enum MHD_Result answer(void *nothing, struct MHD_Connection *connection, const char *url, const char *method,
                              const char *version, const char *data, size_t *n, void **state) {
  (void)nothing, (void)method, (void)version, (void)data;
  if (!*state) return *state = (void *)1, MHD_YES;   /* the head; its body follows */
  if (*n) return *n = 0, MHD_YES;
  size_t size = strtoul(url + 3, NULL, 10), at = 0;   /* /x/SIZE?NAME */
  const char *name = "";
  MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, name_of, &name);
  size_t length = strlen(name);
  char *body = malloc(size + 1);
  if (!body) return MHD_NO;
  for (; at < size; at++) body[at] = at % (length + 1) == length ? '\n' : name[length - 1 - at % (length + 1)];
  struct MHD_Response *response = MHD_create_response_from_buffer(size, body, MHD_RESPMEM_MUST_FREE);
  MHD_add_response_header(response, "Content-Type", "text/plain");
  enum MHD_Result queued = MHD_queue_response(connection, 200, response);
  MHD_destroy_response(response);
  return queued;
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct MHD_Daemon *server = MHD_start_daemon(
      MHD_USE_TLS | MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL, answer, NULL, MHD_OPTION_SOCK_ADDR, &at,
      MHD_OPTION_HTTPS_MEM_KEY, content_of(argv[2]), MHD_OPTION_HTTPS_MEM_CERT, content_of(argv[3]),
      MHD_OPTION_THREAD_POOL_SIZE, 4u, MHD_OPTION_LISTEN_BACKLOG_SIZE, 1024u, MHD_OPTION_END);
  if (!server) return fprintf(stderr, "server_microhttpd: does not start\n"), 1;
  for (;;) pause();
}
