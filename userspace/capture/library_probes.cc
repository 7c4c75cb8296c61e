#include "capture/library_probes.h"

#include <unistd.h>

#include "capture/attach_point.h"
#include "capture/tls_library.h"
#include "capture/uprobe_link.h"
#include "infertrail/event.h"

namespace infertrail {
namespace {

using abi::u64;   // of the macros in event.h

// What is watched: one row a function.
struct Watched {
  const char* symbol;
  uint32_t function;       // IT_CALL_*
  bool returns = false;    // its result matters
  bool hot = false;        // called for every message: looked at for a cheaper place (attach_point.h)
};
constexpr Watched kWatched[] = {
    {"SSL_read", IT_CALL_READ, true, true},
    {"SSL_read_ex", IT_CALL_READ_DONE, true},
    {"SSL_write", IT_CALL_WRITE, true, true},
    {"SSL_write_ex", IT_CALL_WRITE_DONE, true},
    {"SSL_write_ex2", IT_CALL_WRITE_FLAGS, true},
    {"SSL_do_handshake", IT_CALL_HANDSHAKE, true},
    {"SSL_free", IT_CALL_FREE},
    {"SSL_clear", IT_CALL_FREE},
    {"SSL_shutdown", IT_CALL_SHUTDOWN},
    {"BIO_write", IT_CALL_BIO_WRITE, false, true},
    {"BIO_write_ex", IT_CALL_BIO_WRITE},
};

// Where the two ends of a call are probed: offsets in the file, and what to add to the stack pointer
// there to get its value behind the return, which tells which call it is that returns.
struct Place {
  uint64_t enter, exit;
  uint64_t enter_stack, exit_stack;
  bool moved;   // they are instructions inside the function; else its entry and its return
};

#ifdef __x86_64__
constexpr uint64_t kReturnAddress = 8;   // on the stack at entry, gone at return
#else
constexpr uint64_t kReturnAddress = 0;
#endif

Place place_of(const Watched& watched, int fd, uint64_t symbol) {
  char code[kCallPointBytes];
  const ssize_t n = watched.hot ? pread(fd, code, sizeof(code), static_cast<off_t>(symbol)) : 0;
  const Place plain{symbol, symbol, kReturnAddress, 0, false};
  if (n <= 0) return plain;
  const std::string_view seen(code, static_cast<size_t>(n));
  auto points = watched.returns ? cheap_call_points(seen) : cheap_entry_point(seen);
  if (!points) return plain;
  const uint64_t stack = points->frame + kReturnAddress;
  return {symbol + points->enter, symbol + points->exit, stack, stack, true};
}

}  // namespace

Result<LibraryProbes> LibraryProbes::attach(const LibraryPrograms& programs, const std::string& path, int fd) {
  TRY(TlsSymbols symbols, read_tls_symbols(fd));
  if (!symbols.is_tls() && !symbols.is_bio()) return Error{Code::kNotFound, path + ": no TLS functions"};
  std::vector<UprobePlace> enters, exits, returns;
  for (const Watched& watched : kWatched) {
    auto found = symbols.offsets.find(watched.symbol);
    if (found == symbols.offsets.end()) continue;
    const Place place = place_of(watched, fd, found->second);
    enters.push_back({place.enter, IT_COOKIE(watched.function, place.enter_stack, 0)});
    if (watched.returns)
      (place.moved ? exits : returns).push_back({place.exit, IT_COOKIE(watched.function, place.exit_stack, 0)});
  }
  std::vector<Fd> links;
  // What sees the return first: a call that is entered is then always left.
  Status status = attach_uprobes(programs.exit, programs.multi, true, path, returns, &links);
  if (status.ok()) status = attach_uprobes(programs.exit, programs.multi, false, path, exits, &links);
  if (status.ok()) status = attach_uprobes(programs.enter, programs.multi, false, path, enters, &links);
  if (!status.ok()) return wrap(status.error(), "attach to " + path);
  return LibraryProbes(std::move(links));
}

}  // namespace infertrail
