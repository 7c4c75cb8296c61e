#include "capture/gnutls_probes.h"

#include <algorithm>
#include <map>

#include "capture/elf_symbols.h"
#include "capture/push_calls.h"
#include "infertrail/event.h"

namespace infertrail {
namespace {

using abi::u64;   // of the macros in event.h

struct Watched {
  std::string_view name;
  uint32_t function;       // IT_CALL_*
  bool returns = false;    // its result matters
};
// gnutls_record_send2 since 3.6.3; then gnutls_record_send is a jump to it, see below.
constexpr Watched kWatched[] = {
    {"gnutls_record_send", IT_CALL_WRITE, true},
    {"gnutls_record_send2", IT_CALL_WRITE, true},
    {"gnutls_record_uncork", IT_CALL_UNCORK, true},
    {"gnutls_record_send_file", IT_CALL_SENDFILE, true},
    {"gnutls_record_recv", IT_CALL_READ, true},
    {"gnutls_record_recv_seq", IT_CALL_READ, true},
    {"gnutls_record_recv_early_data", IT_CALL_READ, true},
    {"gnutls_record_recv_packet", IT_CALL_READ_PACKET, true},
    {"gnutls_packet_get", IT_CALL_GNUTLS_PACKET_GET, true},
    {"gnutls_packet_deinit", IT_CALL_GNUTLS_PACKET_END},
    {"gnutls_handshake", IT_CALL_HANDSHAKE, true},
    {"gnutls_bye", IT_CALL_SHUTDOWN},
    {"gnutls_init", IT_CALL_GNUTLS_INIT, true},
    {"gnutls_deinit", IT_CALL_FREE},
};
// Where the ciphertext is not found: what the program says that it sends to.
constexpr Watched kTransport[] = {
    {"gnutls_transport_set_ptr", IT_CALL_GNUTLS_SET_FD},
    {"gnutls_transport_set_ptr2", IT_CALL_GNUTLS_SET_FD2},
    {"gnutls_transport_set_int2", IT_CALL_GNUTLS_SET_FD2},
    {"gnutls_transport_set_push_function", IT_CALL_GNUTLS_SET_PUSH},
    {"gnutls_transport_set_vec_push_function", IT_CALL_GNUTLS_SET_PUSH},
};
constexpr std::string_view kSetPush = "gnutls_transport_set_push_function",
                           kSetVectorPush = "gnutls_transport_set_vec_push_function";

}  // namespace

Result<GnuTlsPlaces> find_gnutls_places(const ByteSource& source, uint32_t library, GnuTlsBinding binding) {
  TRY(ElfImage image, ElfImage::open(source));
  std::vector<std::string_view> names;
  for (const Watched& each : kWatched) names.push_back(each.name);
  for (const Watched& each : kTransport) names.push_back(each.name);
  auto known = function_symbols(image, names);
  const auto has = [&](std::string_view name) { return known.contains(std::string(name)); };
  if (!has("gnutls_record_send") || !has("gnutls_record_recv") || !has("gnutls_deinit"))
    return Error{Code::kNotFound, "no GnuTLS functions"};
  // One of the two is enough where one is the other's first instructions; both are right, and dear.
  if (has("gnutls_record_send2") && is_only_a_jump(image, known["gnutls_record_send"])) known.erase("gnutls_record_send");
  GnuTlsPlaces out;
  const auto add = [&](const Watched& each) {
    auto found = known.find(std::string(each.name));
    auto offset = found == known.end() ? std::nullopt : image.offset_of(found->second);
    if (!offset) return;
    out.enters.push_back({*offset, IT_COOKIE(each.function, kReturnAddress, library)});
    if (each.returns) out.returns.push_back({*offset, IT_COOKIE(each.function, 0, library)});
  };
  for (const Watched& each : kWatched) add(each);
  std::vector<PushCall> calls;
  if (binding == GnuTlsBinding::kCiphertext && has(kSetPush) && has(kSetVectorPush))
    calls = push_calls(image, known[std::string(kSetPush)], known[std::string(kSetVectorPush)]);
  for (const PushCall& call : calls)
    out.enters.push_back(
        {call.offset, IT_COOKIE(call.vector ? IT_CALL_GNUTLS_PUSH_VECTOR : IT_CALL_GNUTLS_PUSH, 0, library)});
  // Both kinds, or a program with its own push function would never be bound.
  const auto any = [&](bool vector) {
    return std::any_of(calls.begin(), calls.end(), [&](const PushCall& call) { return call.vector == vector; });
  };
  const bool ciphertext = any(true) && any(false);
  if (!ciphertext)
    for (const Watched& each : kTransport) add(each);
  out.how = ciphertext ? "GnuTLS, by ciphertext" : "GnuTLS, by descriptor";
  return out;
}

Result<GnuTlsLinks> attach_gnutls(const GnuTlsPrograms& programs, const std::string& path, int fd, uint32_t library,
                                  GnuTlsBinding binding) {
  TRY(GnuTlsPlaces places, find_gnutls_places(FileSource(fd), library, binding));
  GnuTlsLinks out{.links = {}, .how = places.how};
  // What sees the return first: a call that is entered is then always left.
  Status status = attach_uprobes(programs.exit, programs.multi, true, path, places.returns, &out.links);
  if (status.ok()) status = attach_uprobes(programs.enter, programs.multi, false, path, places.enters, &out.links);
  if (!status.ok()) return wrap(status.error(), "attach to " + path);
  return out;
}

}  // namespace infertrail
