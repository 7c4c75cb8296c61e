// Intake driven by events as the kernel sends them, without a kernel.
#include "daemon/intake.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "daemon/clock.h"
#include "unit/fake_proc.h"

namespace infertrail {
namespace {

using Kind = StreamMessage::Kind;

class FakeTargets : public TargetEvents {
 public:
  void on_exec(uint32_t tgid, const ProcessFacts& facts, uint32_t) override { executed[tgid] = facts; }
  void on_fork(uint32_t parent, uint32_t child) override { log.push_back(std::to_string(parent) + ">" + std::to_string(child)); }
  void on_exit(uint32_t tgid) override { log.push_back("exit " + std::to_string(tgid)); }
  void on_mapped(uint32_t tgid) override { log.push_back("mapped " + std::to_string(tgid)); }
  void on_listen(uint32_t tgid, uint16_t port) override { log.push_back(std::to_string(tgid) + ":" + std::to_string(port)); }
  void on_refused_tls(uint32_t tgid) override { log.push_back("refused " + std::to_string(tgid)); }
  void attach_pending() override { rounds++; }
  bool is_target(uint32_t tgid) const override { return tgid >= 100 && tgid < 200; }
  std::map<uint64_t, std::array<uint64_t, 2>> stream_ends(uint32_t) const override { return ends; }
  std::vector<abi::small_reads> waiting_reads(uint32_t) const override { return waiting; }

  std::map<uint32_t, ProcessFacts> executed;
  std::vector<std::string> log;
  std::map<uint64_t, std::array<uint64_t, 2>> ends;
  std::vector<abi::small_reads> waiting;
  int rounds = 0;
};

class IntakeTest : public testing::Test {
 protected:
  template <typename T>
  static T event(uint16_t type) {
    T out{};
    out.header.type = type;
    out.header.size = sizeof(T);
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    out.header.time_ns = static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
    return out;
  }
  static abi::flow_open_event flow(uint64_t cookie, uint32_t tgid, uint8_t role = IT_ROLE_SERVER, uint8_t flags = 0) {
    auto out = event<abi::flow_open_event>(IT_FLOW_OPEN);
    out.cookie = cookie;
    out.tgid = tgid;
    out.role = role;
    out.flags = flags;
    const uint8_t mapped[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1};
    std::memcpy(out.addresses.local, mapped, 16);
    std::memcpy(out.addresses.remote, mapped, 16);
    out.addresses.local_port = 8000;
    out.addresses.remote_port = 40000;
    out.base_in = 0xfffffff0;
    return out;
  }
  void data(uint16_t type, uint64_t stream, std::string_view bytes) {
    auto out = event<abi::data_event>(type);
    out.stream = stream;
    out.length = static_cast<uint32_t>(bytes.size());
    intake_.on_data(out, bytes);
  }
  void object(uint64_t id, uint32_t tgid) {
    auto out = event<abi::tls_open_event>(IT_TLS_OPEN);
    out.object = id;
    out.tgid = tgid;
    intake_.on_tls_open(out);
  }
  void bind(uint64_t id, uint64_t cookie, uint8_t role, uint8_t flags, uint8_t method = IT_BIND_FP_EGRESS) {
    auto out = event<abi::bind_event>(IT_BIND);
    out.object = id;
    out.cookie = cookie;
    out.role = role;
    out.flags = flags;
    out.method = method;
    intake_.on_bind(out);
  }
  void owner(uint64_t cookie, uint32_t tgid) {
    auto out = event<abi::flow_owner_event>(IT_FLOW_OWNER);
    out.cookie = cookie;
    out.tgid = tgid;
    intake_.on_flow_owner(out);
  }
  void close(uint64_t cookie) {
    auto out = event<abi::flow_close_event>(IT_FLOW_CLOSE);
    out.cookie = cookie;
    out.end[IT_IN] = 11;
    out.end[IT_OUT] = 22;
    intake_.on_flow_close(out);
  }
  // What the workers got since the last call.
  std::vector<StreamMessage> sent() {
    intake_.flush();
    return std::exchange(sent_, {});
  }

  FakeProc proc_;
  FakeTargets targets_;
  Resolver resolver_{proc_.root()};
  std::vector<StreamMessage> sent_;
  std::vector<Coverage::Finding> found_;
  Coverage coverage_{[this](const Coverage::Finding& finding) { found_.push_back(finding); }};
  Intake intake_{targets_, resolver_, coverage_, 3, [this](size_t worker, std::vector<StreamMessage> batch) {
                   for (StreamMessage& each : batch) {
                     EXPECT_EQ(each.stream.id % 3, worker) << "a stream stays with its worker";
                     sent_.push_back(std::move(each));
                   }
                 }};
};

TEST_F(IntakeTest, ABindingSaysHowTheSocketWasFound) {
  const std::pair<uint8_t, const char*> methods[] = {
      {IT_BIND_FP_EGRESS, "fp_egress"}, {IT_BIND_GO_FD, "go_fd"}, {IT_BIND_SET_FD, "set_fd"}};
  uint64_t id = 70;
  for (auto [method, name] : methods) {
    intake_.on_flow_open(flow(++id, 150, IT_ROLE_SERVER, IT_FLOW_TLS));
    object(id + 100, 150);
    bind(id + 100, id, IT_ROLE_SERVER, IT_BIND_HELLO, method);
    const auto messages = sent();
    auto found = std::find_if(messages.begin(), messages.end(), [](auto& each) { return each.kind == Kind::kBind; });
    ASSERT_NE(messages.end(), found);
    EXPECT_EQ(name, found->facts->flow.bind());
    EXPECT_EQ("127.0.0.1:40000", found->facts->flow.client());
  }
}

TEST_F(IntakeTest, WhatTheKernelWasJoiningWhenAProcessEndedIsNotLost) {
  object(190, 150);
  sent();
  abi::small_reads reads{};
  reads.object = 190;
  reads.start = 100;
  reads.length = 5;
  std::memcpy(reads.bytes, "0\r\n\r\n", 5);
  targets_.waiting = {reads};
  targets_.waiting.push_back(reads);
  targets_.waiting[1].object = 191;   // not one that we know
  targets_.ends[190] = {105, 0};
  auto exit = event<abi::process_event>(IT_EXIT);
  exit.tgid = 150;
  intake_.on_exit(exit);
  const auto messages = sent();
  ASSERT_EQ(2u, messages.size());
  EXPECT_EQ(Kind::kData, messages[0].kind);
  EXPECT_EQ("0\r\n\r\n", messages[0].bytes);
  EXPECT_EQ(100u, messages[0].offset);
  EXPECT_EQ(Kind::kClose, messages[1].kind);
  EXPECT_EQ(105u, messages[1].end[IT_IN]);
}

TEST_F(IntakeTest, AFlowThatTurnsIntoTlsKeepsItsPlainBeginning) {
  intake_.on_flow_open(flow(81, 150, IT_ROLE_SERVER, 0));
  data(IT_FLOW_DATA, 81, "PROXY");
  auto turned = event<abi::flow_tls_event>(IT_FLOW_TLS_BEGINS);
  turned.cookie = 81;
  turned.from[IT_IN] = 5;
  EXPECT_EQ(1u, coverage_.of(150).plain);
  intake_.on_flow_tls(turned);
  intake_.on_flow_tls(turned);   // a daemon was killed before the ring forgot it
  EXPECT_EQ(0u, coverage_.of(150).plain);
  EXPECT_EQ(1u, coverage_.of(150).tls);
  object(181, 150);
  bind(181, 81, IT_ROLE_SERVER, IT_BIND_HELLO);
  close(81);
  size_t closes = 0;
  for (const StreamMessage& each : sent()) {
    if (each.kind == Kind::kBind) {
      EXPECT_TRUE(each.facts->flow.tls());
      EXPECT_EQ("fp_egress", each.facts->flow.bind());
    }
    if (each.kind != Kind::kClose) continue;
    closes++;
    EXPECT_EQ(81u, each.stream.id);
    EXPECT_EQ(5u, each.end[IT_IN]);   // not 11: the rest is not its own
    EXPECT_EQ(0u, each.end[IT_OUT]);
  }
  EXPECT_EQ(1u, closes);
  turned.cookie = 82;
  intake_.on_flow_tls(turned);   // of a connection that was never told: nothing
  EXPECT_TRUE(sent().empty());
}

TEST_F(IntakeTest, AnExecIsReadWithItsArguments) {
  auto exec = event<abi::exec_event>(IT_EXEC);
  exec.tgid = 150;
  exec.ppid = 1;
  std::memcpy(exec.comm, "sixteen-chars-xx", 16);   // without an end
  std::memcpy(exec.filename, "/bin/x", 7);
  std::memcpy(exec.args, "x\0-a b\0\0last", 12);
  exec.args_length = 12;
  intake_.on_exec(exec);
  const ProcessFacts& facts = targets_.executed.at(150);
  EXPECT_EQ("sixteen-chars-xx", facts.comm);
  EXPECT_EQ("/bin/x", facts.exe);
  EXPECT_EQ((std::vector<std::string>{"x", "-a b", "", "last"}), facts.args);
  exec.tgid = 151;
  exec.args_length = 0xffffffff;   // never beyond the record
  intake_.on_exec(exec);
  EXPECT_EQ(1u, targets_.executed.count(151));
}

TEST_F(IntakeTest, APlainFlowFromItsOpeningToItsEnd) {
  intake_.on_flow_open(flow(9, 100));
  data(IT_FLOW_DATA, 9, "abc");
  auto loss = event<abi::loss_event>(IT_LOSS);
  loss.stream = 9;
  loss.from = 3;
  loss.to = 5;
  loss.direction = IT_IN;
  loss.reason = IT_LOSS_FAULT;
  intake_.on_loss(loss);
  close(9);
  auto messages = sent();
  ASSERT_EQ(4u, messages.size());
  EXPECT_EQ(Kind::kOpen, messages[0].kind);
  EXPECT_EQ("127.0.0.1:40000", messages[0].facts->flow.client());
  EXPECT_EQ("127.0.0.1:8000", messages[0].facts->flow.server());
  EXPECT_EQ("served", messages[0].facts->flow.direction());
  EXPECT_EQ("cgroup_skb", messages[0].facts->flow.bind());
  EXPECT_EQ("abc", messages[1].bytes);
  EXPECT_EQ(Kind::kLoss, messages[2].kind);
  EXPECT_EQ(GapReason::kFault, messages[2].reason);
  EXPECT_EQ(5u, messages[2].end[0]);
  EXPECT_EQ(Kind::kClose, messages[3].kind);
  EXPECT_TRUE(messages[3].ends_known);
  EXPECT_EQ(22u, messages[3].end[IT_OUT]);
  close(9);
  EXPECT_TRUE(sent().empty());
  EXPECT_EQ(1u, coverage_.of(100).plain);
}

TEST_F(IntakeTest, NothingIsKeptOfAProcessThatWasNotChosen) {
  data(IT_FLOW_DATA, 9, "early");          // the rings are read one after the other
  intake_.on_flow_open(flow(9, 500));
  data(IT_FLOW_DATA, 9, "late");
  object(12, 501);
  data(IT_TLS_DATA, 12, "secret");
  close(9);
  auto messages = sent();
  ASSERT_EQ(3u, messages.size());
  EXPECT_EQ("early", messages[0].bytes);
  EXPECT_EQ(Kind::kForget, messages[1].kind);
  EXPECT_EQ(9u, messages[1].stream.id);
  EXPECT_EQ(Kind::kForget, messages[2].kind);
  EXPECT_TRUE(messages[2].stream.tls);
  EXPECT_EQ((std::vector<std::string>{"refused 501"}), targets_.log);
}

TEST_F(IntakeTest, ATlsObjectGetsItsFlowByTheBind) {
  intake_.on_flow_open(flow(9, 100, IT_ROLE_SERVER, IT_FLOW_TLS));
  object(4, 101);
  bind(4, 9, IT_ROLE_CLIENT, IT_BIND_HELLO);
  auto messages = sent();
  ASSERT_EQ(2u, messages.size()) << "ciphertext has no stream of its own";
  std::sort(messages.begin(), messages.end(), [](auto& a, auto& b) { return a.kind < b.kind; });
  EXPECT_EQ("unresolved", messages[0].facts->flow.bind());
  EXPECT_EQ(101u, messages[0].facts->process.pid());
  EXPECT_EQ(Kind::kBind, messages[1].kind);
  EXPECT_EQ("fp_egress", messages[1].facts->flow.bind());
  EXPECT_EQ(9u, messages[1].facts->flow.cookie());
  EXPECT_EQ(IT_ROLE_CLIENT, messages[1].facts->role) << "the handshake knows better than the socket";
  EXPECT_FALSE(messages[1].facts->pre_attach);
  data(IT_TLS_DATA, 4, "x");
  intake_.tick({}, unix_now_ns());
  EXPECT_EQ(1u, coverage_.of(101).read) << "the process that has the object, not the listener";
}

TEST_F(IntakeTest, ABindWithoutAHelloMissesItsBeginning) {
  intake_.on_flow_open(flow(9, 100, IT_ROLE_SERVER, IT_FLOW_TLS));
  object(4, 100);
  bind(4, 9, IT_ROLE_UNKNOWN, 0);
  auto messages = sent();
  for (auto& message : messages)
    if (message.kind == Kind::kBind) {
      EXPECT_TRUE(message.facts->pre_attach);
      EXPECT_TRUE(message.facts->flow.pre_attach());
      EXPECT_EQ(IT_ROLE_SERVER, message.facts->role);
    }
  bind(77, 9, IT_ROLE_CLIENT, 0);   // an object that nobody knows
  EXPECT_TRUE(sent().empty());
}

TEST_F(IntakeTest, AProcessThatEndsEndsItsObjects) {
  object(4, 100);
  object(5, 101);
  sent();
  auto end = event<abi::process_event>(IT_EXIT);
  end.tgid = 100;
  intake_.on_exit(end);
  auto messages = sent();
  ASSERT_EQ(1u, messages.size());
  EXPECT_EQ(4u, messages[0].stream.id);
  EXPECT_FALSE(messages[0].ends_known);
  auto closed = event<abi::tls_close_event>(IT_TLS_CLOSE);
  closed.object = 5;
  closed.end[IT_IN] = 3;
  intake_.on_tls_close(closed);
  intake_.on_tls_close(closed);
  messages = sent();
  ASSERT_EQ(1u, messages.size());
  EXPECT_EQ(3u, messages[0].end[IT_IN]);
  EXPECT_EQ((std::vector<std::string>{"exit 100"}), targets_.log);
}

TEST_F(IntakeTest, AProcessThatEndsTellsHowFarItsStreamsWent) {
  object(4, 100);
  sent();
  targets_.ends[4] = {30, 40};
  auto end = event<abi::process_event>(IT_EXIT);
  end.tgid = 100;
  intake_.on_exit(end);
  auto messages = sent();
  ASSERT_EQ(1u, messages.size());
  EXPECT_TRUE(messages[0].ends_known);
  EXPECT_EQ(30u, messages[0].end[IT_IN]);
  EXPECT_EQ(40u, messages[0].end[IT_OUT]);
}

TEST_F(IntakeTest, OrphansWithoutAConnectionAreCounted) {
  abi::orphan_event orphan{};
  orphan.data = event<abi::data_event>(IT_ORPHAN_DATA);
  orphan.data.header.time_ns -= 6'000'000'000;
  intake_.on_orphan(orphan, "lost");
  intake_.tick({}, unix_now_ns());
  EXPECT_EQ(1u, intake_.orphans_lost().events);
  EXPECT_EQ(4u, intake_.orphans_lost().bytes);
}

TEST_F(IntakeTest, NothingOfTheCanaryReachesAWorker) {
  CanaryWatch watch;
  Intake intake(targets_, resolver_, coverage_, 1, [this](size_t, std::vector<StreamMessage> batch) {
    for (StreamMessage& each : batch) sent_.push_back(std::move(each));
  }, &watch);
  watch.begin(150);
  abi::flow_open_event opened = flow(9, 150, IT_ROLE_CLIENT, IT_FLOW_TLS);
  intake.on_flow_open(opened);
  auto open = event<abi::tls_open_event>(IT_TLS_OPEN);
  open.object = 4;
  open.tgid = 150;
  intake.on_tls_open(open);
  auto bytes = event<abi::data_event>(IT_TLS_DATA);
  bytes.stream = 4;
  bytes.tgid = 150;
  intake.on_data(bytes, "x");
  watch.end();
  intake.on_data(bytes, "late");
  intake.flush();
  for (const StreamMessage& each : sent_) EXPECT_EQ(Kind::kForget, each.kind);
  EXPECT_EQ(0u, coverage_.of(150).tls);
}

TEST_F(IntakeTest, TheWorkerThatAcceptedIsTheProcess) {
  owner(9, 120);   // accept() comes before the first byte
  intake_.on_flow_open(flow(9, 100));
  auto messages = sent();
  ASSERT_EQ(2u, messages.size());
  EXPECT_EQ(100u, messages[0].facts->process.pid());
  EXPECT_EQ(Kind::kOwner, messages[1].kind);
  EXPECT_EQ(120u, messages[1].facts->process.pid());
  owner(9, 120);
  EXPECT_TRUE(sent().empty());
  owner(9, 121);
  messages = sent();
  ASSERT_EQ(1u, messages.size());
  EXPECT_EQ(121u, messages[0].facts->process.pid());
  owner(30, 120);
  close(30);                       // never opened: forgotten
  intake_.on_flow_open(flow(30, 100));
  EXPECT_EQ(1u, sent().size());
}

TEST_F(IntakeTest, BytesThatCameWithTheHandshakeJoinTheirFlow) {
  abi::flow_open_event open = flow(9, 100);
  abi::orphan_event orphan{};
  orphan.data = event<abi::data_event>(IT_ORPHAN_DATA);
  orphan.addresses = open.addresses;
  orphan.data.offset = static_cast<uint32_t>(open.base_in + 20);   // across the 2^32 wrap
  intake_.on_orphan(orphan, "early");
  abi::flow_open_event other = flow(10, 100);
  other.addresses.remote_port = 40001;
  intake_.on_flow_open(other);
  EXPECT_EQ(1u, sent().size()) << "another connection's";
  intake_.on_flow_open(open);
  auto messages = sent();
  ASSERT_EQ(2u, messages.size());
  EXPECT_EQ(Kind::kData, messages[1].kind);
  EXPECT_EQ("early", messages[1].bytes);
  EXPECT_EQ(20u, messages[1].offset);
}

TEST_F(IntakeTest, ReadsThatWaitInTheKernelAreHandedOut) {
  object(4, 100);
  sent();
  abi::small_reads known{}, unknown{};
  known.object = 4;
  known.start = 30;
  known.length = 3;
  std::memcpy(known.bytes, "xyz", 3);
  unknown = known;
  unknown.object = 5;
  intake_.tick({known, unknown}, unix_now_ns());
  auto messages = sent();
  std::erase_if(messages, [](const StreamMessage& each) { return each.kind == StreamMessage::Kind::kTick; });
  ASSERT_EQ(1u, messages.size());
  EXPECT_EQ("xyz", messages[0].bytes);
  EXPECT_EQ(30u, messages[0].offset);
  EXPECT_EQ(IT_IN, messages[0].side);
}

TEST_F(IntakeTest, EachWorkerLearnsHowFarTheRingsWereRead) {
  intake_.tick({}, 12345);
  const auto messages = sent();
  ASSERT_FALSE(messages.empty());
  for (const StreamMessage& each : messages) {
    EXPECT_EQ(StreamMessage::Kind::kTick, each.kind);
    EXPECT_EQ(12345u, each.time_ns);
  }
}

TEST_F(IntakeTest, TlsThatStaysDarkIsToldOnce) {
  abi::flow_open_event dark = flow(9, 100, IT_ROLE_SERVER, IT_FLOW_TLS);
  dark.header.time_ns -= 4'000'000'000;
  intake_.on_flow_open(dark);
  abi::flow_open_event seen = dark;
  seen.cookie = 10;
  intake_.on_flow_open(seen);
  object(4, 100);
  bind(4, 10, IT_ROLE_SERVER, IT_BIND_HELLO);
  intake_.tick({}, unix_now_ns());
  intake_.tick({}, unix_now_ns());
  ASSERT_EQ(1u, found_.size());
  EXPECT_EQ("TLS NOT VISIBLE", found_[0].what);
  EXPECT_EQ(1u, coverage_.of(100).dark);
}

TEST_F(IntakeTest, TlsThatEndsBeforeItWasSeenIsToldAtItsEnd) {
  for (bool tls : {true, false}) {
    intake_.on_flow_open(flow(tls ? 9 : 10, 100, IT_ROLE_SERVER, tls ? IT_FLOW_TLS : 0));
    abi::flow_close_event close{};
    close.header.time_ns = 1;
    close.cookie = tls ? 9 : 10;
    intake_.on_flow_close(close);
  }
  coverage_.finish(unix_now_ns());
  ASSERT_EQ(1u, found_.size());
  EXPECT_EQ("tls_not_visible", found_[0].reason);
  EXPECT_EQ(1u, coverage_.of(100).dark);
}

TEST_F(IntakeTest, TheOtherEndIsNamedWhenItIsOnThisHost) {
  proc_.process(77, "peer", "/bin/peer");
  abi::flow_open_event open = flow(9, 100);
  open.peer_tgid = 77;
  intake_.on_flow_open(open);
  EXPECT_EQ("/bin/peer", sent()[0].facts->peer.exe());
  intake_.on_flow_open(flow(10, 100));
  EXPECT_EQ(0u, sent()[0].facts->peer.pid());
}

}  // namespace
}  // namespace infertrail
