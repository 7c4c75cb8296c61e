/* What programs do with connections, for peer.c; tricks.c says what. */
#ifndef INFERTRAIL_TESTS_TRICKS_H
#define INFERTRAIL_TESTS_TRICKS_H

#include "peer.h"

void run_on_cpu(int cpu);
void send_descriptor(int channel, int fd);
int receive_descriptor(int channel);   /* -1: the channel ended */
/* A TCP proxy that knows nothing of what it carries, a process per connection. */
void carry_all(int listener, uint64_t connections, int (*onward)(void));
/* haproxy's header before the first byte; the server checks that it came. */
void proxy_header(int fd, int version, int server);

#endif
