#include "capture/go_probes.h"

#include <spdlog/spdlog.h>

#include <limits>

#include "capture/go_binary.h"
#include "capture/go_code.h"
#include "infertrail/event.h"

namespace infertrail {
namespace {

using abi::u64;   // of the macros in event.h

struct Watched {
  std::string_view name;
  uint32_t function;       // IT_CALL_GO_*
  uint32_t exit = 0;       // the same of its RETs, when its result matters
  uint32_t spilled = 0;    // of RETs at which its arguments can be read
};
constexpr Watched kWatched[] = {
    {"crypto/tls.(*Conn).Read", IT_CALL_GO_READ, IT_CALL_GO_READ_EXIT, IT_CALL_GO_READ_SPILLED},
    {"crypto/tls.(*Conn).Write", IT_CALL_GO_WRITE, IT_CALL_GO_WRITE_EXIT},
    {"crypto/tls.(*Conn).clientHandshake", IT_CALL_GO_CLIENT},
    {"crypto/tls.(*Conn).serverHandshake", IT_CALL_GO_SERVER},
    {"crypto/tls.(*Conn).write", IT_CALL_GO_CIPHERTEXT},
    {"crypto/tls.(*Conn).Close", IT_CALL_GO_CLOSE},
};
// What a net.Conn that is a *net.TCPConn has in its method table.
constexpr std::string_view kSocketRead = "net.(*TCPConn).Read";

Error unreadable(std::string_view name, const std::string& why) {
  return Error{Code::kUnsupported, std::string(name) + ": " + why};
}

// Without the beginning or the end of a connection one address would be two connections in one.
Status complete(const GoBinary& binary) {
  auto has = [&](std::string_view name) { return binary.functions.contains(std::string(name)); };
  for (const char* name : {"crypto/tls.(*Conn).Read", "crypto/tls.(*Conn).Write", "crypto/tls.(*Conn).Close"})
    if (!has(name)) return unreadable(name, "not in this program, which has others of crypto/tls");
  if (!has("crypto/tls.(*Conn).clientHandshake") && !has("crypto/tls.(*Conn).serverHandshake"))
    return unreadable("crypto/tls", "this program has neither handshake");
  return {};
}

}  // namespace

Result<GoPlaces> find_go_places(const ByteSource& source) {
  TRY(ElfImage image, ElfImage::open(source));
  std::vector<std::string_view> wanted = {kSocketRead};
  for (const Watched& watched : kWatched) wanted.push_back(watched.name);
  TRY(GoBinary binary, read_go_binary(image, wanted));
  auto socket_read = binary.functions.extract(std::string(kSocketRead));
  if (binary.functions.empty()) return Error{Code::kNotFound, "a Go program without crypto/tls"};
  TRY_STATUS(complete(binary));
  GoPlaces out;
  out.version = binary.version;
  for (const Watched& watched : kWatched) {
    auto found = binary.functions.find(std::string(watched.name));
    if (found == binary.functions.end()) continue;
    const auto& [address, size] = found->second;
    const std::string code = image.read(address, std::min<uint64_t>(size, kGoFunctionBytes + 1));
    auto entry = go_entry(image.machine(), code);
    auto offset = image.offset_of(address);
    if (!entry || !offset) return unreadable(watched.name, "it does not begin as Go's functions do");
    // Of the socket's method table; where it is too far, the socket is found by its ciphertext.
    const auto distance = [&](uint64_t place) -> uint32_t {
      const int64_t far = socket_read.empty() ? 0 : static_cast<int64_t>(socket_read.mapped().address - (address + place));
      if (far < std::numeric_limits<int32_t>::min() || far > std::numeric_limits<int32_t>::max()) return 0;
      return static_cast<uint32_t>(far);
    };
    out.enters.push_back({*offset + *entry, IT_GO_COOKIE(watched.function, 0, distance(*entry))});
    if (!watched.exit) continue;
    auto exits = go_exits(image.machine(), code);
    if (!exits.ok()) return unreadable(watched.name, exits.error().message);
    const bool kept = watched.spilled && go_keeps_arguments(image.machine(), code);
    out.keeps_arguments |= kept;
    for (uint64_t exit : exits.value())
      out.exits.push_back({*offset + exit, IT_GO_COOKIE(kept ? watched.spilled : watched.exit, 0, distance(exit))});
  }
  return out;
}

Result<std::vector<Fd>> attach_go(const GoPrograms& programs, const std::string& path, const GoPlaces& places,
                                  uint32_t library) {
  const auto counted = [library](std::vector<UprobePlace> all) {
    for (UprobePlace& each : all) each.cookie |= library & 0xffff;
    return all;
  };
  std::vector<Fd> links;
  // What sees the return first: a call that is entered is then always left.
  Status status = attach_uprobes(programs.exit, programs.multi, false, path, counted(places.exits), &links);
  if (status.ok()) status = attach_uprobes(programs.enter, programs.multi, false, path, counted(places.enters), &links);
  if (!status.ok()) return wrap(status.error(), "attach to " + path);
  spdlog::debug("go={} version={} enters={} exits={}", path, places.version, places.enters.size(), places.exits.size());
  return links;
}

}  // namespace infertrail
