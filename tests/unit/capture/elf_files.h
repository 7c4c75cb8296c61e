// Real ELF files of this machine, and the truth about them by binutils.
#pragma once

#include <dlfcn.h>
#include <fcntl.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "base/owned.h"
#include "capture/tls_library.h"

namespace infertrail::elf_files {

// The file that a function of this process comes from.
inline std::string file_of(const void* function) {
  Dl_info info{};
  return dladdr(function, &info) != 0 ? info.dli_fname : "";
}

inline Result<TlsSymbols> symbols_of(const std::string& path) {
  Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return Error{Code::kNotFound, path};
  return read_tls_symbols(fd.get());
}

struct Truth {
  uint64_t address = 0, size = 0;
};

// Functions of a file that is not stripped; by `nm`, or `nm -D` for what is exported.
inline std::map<std::string, Truth> nm(const std::string& path, const char* options = "") {
  std::map<std::string, Truth> out;
  Owned<FILE, pclose> pipe(popen(("nm -S " + std::string(options) + " '" + path + "'").c_str(), "r"));
  char line[4096], name[4096], type = 0;
  while (pipe && fgets(line, sizeof(line), pipe.get())) {
    unsigned long address = 0, size = 0;
    if (sscanf(line, "%lx %lx %c %4000s", &address, &size, &type, name) != 4) continue;
    std::string text = name;
    text = text.substr(0, text.find('@'));
    if (type == 'T' || type == 't') out.emplace(text, Truth{address, size});
  }
  return out;
}

// The file's own view of its first `count` bytes is changed: no section headers, as by `sstrip`.
class WithoutSections : public ByteSource {
 public:
  explicit WithoutSections(const ByteSource& file) : file_(file) {}
  uint64_t size() const override { return file_.size(); }
  size_t read(uint64_t offset, char* to, size_t count) const override {
    const size_t n = file_.read(offset, to, count);
    for (uint64_t at = 40; at < 48; at++)   // e_shoff
      if (at >= offset && at - offset < n) to[at - offset] = '\0';
    return n;
  }

 private:
  const ByteSource& file_;
};

}  // namespace infertrail::elf_files
