// Intake, workers and trail with a carry, killed again and again (kill -9 of a child; the carry is shared
// memory that outlives it): the trail holds the same records as without any kill, none missing, none twice.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <thread>

#include "daemon/carry.h"
#include "daemon/clock.h"
#include "daemon/intake.h"
#include "daemon/worker.h"
#include "trail/reader.h"
#include "unit/fake_proc.h"

namespace infertrail {
namespace {

class AllTargets : public TargetEvents {
 public:
  void on_exec(uint32_t, const ProcessFacts&, uint32_t) override {}
  void on_fork(uint32_t, uint32_t) override {}
  void on_exit(uint32_t) override {}
  void on_mapped(uint32_t) override {}
  void on_listen(uint32_t, uint16_t) override {}
  void on_refused_tls(uint32_t) override {}
  void attach_pending() override {}
  bool is_target(uint32_t tgid) const override { return tgid < 200; }
  void note_flow(uint32_t, bool) override {}
  void note_bound(uint32_t) override {}
  void note_blind(uint32_t) override {}
};

// --- what the kernel says: a script of records ---------------------------------------------------

constexpr uint32_t kServer = 100, kEnds = 101;   // processes; the second ends, and its pid is another's then

template <typename T>
T event(uint16_t type) {
  T out{};
  out.header.type = type;
  out.header.size = sizeof(T);
  return out;
}

template <typename T>
std::string raw(const T& event, std::string_view payload = {}) {
  return std::string(reinterpret_cast<const char*>(&event), sizeof(event)) + std::string(payload);
}

class Script {
 public:
  explicit Script(uint32_t seed) : random_(seed) {
    std::vector<std::deque<std::string>> waiting;
    for (uint64_t id = 1; id <= 40; id++) waiting.push_back(talk(id));
    // First those of the process that ends, with some others in between.
    interleave(waiting, [](size_t i) { return i < 20; });
    auto exit = event<abi::process_event>(IT_EXIT);
    exit.tgid = kEnds;
    records.push_back(raw(exit));
    gone_at = records.size();
    interleave(waiting, [](size_t) { return true; });
    const uint64_t begin = monotonic_now_ns() - records.size() * 100'000;
    for (size_t i = 0; i < records.size(); i++)
      reinterpret_cast<abi::event_header*>(records[i].data())->time_ns = begin + i * 100'000;
  }

  std::vector<std::string> records;
  size_t gone_at = 0;

 private:
  uint32_t dice(uint32_t n) { return static_cast<uint32_t>(random_() % n); }

  template <typename Choose>
  void interleave(std::vector<std::deque<std::string>>& waiting, Choose choose) {
    for (;;) {
      std::vector<size_t> open;
      for (size_t i = 0; i < waiting.size(); i++)
        if (!waiting[i].empty() && choose(i)) open.push_back(i);
      if (open.empty()) return;
      auto& from = waiting[open[dice(std::min<uint32_t>(8, static_cast<uint32_t>(open.size())))]];
      records.push_back(std::move(from.front()));
      from.pop_front();
    }
  }

  std::string bytes(size_t size, bool text) {
    std::string out(size, ' ');
    for (char& c : out) c = text ? static_cast<char>('a' + dice(26)) : static_cast<char>(128 + dice(100));
    return out;
  }

  void say(uint8_t side, const std::string& what) {
    for (size_t at = 0; at < what.size();) {
      const size_t size = std::min<size_t>(what.size() - at, 1 + dice(dice(3) == 0 ? 20 : 4000));
      auto data = event<abi::data_event>(object_ ? IT_TLS_DATA : IT_FLOW_DATA);
      data.stream = object_ ? object_ : cookie_;
      data.offset = offset_[side];
      data.length = static_cast<uint32_t>(size);
      data.direction = side;
      data.tgid = tgid_;
      out_.push_back(raw(data, std::string_view(what).substr(at, size)));
      offset_[side] += size;
      at += size;
      // Plain packets may come the other way round.
      if (!object_ && at > size && dice(8) == 0 && out_.size() > 3) std::swap(out_[out_.size() - 1], out_[out_.size() - 2]);
    }
  }

  void lose(uint8_t side, uint64_t size) {
    auto loss = event<abi::loss_event>(IT_LOSS);
    loss.stream = object_ ? object_ : cookie_;
    loss.is_tls = object_ != 0;
    loss.direction = side;
    loss.from = offset_[side];
    loss.to = offset_[side] += size;
    loss.reason = IT_LOSS_FAULT;
    out_.push_back(raw(loss));
  }

  std::string request(uint32_t number, size_t size) {
    return "POST /v1/x?stream=" + std::to_string(cookie_) + "&n=" + std::to_string(number) +
           " HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n";
  }

  void exchange(uint32_t number) {
    const size_t size = dice(dice(4) == 0 ? 20000 : 300);
    say(IT_IN, request(number, size) + bytes(size, true));
    if (dice(5) == 0) say(IT_OUT, "HTTP/1.1 100 Continue\r\n\r\n");
    if (dice(3) == 0) {
      const size_t length = 1 + dice(9000);
      say(IT_OUT, "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(length) + "\r\n\r\n" + bytes(length, true));
      return;
    }
    say(IT_OUT, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (uint32_t i = dice(30); i > 0; i--) {
      const std::string piece = "data: " + bytes(1 + dice(200), true) + "\n\n";
      char length[16];
      std::snprintf(length, sizeof(length), "%zx\r\n", piece.size());
      say(IT_OUT, length + piece + "\r\n");
    }
    say(IT_OUT, "0\r\n\r\n");
  }

  void pipelined(uint32_t number) {
    say(IT_IN, request(number, 3) + "abc" + request(number + 1, 0));
    for (int i = 0; i < 2; i++) say(IT_OUT, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + bytes(5, true));
  }

  std::deque<std::string> talk(uint64_t id) {
    out_.clear();
    offset_[0] = offset_[1] = 0;
    cookie_ = 1000 + id;
    object_ = id % 2 == 0 ? id : 0;
    tgid_ = id <= 20 && id % 3 == 0 ? kEnds : kServer;
    const uint32_t kind = dice(10);
    auto open = event<abi::flow_open_event>(IT_FLOW_OPEN);
    open.cookie = cookie_;
    open.tgid = kServer;
    open.role = IT_ROLE_SERVER;
    open.flags = object_ ? IT_FLOW_TLS : 0;
    open.base_in = 7;
    open.addresses.local_port = 8000;
    open.addresses.remote_port = static_cast<uint16_t>(id);
    if (!object_ && kind < 2) {   // its first bytes came with the handshake's end
      const std::string first = request(0, 0).substr(0, 10);
      abi::orphan_event orphan{};
      orphan.data.header.type = IT_ORPHAN_DATA;
      orphan.data.offset = 7;
      orphan.data.length = 10;
      orphan.addresses = open.addresses;
      out_.push_back(raw(orphan, first));
      out_.push_back(raw(open));
      offset_[IT_IN] = 10;
      say(IT_IN, request(0, 0).substr(10));
      say(IT_OUT, "HTTP/1.1 204 No Content\r\n\r\n");
    } else {
      if (!object_ && tgid_ == kEnds) {   // accepted by another process before its first byte
        auto owner = event<abi::flow_owner_event>(IT_FLOW_OWNER);
        owner.cookie = cookie_;
        owner.tgid = tgid_;
        out_.push_back(raw(owner));
      }
      out_.push_back(raw(open));
    }
    if (object_) {
      auto fresh = event<abi::tls_open_event>(IT_TLS_OPEN);
      fresh.object = object_;
      fresh.tgid = tgid_;
      out_.push_back(raw(fresh));
      if (kind % 2 == 0) say(IT_IN, "POST /v1/late HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
      auto bind = event<abi::bind_event>(IT_BIND);
      bind.object = object_;
      bind.cookie = cookie_;
      bind.role = IT_ROLE_SERVER;
      bind.flags = IT_BIND_HELLO;
      out_.push_back(raw(bind));
      if (kind % 2 == 0) say(IT_OUT, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
    if (kind == 3) {
      for (int i = 0; i < 10; i++) say(static_cast<uint8_t>(dice(2)), bytes(1 + dice(20000), false));
    } else {
      for (uint32_t i = 1 + dice(8); i > 0; i--) dice(6) == 0 ? pipelined(i) : exchange(i);
      if (kind == 4) {
        say(IT_IN, "GET /chat HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n");
        say(IT_OUT, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n");
        for (int i = 0; i < 8; i++) say(static_cast<uint8_t>(dice(2)), bytes(1 + dice(20000), false));
      }
      if (kind == 5) {   // a hole in a body, and an exchange behind it
        say(IT_IN, request(90, 0));
        say(IT_OUT, "HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + bytes(500, true));
        lose(IT_OUT, 1000);
        say(IT_OUT, bytes(1500, true));
        exchange(91);
      }
      if (kind == 6) {   // cut off
        say(IT_IN, request(92, 1000) + bytes(1000, true));
        say(IT_OUT, "HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + bytes(700, true));
      }
    }
    if (object_ && tgid_ != kEnds) {
      auto close = event<abi::tls_close_event>(IT_TLS_CLOSE);
      close.object = object_;
      close.end[IT_IN] = offset_[IT_IN];
      close.end[IT_OUT] = offset_[IT_OUT];
      out_.push_back(raw(close));
    }
    auto close = event<abi::flow_close_event>(IT_FLOW_CLOSE);
    close.cookie = cookie_;
    close.end[IT_IN] = offset_[IT_IN];
    close.end[IT_OUT] = offset_[IT_OUT];
    out_.push_back(raw(close));
    if (object_ && dice(2) == 0 && tgid_ != kEnds) std::swap(out_[out_.size() - 1], out_[out_.size() - 2]);
    return out_;
  }

  std::mt19937 random_;
  std::deque<std::string> out_;
  uint64_t cookie_ = 0, object_ = 0, offset_[2] = {0, 0};
  uint32_t tgid_ = 0;
};

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
        targets_, resolver_, workers_.size(),
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
  AllTargets targets_;
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
