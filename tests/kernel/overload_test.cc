// Producers that are faster than the reader, for IT_OVERLOAD_SECONDS (3; a minute with --full): of every
// stream, what was recorded and what was declared lost are together what was sent, to the byte.
#include <chrono>
#include <cstdlib>
#include <map>
#include <thread>

#include "kernel/stand.h"

namespace infertrail::testing_kernel {
namespace {

using Ranges = std::map<uint64_t, uint64_t>;

// Joins [from, to) into disjoint ranges; -> how many bytes are new.
uint64_t join(Ranges* ranges, uint64_t from, uint64_t to) {
  uint64_t fresh = to - from;
  auto at = ranges->upper_bound(from);
  if (at != ranges->begin() && std::prev(at)->second >= from) --at;
  while (at != ranges->end() && at->first <= to) {
    fresh -= std::min(to, at->second) > std::max(from, at->first) ? std::min(to, at->second) - std::max(from, at->first) : 0;
    from = std::min(from, at->first);
    to = std::max(to, at->second);
    at = ranges->erase(at);
  }
  (*ranges)[from] = to;
  return fresh;
}

// Counts, and keeps no byte: a minute of it would fill the memory.
class Tally : public CaptureHandler {
 public:
  struct Stream {
    Ranges known[2];
    uint64_t seen[2] = {0, 0}, lost[2] = {0, 0}, end[2] = {0, 0};
    uint32_t tgid = 0;
    uint16_t remote_port = 0;
    uint64_t ssl = 0;
    bool closed = false;
  };
  explicit Tally(Targets& targets) : targets_(targets) {}
  std::map<uint64_t, Stream> tls, plain;

  void on_exec(const abi::exec_event&) override {}
  void on_fork(const abi::fork_event&) override {}
  void on_exit(const abi::process_event& event) override { targets_.on_exit(event.tgid); }
  void on_mapped(const abi::process_event& event) override { targets_.on_mapped(event.tgid); }
  void on_listen(const abi::listen_event&) override {}
  void on_flow_open(const abi::flow_open_event& event) override {
    plain[event.cookie].tgid = event.tgid;
    plain[event.cookie].remote_port = event.addresses.remote_port;
  }
  void on_flow_close(const abi::flow_close_event& event) override { close(plain[event.cookie], event.end); }
  void on_flow_wire(const abi::flow_wire_event&) override {}
  void on_flow_owner(const abi::flow_owner_event&) override {}
  void on_flow_tls(const abi::flow_tls_event&) override {}
  void on_tls_open(const abi::tls_open_event& event) override {
    tls[event.object].tgid = event.tgid;
    tls[event.object].ssl = event.ssl;
  }
  void on_tls_close(const abi::tls_close_event& event) override { close(tls[event.object], event.end); }
  void on_tls_shutdown(const abi::tls_close_event&) override {}
  void on_bind(const abi::bind_event&) override {}
  void on_loss(const abi::loss_event& event) override {
    Stream& stream = (event.is_tls ? tls : plain)[event.stream];
    stream.lost[event.direction] += join(&stream.known[event.direction], event.from, event.to);
  }
  void on_data(const abi::data_event& event, std::string_view payload) override {
    Stream& stream = (event.header.type == IT_TLS_DATA ? tls : plain)[event.stream];
    stream.seen[event.direction] += join(&stream.known[event.direction], event.offset, event.offset + payload.size());
  }
  void on_orphan(const abi::orphan_event&, std::string_view) override { ADD_FAILURE() << "no such client here"; }

 private:
  static void close(Stream& stream, const uint64_t* end) {
    stream.closed = true;
    for (int i : {IT_IN, IT_OUT}) stream.end[i] = end[i];
  }
  Targets& targets_;
};

class OverloadTest : public testing::Test {
 protected:
  void SetUp() override {
    if (std::string why = missing(); !why.empty()) GTEST_SKIP() << why;
    ProbeOptions options;
    options.data_ring_bytes = 1 << 20;
    auto probes = Probes::open(options);
    ASSERT_TRUE(probes.ok()) << probes.error().message;
    probes_ = std::move(probes.value());
    targets_ = std::make_unique<Targets>(*probes_);
    tally_ = std::make_unique<Tally>(*targets_);
    auto events = Events::open(*probes_, *tally_);
    ASSERT_TRUE(events.ok()) << events.error().message;
    events_ = std::move(events.value());
    probes_->arm();
  }
  // Reads much less than is said, until `done`; then all.
  void read_slowly(const std::atomic<bool>& done) {
    for (int quiet = 0; quiet < 20;) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      const uint64_t before = events_->counts().events;
      auto status = events_->round(0);
      EXPECT_TRUE(status.ok());
      quiet = done && events_->counts().events == before ? quiet + 1 : 0;
    }
  }
  void account(const Told& told, const Tally::Stream& stream) {
    EXPECT_TRUE(stream.closed);
    for (auto [direction, sent] : {std::pair{IT_IN, told.in}, {IT_OUT, told.out}}) {
      EXPECT_EQ(sent, stream.end[direction]);
      EXPECT_EQ(sent, stream.seen[direction] + stream.lost[direction]);
      sent_ += sent;
      lost_ += stream.lost[direction];
    }
    streams_++;
  }

  std::unique_ptr<Probes> probes_;
  std::unique_ptr<Targets> targets_;
  std::unique_ptr<Tally> tally_;
  std::unique_ptr<Events> events_;
  uint64_t sent_ = 0, lost_ = 0, streams_ = 0;
  Status status_;
};

TEST_F(OverloadTest, Trap14_RecordedAndDeclaredBytesAreTheBytesSent) {
  const char* wanted = std::getenv("IT_OVERLOAD_SECONDS");
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(wanted ? std::atoi(wanted) : 3);
  const std::string size = std::getenv("VM") ? "request=4194304" : "request=33554432";
  do {
    std::vector<std::unique_ptr<Pair>> pairs;
    for (const char* tls : {"tls=1", "tls=1", "tls=0", "tls=0"}) {
      pairs.push_back(std::make_unique<Pair>(std::vector<std::string>{tls, "read_size=16384"},
                                             std::vector<std::string>{tls, size, "write_size=16384", "response=1048576"}));
      auto status = targets_->add("pid=" + std::to_string(pairs.back()->server.pid()));
      ASSERT_TRUE(status.ok()) << status.error().message;
    }
    std::atomic<bool> done{false};
    std::thread reader([&] { read_slowly(done); });
    for (auto& pair : pairs) pair->go();
    for (auto& pair : pairs) pair->finish();
    done = true;
    reader.join();
    for (auto& pair : pairs) {
      ASSERT_EQ(1u, pair->server.told().size());
      const Told& told = pair->server.told()[0];
      const Tally::Stream* found = nullptr;
      for (auto& [id, each] : told.ssl ? tally_->tls : tally_->plain)
        if (each.tgid == told.pid && each.ssl == told.ssl && (told.ssl || each.remote_port == told.remote)) found = &each;
      ASSERT_NE(nullptr, found);
      account(told, *found);
      status_ = targets_->remove("pid=" + std::to_string(pair->server.pid()));
    }
    tally_->tls.clear();
    tally_->plain.clear();
  } while (std::chrono::steady_clock::now() < until);
  EXPECT_EQ(0u, probes_->losses()[IT_LOSS_CONTROL_FULL].events);
  EXPECT_GT(lost_, 0u) << "this was no overload";
  std::printf("  %lu streams, %lu bytes sent, %lu of them declared lost\n", streams_, sent_, lost_);
}

}  // namespace
}  // namespace infertrail::testing_kernel
