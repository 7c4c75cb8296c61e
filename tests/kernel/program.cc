#include "kernel/program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <sstream>

namespace infertrail::testing_kernel {

int patience_seconds() { return std::getenv("VM") ? 120 : 30; }

std::string own_folder() {
  char path[PATH_MAX];
  const ssize_t n = readlink("/proc/self/exe", path, sizeof(path));
  std::string out(path, n > 0 ? static_cast<size_t>(n) : 0);
  return out.substr(0, out.rfind('/'));
}

std::string newest_openssl() { return own_folder() + "/../llama"; }

Program::Program(std::vector<std::string> arguments) {
  int to[2], from[2];
  if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0) std::abort();
  fcntl(from[1], F_SETPIPE_SZ, 1 << 20);   // so that it never waits for a test that reads another
  std::string path = own_folder() + "/it_peer";
  std::vector<std::string> words = {"it_peer"};
  if (auto other = std::find(arguments.begin(), arguments.end(), kNewestOpenssl); other != arguments.end()) {
    arguments.erase(other);
    words = {newest_openssl() + "/usr/lib64/ld-linux-x86-64.so.2", "--library-path",
             newest_openssl() + "/usr/lib/x86_64-linux-gnu", path};
    path = words[0];
  }
  if (auto other = std::find_if(arguments.begin(), arguments.end(),
                                [](const std::string& each) { return each.starts_with(kProgram); });
      other != arguments.end()) {
    path = own_folder() + "/" + other->substr(std::string_view(kProgram).size());
    arguments.erase(other);
  }
  std::vector<char*> argv;
  for (std::string& each : words) argv.push_back(each.data());
  for (std::string& each : arguments) argv.push_back(each.data());
  argv.push_back(nullptr);
  pid_ = fork();
  if (pid_ == 0) {
    dup2(to[0], 0);
    dup2(from[1], 1);
    execv(path.c_str(), argv.data());
    _exit(127);
  }
  close(to[0]);
  close(from[1]);
  in_ = to[1];
  out_ = from[0];
  for (const std::string& each : arguments)
    if (each == "gate=0") return;
  std::istringstream ready(expect("ready"));
  std::string word;
  ready >> word >> word;
  port_ = static_cast<uint16_t>(std::strtoul(word.c_str() + sizeof("port=") - 1, nullptr, 10));
}

Program::~Program() {
  if (in_ >= 0) close(in_);
  if (pid_ > 0) kill();
  if (out_ >= 0) close(out_);
}

void Program::go() {
  if (write(in_, "\n", 1) != 1) ADD_FAILURE() << "the program does not read";
}

bool Program::line(std::string* out) {
  for (;;) {
    const size_t at = rest_.find('\n');
    if (at != std::string::npos) {
      *out = rest_.substr(0, at);
      rest_.erase(0, at + 1);
      return true;
    }
    pollfd readable{out_, POLLIN, 0};
    char buffer[65536];
    if (poll(&readable, 1, patience_seconds() * 1000) <= 0) return false;
    const ssize_t n = read(out_, buffer, sizeof(buffer));
    if (n <= 0) return false;
    rest_.append(buffer, static_cast<size_t>(n));
  }
}

std::string Program::expect(const std::string& first_word) {
  std::string text;
  while (line(&text)) {
    std::istringstream words(text);
    std::string word;
    words >> word;
    if (word == "conn") {
      std::map<std::string, std::string> fields;
      while (words >> word) fields[word.substr(0, word.find('='))] = word.substr(word.find('=') + 1);
      auto number = [&](const char* name, int base) {
        return std::strtoull(fields[name].c_str(), nullptr, base);
      };
      Told told;
      told.pid = static_cast<uint32_t>(number("pid", 10));
      told.ssl = number("ssl", 16);
      told.local = static_cast<uint16_t>(number("local", 10));
      told.remote = static_cast<uint16_t>(number("remote", 10));
      told.cookie = number("cookie", 10);
      told.in = number("in", 10);
      told.out = number("out", 10);
      told.want_write = number("want_write", 10);
      told.calls = number("calls", 10);
      told.failed = number("failed", 10);
      told.in_sha = fields["in_sha"];
      told.out_sha = fields["out_sha"];
      told_.push_back(told);
      continue;
    }
    if (word == first_word) return text;
  }
  ADD_FAILURE() << "the program did not say \"" << first_word << "\"";
  return "";
}

const std::vector<Told>& Program::finish() {
  if (!finished_) expect("done");
  finished_ = true;
  return told_;
}

void Program::end() {
  if (in_ >= 0) close(in_);
  in_ = -1;
  int status = 0;
  if (pid_ > 0 && waitpid(pid_, &status, 0) == pid_) {
    EXPECT_EQ(0, status) << "the program failed";
  }
  pid_ = -1;
}

void Program::kill() {
  ::kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

}  // namespace infertrail::testing_kernel
