// Intake, workers and trail with a carry, killed again and again (kill -9 of a child; the carry is shared
// memory that outlives it): the trail holds the same records as without any kill, none missing, none twice.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "daemon/carry.h"
#include "daemon/clock.h"
#include "daemon/intake.h"
#include "daemon/worker.h"
#include "trail/reader.h"
#include "unit/daemon/all_targets.h"
#include "unit/daemon/carry_script.h"
#include "unit/fake_proc.h"

namespace infertrail {
namespace {

template <typename T>
T must(Result<T> result) {
  if (!result.ok()) {
    std::fprintf(stderr, "%s\n", result.error().message.c_str());
    _exit(2);   // of the child
  }
  return std::move(result.value());
}

// --- the daemon without a kernel ------------------------------------------------------------------

// What outlives it.
struct Shared {
  std::atomic<uint64_t> position;     // of the rings' reader
  std::atomic<uint64_t> die_at;       // the record in whose handling it is killed; UINT64_MAX: none
  std::atomic<bool> die_late;         // when it was handled, and the ring does not know
  std::atomic<bool> ready;
  std::atomic<uint64_t> evictions, replayed, unkept;
};

class FakeDaemon {
 public:
  FakeDaemon(const Script& script, Shared& shared, std::span<std::byte> memory, const std::string& dir, FakeProc& proc)
      : script_(script), shared_(shared), proc_(proc), resolver_(proc.root()),
        carry_(memory, {"boot", 1, 64u << 10}) {
    trail::TrailOptions options;
    options.dir = dir;
    options.origin = "test/carry";
    options.boot_id = "boot";
    options.index = false;
    options.on_sequenced = [this](uint64_t index, const std::string&) {
      if (Carry* carry = marking_) carry->mark(index + 1);
    };
    trail_ = must(trail::TrailWriter::open(options));
    credentials_ = std::make_unique<Credentials>(must(Credentials::open(dir + "/credential.key")));
    WorkerOptions worker;
    worker.session.conversation.max_body_bytes = 32u << 10;
    worker.carry = &carry_;
    if (carry_.found().adopted)
      worker.written = std::make_shared<const WrittenExchanges>(must(written_since(dir, carry_.found().mark)));
    else
      marking_ = &carry_;
    for (int i = 0; i < 2; i++)
      workers_.push_back(std::make_unique<Worker>(
          worker, std::make_unique<Pipeline>(must(Masker::make({})), *credentials_, *trail_, counts_, true)));
    intake_ = std::make_unique<Intake>(
        targets_, resolver_, coverage_, workers_.size(),
        [this](size_t worker, std::vector<StreamMessage> batch) { workers_[worker]->push(std::move(batch)); }, nullptr, &carry_);
    shared_.replayed += carry_.found().streams;
    shared_.unkept += carry_.found().unkept;
    intake_->replay({[this](std::string_view record) { control(record, true); }, [this](std::string_view record) { data(record); }});
  }

  void run() {
    shared_.ready = true;
    while (shared_.position < script_.records.size()) {
      const uint64_t at = shared_.position;
      if (at == shared_.die_at && !shared_.die_late) raise(SIGKILL);
      const std::string& record = script_.records[at];
      const auto type = reinterpret_cast<const abi::event_header*>(record.data())->type;
      if (type < IT_EXEC) data(record);
      else control(record, false);
      if (at == shared_.die_at) raise(SIGKILL);
      shared_.position = at + 1;
      if (at + 1 == script_.gone_at) proc_.process(kEnds, "another", "/bin/another", 9999);
      if (at % 20 == 0) round(record);
    }
    for (int i = 0; i < 3; i++) round(script_.records.back());
    workers_.clear();
    EXPECT_TRUE(trail_->close().ok());
    shared_.evictions += carry_.counts().evictions;
    shared_.unkept += carry_.counts().unkept;
    EXPECT_EQ(0u, carry_.counts().streams) << "everything is durable: nothing is left";
    EXPECT_EQ(0u, carry_.counts().live);
  }

 private:
  // The data ring is empty.
  void round(const std::string& last) {
    for (const std::string& record : std::exchange(later_, {})) deliver(record);
    intake_->flush();
    intake_->tick({}, unix_time_ns(reinterpret_cast<const abi::event_header*>(last.data())->time_ns));
    intake_->flush();
    bool seen = true;
    for (auto& worker : workers_) seen = seen && worker->ticks() >= 2;
    if (seen) marking_ = &carry_;
  }

  template <typename T>
  static const T& as(std::string_view record) { return *reinterpret_cast<const T*>(record.data()); }

  void control(std::string_view record, bool held_before) {
    const auto& header = as<abi::event_header>(record);
    const bool ends = header.type == IT_FLOW_CLOSE || header.type == IT_TLS_CLOSE || header.type == IT_EXIT || header.type == IT_LOSS;
    if (!ends) return deliver(std::string(record));
    if (!held_before) intake_->on_held(header, record);
    later_.emplace_back(record);
  }

  void deliver(const std::string& record) {
    switch (as<abi::event_header>(record).type) {
      case IT_EXIT: return intake_->on_exit(as<abi::process_event>(record));
      case IT_FLOW_OPEN: return intake_->on_flow_open(as<abi::flow_open_event>(record));
      case IT_FLOW_CLOSE: return intake_->on_flow_close(as<abi::flow_close_event>(record));
      case IT_FLOW_OWNER: return intake_->on_flow_owner(as<abi::flow_owner_event>(record));
      case IT_FLOW_TLS_BEGINS: return intake_->on_flow_tls(as<abi::flow_tls_event>(record));
      case IT_TLS_OPEN: return intake_->on_tls_open(as<abi::tls_open_event>(record));
      case IT_TLS_CLOSE: return intake_->on_tls_close(as<abi::tls_close_event>(record));
      case IT_BIND: return intake_->on_bind(as<abi::bind_event>(record));
      case IT_LOSS: return intake_->on_loss(as<abi::loss_event>(record));
      default: FAIL() << "type " << as<abi::event_header>(record).type;
    }
  }

  void data(std::string_view record) {
    const auto& event = as<abi::data_event>(record);
    if (event.header.type == IT_ORPHAN_DATA)
      return intake_->on_orphan(as<abi::orphan_event>(record), record.substr(sizeof(abi::orphan_event), event.length));
    intake_->on_data(event, record.substr(sizeof(event), event.length));
  }

  const Script& script_;
  Shared& shared_;
  FakeProc& proc_;
  Resolver resolver_;
  AllTargets targets_{200};
  Coverage coverage_;
  Carry carry_;
  std::atomic<Carry*> marking_{nullptr};
  PipelineCounts counts_;
  std::unique_ptr<Credentials> credentials_;
  std::unique_ptr<trail::TrailWriter> trail_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<Intake> intake_;
  std::vector<std::string> later_;
};

// The trail's exchanges by (tls, stream, number), without what differs between two runs.
std::map<std::tuple<bool, uint64_t, uint32_t>, std::vector<std::string>> exchanges(const std::string& dir) {
  std::map<std::tuple<bool, uint64_t, uint32_t>, std::vector<std::string>> out;
  auto reader = trail::Reader::open(dir, {false});
  EXPECT_TRUE(reader.ok());
  const uint64_t size = reader.value()->size().value();
  for (uint64_t i = 0; i < size; i++) {
    Record record = reader.value()->read(i).value();
    if (record.flow().exchange_number() == 0) continue;
    for (const char* name : {"id", "index", "time", "end_time", "duration_ms", "first_byte_ms", "salt"})
      record.GetReflection()->ClearField(&record, record.GetDescriptor()->FindFieldByName(name));
    record.mutable_principal()->clear_id();   // by a key that each trail makes
    out[{record.flow().tls(), record.flow().stream(), record.flow().exchange_number()}].push_back(record.DebugString());
  }
  return out;
}

class CarryReplay : public testing::Test {
 protected:
  CarryReplay() { mkdtemp(folder_); }
  ~CarryReplay() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  template <typename T>
  static T* share(size_t bytes) {
    void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return at == MAP_FAILED ? nullptr : static_cast<T*>(at);
  }
  static void set_up(FakeProc& proc) {
    proc.write("stat", "btime 1000\n");
    proc.process(kServer, "server", "/bin/server");
    proc.process(kEnds, "ends", "/bin/ends");
  }
  // -> how often it was killed
  int run(const Script& script, const std::string& dir, size_t carry_bytes, std::mt19937* chance, Shared* shared) {
    FakeProc proc;
    set_up(proc);
    auto* memory = share<std::byte>(carry_bytes);
    int kills = 0;
    for (;; kills++) {
      shared->ready = false;
      shared->die_at = UINT64_MAX;
      const bool by_place = chance && (*chance)() % 2 == 0;
      if (by_place) {
        shared->die_at = shared->position + (*chance)() % 150;
        shared->die_late = (*chance)() % 2 == 0;
      }
      const pid_t child = fork();
      if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        {
          FakeDaemon daemon(script, *shared, {memory, carry_bytes}, dir, proc);
          daemon.run();
        }
        _exit(testing::Test::HasFailure() ? 1 : 0);
      }
      if (chance && !by_place) {
        if ((*chance)() % 4 != 0)
          while (!shared->ready && kill(child, 0) == 0) usleep(100);   // else it dies while it starts
        usleep((*chance)() % 20000);
        kill(child, SIGKILL);
      }
      int status = 0;
      waitpid(child, &status, 0);
      if (WIFEXITED(status)) {
        EXPECT_EQ(0, WEXITSTATUS(status));
        munmap(memory, carry_bytes);
        return kills;
      }
      EXPECT_EQ(SIGKILL, WTERMSIG(status));
      if (WTERMSIG(status) != SIGKILL || kills > 2000) return -1;
    }
  }

  // Other scripts and other kills: IT_SEED=100.
  static uint32_t first_seed() {
    const char* asked = std::getenv("IT_SEED");
    return asked ? static_cast<uint32_t>(std::strtoul(asked, nullptr, 10)) : 1;
  }

  char folder_[32] = "/dev/shm/infertrail-XXXXXX";
};

TEST_F(CarryReplay, TheTrailIsTheSameAsWithoutAnyKill) {
  int kills = 0;
  uint64_t compared = 0, replayed = 0;
  for (uint32_t seed = first_seed(); seed < first_seed() + 6; seed++) {
    const Script script(seed);
    const std::string calm = folder_ + ("/calm" + std::to_string(seed)), killed = folder_ + ("/killed" + std::to_string(seed));
    auto* shared = share<Shared>(sizeof(Shared));
    ASSERT_EQ(0, run(script, calm, 32u << 20, nullptr, shared));
    std::memset(static_cast<void*>(shared), 0, sizeof(Shared));
    std::mt19937 chance(seed);
    const int times = run(script, killed, 32u << 20, &chance, shared);
    ASSERT_GE(times, 0);
    kills += times;
    replayed += shared->replayed;
    EXPECT_EQ(0u, shared->evictions);
    const auto expected = exchanges(calm), found = exchanges(killed);
    ASSERT_GT(expected.size(), 100u);
    for (auto& [key, records] : expected) {
      ASSERT_EQ(1u, records.size());
      auto at = found.find(key);
      ASSERT_NE(found.end(), at) << "seed " << seed << " is missing: " << records[0].substr(0, 2000);
      ASSERT_EQ(1u, at->second.size()) << "seed " << seed << " is doubled: " << records[0].substr(0, 2000);
      ASSERT_EQ(records[0], at->second[0]) << "seed " << seed;
      compared++;
    }
    ASSERT_EQ(expected.size(), found.size());
    munmap(shared, sizeof(Shared));
  }
  EXPECT_GT(kills, 12);
  EXPECT_GT(replayed, 50u);
  std::printf("%d kills, %lu streams taken up, %lu exchanges compared\n", kills, replayed, compared);
}

// Too little memory for what is open: what had to go is named, with the reason, and nothing else suffers.
TEST_F(CarryReplay, WhatDidNotFitIsNamedAfterAKill) {
  int kills = 0;
  uint64_t named = 0;
  for (uint32_t seed = first_seed(); seed < first_seed() + 4; seed++) {
    const Script script(seed);
    const std::string calm = folder_ + ("/calm" + std::to_string(seed)), killed = folder_ + ("/killed" + std::to_string(seed));
    auto* shared = share<Shared>(sizeof(Shared));
    constexpr size_t kLittle = carry::kHeaderBytes + 8 * (64u << 10);
    ASSERT_EQ(0, run(script, calm, kLittle, nullptr, shared));
    std::memset(static_cast<void*>(shared), 0, sizeof(Shared));
    std::mt19937 chance(seed);
    const int times = run(script, killed, kLittle, &chance, shared);
    ASSERT_GE(times, 0);
    kills += times;
    EXPECT_EQ(0u, shared->unkept);
    const auto expected = exchanges(calm), found = exchanges(killed);
    std::set<std::pair<bool, uint64_t>> incomplete;
    for (auto& [key, records] : found)
      for (const std::string& record : records)
        if (record.find("reason: \"daemon_down\"") != std::string::npos)
          incomplete.insert({std::get<0>(key), std::get<1>(key)});
    for (auto& [key, records] : found) {
      if (incomplete.contains({std::get<0>(key), std::get<1>(key)})) continue;
      ASSERT_EQ(1u, records.size()) << "doubled: " << records[0].substr(0, 2000);
    }
    named += incomplete.size();
    for (auto& [key, records] : expected) {
      if (incomplete.contains({std::get<0>(key), std::get<1>(key)})) continue;
      auto at = found.find(key);
      ASSERT_NE(found.end(), at) << "missing without a word: " << std::get<2>(key) << records[0].substr(0, 2000);
      ASSERT_EQ(records[0], at->second[0]) << "seed " << seed;
    }
    munmap(shared, sizeof(Shared));
  }
  EXPECT_GT(kills, 6);
  EXPECT_GT(named, 0u);
  std::printf("%d kills, %lu streams say daemon_down\n", kills, named);
}

}  // namespace
}  // namespace infertrail
