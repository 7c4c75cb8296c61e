#include "kernel/restarted.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/file.h"
#include "capture/events.h"
#include "capture/pins.h"
#include "capture/probes.h"
#include "capture/targets.h"

namespace infertrail::testing_kernel {
namespace {

volatile sig_atomic_t asked = 0;

struct Entry {
  uint32_t size;
  uint32_t reserved;
};

// Each record reaches the file before the handler returns, and so before the ring's position moves.
class Journal : public Recorder {
 public:
  Journal(Targets& targets, int file) : Recorder(targets), file_(file) {}
  void on_flow_open(const abi::flow_open_event& event) override { put(&event, sizeof(event)); }
  void on_bind(const abi::bind_event& event) override { put(&event, sizeof(event)); }
  void on_loss(const abi::loss_event& event) override { put(&event, sizeof(event)); }
  void on_flow_close(const abi::flow_close_event&) override {}
  void on_flow_owner(const abi::flow_owner_event&) override {}
  void on_flow_tls(const abi::flow_tls_event&) override {}
  void on_tls_open(const abi::tls_open_event&) override {}
  void on_tls_close(const abi::tls_close_event&) override {}
  void on_orphan(const abi::orphan_event&, std::string_view) override {}
  void on_data(const abi::data_event& event, std::string_view payload) override {
    put(&event, sizeof(event) + payload.size());
  }

 private:
  void put(const void* record, size_t size) {
    std::string out(sizeof(Entry), '\0');
    const Entry entry{static_cast<uint32_t>(size), 0};
    std::memcpy(out.data(), &entry, sizeof(entry));
    out.append(static_cast<const char*>(record), size);
    out.resize((out.size() + 7) / 8 * 8);
    if (write(file_, out.data(), out.size()) != static_cast<ssize_t>(out.size())) _exit(4);
  }
  const int file_;
};

int complain(const Error& error) {
  std::printf("error %s\nready\n", error.message.c_str());
  std::fflush(stdout);
  return 1;
}

void say_what_was_found(const Probes& probes) {
  const Adoption& before = probes.adoption();
  std::printf("adopted %d %s pid=%u records=%lu\n", before.adopted, before.handed_over ? "handed_over" : "killed",
              before.pid, before.data.records + before.control.records);
  for (const Abandoned& each : probes.abandoned())
    std::printf("abandoned records=%lu bytes=%lu\n", each.data.records + each.control.records, each.data.bytes);
  std::printf("ready\n");
  std::fflush(stdout);
}

}  // namespace

int restarted_daemon(const std::vector<std::string>& arguments) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  spdlog::set_default_logger(spdlog::stderr_color_mt("restarted"));   // stdout is a pipe that is closed
  spdlog::set_level(spdlog::level::warn);
  for (int signal : {SIGTERM, SIGINT}) ::signal(signal, [](int number) { asked = number; });
  Fd journal(::open(arguments[1].c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  ProbeOptions options;
  options.pin_root = arguments[0];
  options.carry_bytes = 1 << 20;
  auto opened = Probes::open(options);
  if (!opened.ok()) return complain(opened.error());
  Probes& probes = *opened.value();
  auto targets = std::make_unique<Targets>(probes);
  Journal handler(*targets, journal.get());
  auto events = Events::open(probes, handler);
  if (!events.ok()) return complain(events.error());
  // As Daemon::start_capture.
  const bool adopted = probes.adoption().adopted;
  if (adopted)
    targets->adopt();
  else
    probes.arm();
  for (size_t i = 2; i < arguments.size(); i++)
    if (auto status = targets->add(arguments[i]); !status.ok()) return complain(status.error());
  if (adopted) {
    targets->restored();
    probes.arm();
  }
  say_what_was_found(probes);
  auto next = std::chrono::steady_clock::now();
  while (!asked) {
    if (auto status = events.value()->round(5); !status.ok()) return complain(status.error());
    targets->attach_pending();
    if (std::chrono::steady_clock::now() < next) continue;
    probes.retire();
    next += std::chrono::seconds(1);
  }
  if (asked == SIGTERM) probes.leave();
  events.value().reset();
  targets.reset();
  return 0;
}

// One name: what a run that was ended in the middle left is removed by the next.
Restarted::Restarted() : pins_("/sys/fs/bpf/infertrail-test") {
  if (auto removed = detach_leftovers(pins_); !removed.ok()) ADD_FAILURE() << removed.error().message;
  char folder[] = "/tmp/infertrail-restart-XXXXXX";
  if (!mkdtemp(folder)) ADD_FAILURE() << "no folder for journals";
  folder_ = folder;
}

Restarted::~Restarted() {
  if (pid_ > 0) kill();
  auto removed = detach_leftovers(pins_);
  EXPECT_TRUE(removed.ok()) << removed.error().message;
  for (const std::string& path : journals_) unlink(path.c_str());
  rmdir(folder_.c_str());
}

void Restarted::begin(const std::vector<std::string>& selectors) {
  journals_.push_back(folder_ + "/" + std::to_string(journals_.size()));
  std::string self = own_folder() + "/kernel_tests";
  std::vector<std::string> words = {self, kRestartedArgument, pins_, journals_.back()};
  words.insert(words.end(), selectors.begin(), selectors.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  int from[2];
  ASSERT_EQ(0, pipe2(from, O_CLOEXEC));
  pid_ = fork();
  if (pid_ == 0) {
    dup2(from[1], 1);
    execv(self.c_str(), argv.data());
    _exit(127);
  }
  close(from[1]);
  output_ = from[0];
}

void Restarted::start(const std::vector<std::string>& selectors) {
  begin(selectors);
  said_.clear();
  Owned<FILE, fclose> lines(fdopen(std::exchange(output_, -1), "r"));
  char line[512];
  bool ready = false;
  while (!ready && fgets(line, sizeof(line), lines.get())) {
    std::istringstream words_of_it(line);
    std::string word;
    words_of_it >> word;
    ready = word == "ready";
    said_[word] = line;
  }
  EXPECT_TRUE(ready) << "the daemon part did not start";
}

std::string Restarted::said(const std::string& word) const {
  auto at = said_.find(word);
  return at == said_.end() ? "" : at->second;
}

void Restarted::end(int signal) {
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) == pid_) {
    ADD_FAILURE() << "the daemon part ended by itself: " << status;
  } else {
    ::kill(pid_, signal);
    waitpid(pid_, &status, 0);
  }
  pid_ = -1;
  if (output_ >= 0) close(std::exchange(output_, -1));
}

Captured Restarted::captured() const {
  Captured out;
  for (const std::string& path : journals_) {
    auto text = read_file(path);
    if (!text.ok()) continue;
    const std::string& all = text.value();
    // A record that was cut by a kill is the last one; the next life wrote it again.
    for (size_t at = 0; at + sizeof(Entry) <= all.size();) {
      Entry entry;
      std::memcpy(&entry, all.data() + at, sizeof(entry));
      const size_t step = (sizeof(entry) + entry.size + 7) / 8 * 8;
      if (at + step > all.size()) break;
      const char* record = all.data() + at + sizeof(entry);
      at += step;
      out.records++;
      const auto& header = *reinterpret_cast<const abi::event_header*>(record);
      if (header.type == IT_FLOW_OPEN) {
        const auto& event = *reinterpret_cast<const abi::flow_open_event*>(record);
        out.opened[event.cookie] = event;
      } else if (header.type == IT_BIND) {
        const auto& event = *reinterpret_cast<const abi::bind_event*>(record);
        out.bound[event.object] = event.cookie;
      } else if (header.type == IT_LOSS) {
        out.lost++;
      } else {
        const auto& event = *reinterpret_cast<const abi::data_event*>(record);
        auto& streams = header.type == IT_TLS_DATA ? out.objects : out.flows;
        streams[event.stream].half[event.direction].add(event.offset, {record + sizeof(event), event.length});
      }
    }
  }
  return out;
}

namespace {

std::string difference(const Stream& stream, const Told& told) {
  const Half& in = stream.half[IT_IN];
  const Half& out = stream.half[IT_OUT];
  if (in.contradiction || out.contradiction) return "two records disagree";
  if (in.seen_bytes() != told.in || out.seen_bytes() != told.out)
    return "in " + std::to_string(in.seen_bytes()) + " of " + std::to_string(told.in) + ", out " +
           std::to_string(out.seen_bytes()) + " of " + std::to_string(told.out);
  if (in.sha() != told.in_sha || out.sha() != told.out_sha) return "other bytes";
  return "";
}

}  // namespace

const Stream* Captured::stream_of(uint64_t cookie, bool tls) const {
  if (!tls) return flows.contains(cookie) ? &flows.at(cookie) : nullptr;
  for (auto& [object, its] : bound)
    if (its == cookie && objects.contains(object)) return &objects.at(object);
  return nullptr;
}

std::string Captured::wrong(const Told& told, bool tls) const {
  std::string problem = "no such connection was captured";
  for (auto& [cookie, event] : opened) {
    if (event.addresses.local_port != told.local || event.addresses.remote_port != told.remote) continue;
    const Stream* stream = stream_of(cookie, tls);
    problem = stream ? difference(*stream, told) : "its bytes were not captured";
    if (problem.empty()) return "";   // else a later connection may have the same ports
  }
  return "port " + std::to_string(told.remote) + ": " + problem;
}

std::string Restarted::wait(const std::vector<Told>& told, bool tls) const {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(patience_seconds());
  for (;;) {
    const Captured now = captured();
    std::string problems;
    for (const Told& each : told)
      if (std::string wrong = now.wrong(each, tls); !wrong.empty()) problems += wrong + "\n";
    int status = 0;
    if (pid_ > 0 && waitpid(pid_, &status, WNOHANG) == pid_)
      return problems + "the daemon part ended by itself: " + std::to_string(status) + "\n";
    if (problems.empty() || std::chrono::steady_clock::now() > end) return problems;
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
}

}  // namespace infertrail::testing_kernel
