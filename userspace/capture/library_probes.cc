#include "capture/library_probes.h"

#include <spdlog/spdlog.h>

#include "capture/probe_plan.h"
#include "capture/tls_library.h"
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

}  // namespace

Result<LibraryProbes> LibraryProbes::attach(const LibraryPrograms& programs, const std::string& path, int fd,
                                            uint32_t library) {
  const FileSource file(fd);
  TRY(TlsSymbols symbols, read_tls_symbols(file));
  if (!symbols.is_tls() && !symbols.is_bio()) return Error{Code::kNotFound, path + ": no TLS functions"};
  const ProbePlan plan = plan_probes(symbols, file, library, Reach::kInternal);
  std::vector<Fd> links;
  Status status = attach_plan(plan, programs, path, &links);
  if (status.ok()) return LibraryProbes(std::move(links), library, plan.how);
  // The kernel does not take one of these instructions. At their symbols it takes every function that
  // begins with a usual one.
  spdlog::warn("library={} plan=\"{}\" error=\"{}\": its public functions instead", path, plan.how,
               status.error().message);
  links.clear();
  const ProbePlan symbols_only = plan_probes(symbols, file, library, Reach::kSymbols);
  status = attach_plan(symbols_only, programs, path, &links);
  if (!status.ok()) return wrap(status.error(), "attach to " + path);
  return LibraryProbes(std::move(links), library, symbols_only.how);
}

}  // namespace infertrail
