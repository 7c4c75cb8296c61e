#include "kernel/stand.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

namespace infertrail::testing_kernel {

std::string missing() {
  if (geteuid() != 0) return "needs root";
  if (access("/sys/kernel/btf/vmlinux", R_OK) != 0) return "this kernel has no BTF";
  if (cgroup2_mount().empty()) return "no cgroup v2 hierarchy is mounted";
  return "";
}

Result<std::unique_ptr<Stand>> Stand::open(const ProbeOptions& options) {
  std::unique_ptr<Stand> stand(new Stand());
  TRY(stand->probes_, Probes::open(options));
  stand->targets_ = std::make_unique<Targets>(*stand->probes_);
  stand->recorder_ = std::make_unique<Recorder>(*stand->targets_);
  TRY(stand->events_, Events::open(*stand->probes_, *stand->recorder_));
  stand->probes_->arm();
  return stand;
}

Stand::~Stand() { stop(); }

void Stand::start() {
  stopping_ = false;
  thread_ = std::thread([this] {
    while (!stopping_) round();
  });
}

void Stand::stop() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
}

void Stand::round() {
  if (auto status = events_->round(5); !status.ok()) ADD_FAILURE() << status.error().message;
  targets_->attach_pending();
}

bool Stand::wait(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(patience_seconds());
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    if (thread_.joinable())
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    else
      round();
  }
  return true;
}

void Stand::watch(const Program& program, bool tls, size_t expected) {
  auto status = targets_->add("pid=" + std::to_string(program.pid()));
  ASSERT_TRUE(status.ok()) << status.error().message;
  size_t libraries = 0;
  for (const TargetInfo& info : targets_->list())
    if (info.facts.pid == program.pid()) {
      libraries = info.libraries.size();
      EXPECT_TRUE(info.problems.empty()) << info.problems[0];
    }
  if (tls) {
    ASSERT_EQ(expected, libraries) << "libssl and libcrypto should be probed, or the program that has both inside";
  }
}

void Stand::end(Program& program) {
  const uint32_t pid = program.pid();
  program.end();
  EXPECT_TRUE(wait([&] {
    auto exited = recorder_->exited();
    return std::find(exited.begin(), exited.end(), pid) != exited.end();
  })) << "no exit event of process " << pid;
}

std::string Stand::losses() const {
  std::string out;
  const auto counters = probes_->losses();
  for (size_t kind = 0; kind < counters.size(); kind++)
    if (counters[kind].events != 0)
      out += std::string(Probes::loss_name(kind)) + "=" + std::to_string(counters[kind].events) + "/" +
             std::to_string(counters[kind].bytes) + " ";
  return out;
}

namespace {

template <typename T>
const T* of_ports(const std::vector<T>& all, const Told& told, const std::function<const Flow*(const T&)>& flow) {
  for (const T& each : all) {
    const Flow* its = flow(each);
    if (its && its->open.addresses.local_port == told.local && its->open.addresses.remote_port == told.remote)
      return &each;
  }
  return nullptr;
}

void expect_bytes(const Stream& stream, const Told& told) {
  EXPECT_EQ(told.in, stream.half[IT_IN].bytes.size());
  EXPECT_EQ(told.out, stream.half[IT_OUT].bytes.size());
  EXPECT_EQ(told.in_sha, stream.half[IT_IN].sha());
  EXPECT_EQ(told.out_sha, stream.half[IT_OUT].sha());
  EXPECT_FALSE(stream.half[IT_IN].contradiction || stream.half[IT_OUT].contradiction);
  EXPECT_EQ(told.in, stream.end[IT_IN]);
  EXPECT_EQ(told.out, stream.end[IT_OUT]);
}

std::vector<std::string> with_port(std::vector<std::string> arguments, uint16_t port) {
  arguments.push_back("role=client");
  arguments.push_back("port=" + std::to_string(port));
  return arguments;
}

std::vector<std::string> as_server(std::vector<std::string> arguments) {
  arguments.push_back("role=server");
  return arguments;
}

}  // namespace

void expect_tls(Stand& stand, const Told& told, bool server) {
  SCOPED_TRACE((server ? "server end, port " : "client end, port ") + std::to_string(told.local));
  Object object;
  const bool came = stand.wait([&] {
    const auto flows = stand.seen().flows();
    const auto objects = stand.seen().objects_of(told.pid);
    const Object* found = of_ports<Object>(objects, told, [&](const Object& each) -> const Flow* {
      auto at = flows.find(each.cookie);
      return at == flows.end() ? nullptr : &at->second;
    });
    if (found && found->closed) object = *found;
    return found && found->closed;
  });
  ASSERT_TRUE(came) << "no TLS object was bound to this connection and closed";
  EXPECT_EQ(told.ssl, object.ssl);
  EXPECT_EQ(1u, object.binds);
  EXPECT_EQ(server ? IT_ROLE_SERVER : IT_ROLE_CLIENT, object.role);
  EXPECT_EQ(told.pid, object.data_tgid);
  expect_bytes(object, told);
}

void expect_plain(Stand& stand, const Told& told, uint32_t owner, bool server) {
  SCOPED_TRACE((server ? "server end, port " : "client end, port ") + std::to_string(told.local));
  Flow flow;
  const bool came = stand.wait([&] {
    const auto flows = stand.seen().flows_of(owner);
    const Flow* found = of_ports<Flow>(flows, told, [](const Flow& each) { return &each; });
    if (found && found->closed) flow = *found;
    return found && found->closed;
  });
  ASSERT_TRUE(came) << "this connection was not seen from its opening to its close";
  EXPECT_EQ(1u, flow.opens);
  EXPECT_EQ(server ? IT_ROLE_SERVER : IT_ROLE_CLIENT, flow.open.role);
  expect_bytes(flow, told);
}

Pair::Pair(std::vector<std::string> server_arguments, std::vector<std::string> client_arguments)
    : server(as_server(std::move(server_arguments))),
      client(with_port(std::move(client_arguments), server.port())) {}

void Pair::go() {
  server.go();
  client.go();
}

void Pair::finish() {
  client.finish();
  server.finish();
}

namespace {

// What was seen, for whoever has to understand a failure.
void describe(const Recorder& seen) {
  for (auto& [id, each] : seen.objects())
    std::printf("  object %lu tgid %u ssl %lx cookie %lu role %u closed %d in %lu-%lu out %lu-%lu end %lu %lu\n", id,
                each.tgid, each.ssl, each.cookie, each.role, each.closed, each.half[0].seen_bytes(),
                each.half[0].lost_bytes(), each.half[1].seen_bytes(), each.half[1].lost_bytes(), each.end[0],
                each.end[1]);
  for (auto& [cookie, each] : seen.flows())
    std::printf("  flow %lu tgid %u ports %u %u flags %u closed %d end %lu %lu\n", cookie, each.open.tgid,
                each.open.addresses.local_port, each.open.addresses.remote_port, each.open.flags, each.closed,
                each.end[0], each.end[1]);
}

}  // namespace

std::unique_ptr<Stand> SharedStand::stand_;
ProbeOptions SharedStand::options_;

void SharedStand::SetUpTestSuite() {
  if (!missing().empty()) return;
  // Two ends of 64 MiB, and a reader that gets no processor: what is tested here is exactness, not speed.
  if (options_.data_ring_bytes == ProbeOptions().data_ring_bytes) options_.data_ring_bytes = 256u << 20;
  auto opened = Stand::open(options_);
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  stand_ = std::move(opened.value());
  stand_->start();
}

void SharedStand::TearDownTestSuite() { stand_.reset(); }

void SharedStand::SetUp() {
  if (std::string why = missing(); !why.empty()) GTEST_SKIP() << why;
  ASSERT_TRUE(stand_);
}

void SharedStand::TearDown() {
  if (!stand_) return;
  if (HasFailure() || !stand_->losses().empty()) describe(stand_->seen());
  EXPECT_EQ("", stand_->losses());
  // Not a failure by itself: the kernel may skip an event when a softirq or another task runs into a
  // tracepoint program on its CPU. What a test then misses, it says itself.
  if (const uint64_t missed = stand_->probes().missed(); missed != 0)
    std::printf("  the kernel skipped %lu events of this suite so far\n", missed);
  for (const std::string& selector : stand_->targets().selectors()) {
    auto status = stand_->targets().remove(selector);
    EXPECT_TRUE(status.ok()) << status.error().message;
  }
  stand_->seen().forget();
}

}  // namespace infertrail::testing_kernel
