/* What programs do with connections: hand them to another process, carry them through a proxy, put a
 * line in front of them. */
#define _GNU_SOURCE
#include "tricks.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

void run_on_cpu(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof(set), &set)) fail("sched_setaffinity");
}

void send_descriptor(int channel, int fd) {
  char byte = 'f', control[CMSG_SPACE(sizeof(int))] = {0};
  struct iovec one = {&byte, 1};
  struct msghdr message = {.msg_iov = &one, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
  struct cmsghdr *head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(head), &fd, sizeof(fd));
  if (sendmsg(channel, &message, 0) != 1) fail("sendmsg");
}

int receive_descriptor(int channel) {
  char byte, control[CMSG_SPACE(sizeof(int))];
  struct iovec one = {&byte, 1};
  struct msghdr message = {.msg_iov = &one, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
  if (recvmsg(channel, &message, MSG_CMSG_CLOEXEC) != 1) return -1;
  struct cmsghdr *head = CMSG_FIRSTHDR(&message);
  int fd = -1;
  if (!head || head->cmsg_type != SCM_RIGHTS) fail("no descriptor came");
  memcpy(&fd, CMSG_DATA(head), sizeof(fd));
  return fd;
}

/* Bytes both ways until both sides have ended. */
static void carry(int a, int b) {
  struct pollfd sides[2] = {{a, POLLIN, 0}, {b, POLLIN, 0}};
  static char buffer[65536];
  for (int open = 2; open > 0;) {
    if (poll(sides, 2, -1) < 0) fail("poll");
    for (int i = 0; i < 2; i++) {
      if (!(sides[i].revents & (POLLIN | POLLHUP | POLLERR))) continue;
      ssize_t n = read(sides[i].fd, buffer, sizeof(buffer));
      int to = i ? a : b;
      for (ssize_t done = 0; done < n;) {
        ssize_t sent = send(to, buffer + done, n - done, MSG_NOSIGNAL);
        if (sent <= 0) fail("proxy: send");
        done += sent;
      }
      if (n > 0) continue;
      shutdown(to, SHUT_WR);
      sides[i].fd = -1;
      open--;
    }
  }
}

void carry_all(int listener, uint64_t connections, int (*onward)(void)) {
  for (uint64_t i = 0; i < connections; i++) {
    int from = accept4(listener, 0, 0, SOCK_CLOEXEC);
    if (from < 0) fail("accept4");
    pid_t child = fork();
    if (child < 0) fail("fork");
    if (child == 0) {
      carry(from, onward());
      _exit(0);
    }
    close(from);
  }
  for (uint64_t i = 0; i < connections; i++) {
    int status;
    if (wait(&status) < 0 || status) fail("a child of the proxy failed");
  }
}

static const char version1[] = "PROXY TCP4 192.0.2.1 192.0.2.2 50000 443\r\n";
static const unsigned char version2[28] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49,
                                           0x54, 0x0a, 0x21, 0x11, 0x00, 0x0c, 192,  0,    2,    1,
                                           192,  0,    2,    2,    0xc3, 0x50, 0x01, 0xbb};

/* One end says what the other expects. */
static void say_in_clear(int fd, int says, const void *text, size_t length, int flags) {
  char got[64];
  if (says && send(fd, text, length, MSG_NOSIGNAL | flags) != (ssize_t)length) fail("send");
  if (!says && (recv(fd, got, length, MSG_WAITALL) != (ssize_t)length || memcmp(got, text, length)))
    fail("not what was expected in clear");
}

/* 3, 4: as 1 and 2, in one segment with what follows; 5: a dialogue as SMTP has it; 6: a byte that may begin TLS,
 * and does not. */
void proxy_header(int fd, int version, int server) {
  if (version == 5) {
    static const char *const kDialogue[] = {"220 ready\r\n", "EHLO me\r\n", "250 STARTTLS\r\n", "STARTTLS\r\n", "220 go\r\n"};
    for (int i = 0; i < 5; i++) say_in_clear(fd, (i % 2 == 0) == server, kDialogue[i], strlen(kDialogue[i]), 0);
    return;
  }
  if (version == 6) {
    say_in_clear(fd, !server, "\x16\x03", 2, 0);
    say_in_clear(fd, server, "what?", 5, 0);
    say_in_clear(fd, !server, "\x16", 1, 0);
    return say_in_clear(fd, !server, "nothing", 7, 0);
  }
  const void *header = version % 2 == 1 ? (const void *)version1 : version2;
  size_t length = version % 2 == 1 ? sizeof(version1) - 1 : sizeof(version2);
  say_in_clear(fd, !server, header, length, version > 2 ? MSG_MORE : 0);
}
