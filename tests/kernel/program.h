// A child process that the tests watch (tests/programs/peer.c). Ended by pid, at the latest by the
// destructor.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace infertrail::testing_kernel {

// A connection as the program itself saw it.
struct Told {
  uint32_t pid = 0;
  uint64_t ssl = 0;
  uint16_t local = 0, remote = 0;
  uint64_t cookie = 0;
  uint64_t in = 0, out = 0, want_write = 0, calls = 0, failed = 0;
  std::string in_sha, out_sha;
};

class Program {
 public:
  // Starts it and, unless it has gate=0, reads until it says that it is ready.
  explicit Program(std::vector<std::string> arguments);
  ~Program();
  Program(const Program&) = delete;

  uint32_t pid() const { return static_cast<uint32_t>(pid_); }
  uint16_t port() const { return port_; }
  void go();                            // lets it pass its next gate
  std::string expect(const std::string& first_word);   // reads up to a line that begins so
  // Lets it do all it has to, and waits until it has: its connections are closed, it still lives.
  const std::vector<Told>& finish();
  void end();                           // waits for its end; its exit code must be 0
  void kill();                          // SIGKILL, and waits
  const std::vector<Told>& told() const { return told_; }

 private:
  bool line(std::string* out);

  pid_t pid_ = -1;
  int in_ = -1, out_ = -1;
  uint16_t port_ = 0;
  std::string rest_;
  std::vector<Told> told_;
  bool finished_ = false;
};

// How long a test waits for something that must come: a guest without KVM is slow.
int patience_seconds();
// This program's own folder.
std::string own_folder();
// The tree of scripts/llama_root.sh, with Debian sid's OpenSSL (3.3 or later, built for CET); may be absent.
std::string newest_openssl();
// An argument of Program: runs with that OpenSSL.
constexpr const char* kNewestOpenssl = "openssl=newest";
// An argument of Program that begins so: another program of the build folder, in the place of it_peer.
constexpr const char* kProgram = "program=";

}  // namespace infertrail::testing_kernel
