#include "capture/library_probes.h"

#include <spdlog/spdlog.h>

#include "capture/probe_plan.h"
#include "capture/uprobe_link.h"

namespace infertrail {
namespace {

Status attach_plan(const ProbePlan& plan, const LibraryPrograms& programs, const std::string& path,
                   std::vector<Fd>* links) {
  // What sees the return first: a call that is entered is then always left.
  TRY_STATUS(attach_uprobes(programs.exit, programs.multi, true, path, plan.returns, links));
  TRY_STATUS(attach_uprobes(programs.exit, programs.multi, false, path, plan.exits, links));
  return attach_uprobes(programs.enter, programs.multi, false, path, plan.enters, links);
}

constexpr uint64_t kEnoughCalls = 64;   // a few may be waiting in the function, or have been left

}  // namespace

std::string probe_problem(const LibraryHits& hits, uint64_t blind) {
  uint64_t enters = 0, exits = 0, unmatched = 0;
  for (uint32_t call : {IT_CALL_READ, IT_CALL_READ_DONE, IT_CALL_WRITE, IT_CALL_WRITE_DONE, IT_CALL_WRITE_FLAGS}) {
    enters += hits.enters[call];
    exits += hits.exits[call];
  }
  unmatched = hits.enters[IT_CALL_NONE];
  if (blind > 0 && enters == 0)
    return "its probes were never reached, and the process sends TLS: another TLS library is in use, or another copy of this one";
  if (exits == 0 && unmatched >= kEnoughCalls)
    return "its calls are seen to begin and never to return: the probes are at the wrong place";
  return "";
}

Result<LibraryProbes> LibraryProbes::attach(const LibraryPrograms& programs, const std::string& path, int fd,
                                            const TlsSymbols& symbols, uint32_t library) {
  const FileSource file(fd);
  if (!symbols.is_tls() && !symbols.is_bio()) return Error{Code::kNotFound, path + ": no TLS functions"};
  const ProbePlan plan = plan_probes(symbols, file, library, Reach::kInternal);
  std::vector<Fd> links;
  Status status = attach_plan(plan, programs, path, &links);
  if (status.ok()) return LibraryProbes(std::move(links), library, symbols.is_tls(), plan.how);
  // The kernel does not take one of these instructions. At their symbols it takes every function that
  // begins with a usual one.
  spdlog::warn("library={} plan=\"{}\" error=\"{}\": its public functions instead", path, plan.how,
               status.error().message);
  links.clear();
  const ProbePlan symbols_only = plan_probes(symbols, file, library, Reach::kSymbols);
  status = attach_plan(symbols_only, programs, path, &links);
  if (!status.ok()) return wrap(status.error(), "attach to " + path);
  return LibraryProbes(std::move(links), library, symbols.is_tls(), symbols_only.how);
}

}  // namespace infertrail
