// A daemon's capture part as a process of its own, so that a test can kill it and start it again: this
// program, executed with kRestartedArgument. What it reads from the rings goes to a journal, a record
// before the ring moves past it; the journals of all its lives together are what was captured.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "kernel/program.h"
#include "kernel/recorder.h"

namespace infertrail::testing_kernel {

constexpr char kRestartedArgument[] = "--restarted-daemon";
// main() of that process: <pin folder> <journal> <selector>… Says "ready" on stdout, and before it what
// it found. SIGKILL is a kill; SIGTERM leaves the capture to the next one; SIGINT detaches.
int restarted_daemon(const std::vector<std::string>& arguments);

// What all journals together say, by stream; repeats are joined by offset.
struct Captured {
  std::map<uint64_t, Stream> flows, objects;           // by cookie, by TLS object
  std::map<uint64_t, abi::flow_open_event> opened;      // by cookie
  std::map<uint64_t, uint64_t> bound;                   // TLS object -> cookie
  uint64_t records = 0, lost = 0;

  // "" when every byte of the connection was captured once and unchanged; else what is wrong.
  std::string wrong(const Told& told, bool tls) const;

 private:
  const Stream* stream_of(uint64_t cookie, bool tls) const;
};

class Restarted {
 public:
  Restarted();
  ~Restarted();   // kills, and removes the pins
  void start(const std::vector<std::string>& selectors);   // until it is ready
  void begin(const std::vector<std::string>& selectors);   // and does not wait
  void kill() { end(9); }
  void hand_over() { end(15); }
  void stop() { end(2); }
  bool runs() const { return pid_ > 0; }
  // A line that it said at its last start, by its first word.
  std::string said(const std::string& word) const;
  const std::string& pins() const { return pins_; }
  Captured captured() const;
  // Until everything is there; then "", else what is wrong after the patience is over.
  std::string wait(const std::vector<Told>& told, bool tls) const;

 private:
  void end(int signal);
  std::string pins_, folder_;
  std::vector<std::string> journals_;
  std::map<std::string, std::string> said_;
  pid_t pid_ = -1;
  int output_ = -1;
};

}  // namespace infertrail::testing_kernel
