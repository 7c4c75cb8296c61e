// Any bytes as the file of a target: must end in an answer, with offsets that are inside the file. The last
// byte chooses whether the section headers count, for the way without symbols. Built into the unit tests (a
// mutation loop) and, with clang, into a fuzzer.
#include <elf.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "capture/function_bounds.h"
#include "capture/gnutls_probes.h"
#include "capture/go_code.h"
#include "capture/go_probes.h"
#include "capture/push_calls.h"
#include "capture/tls_library.h"

extern "C" int elf_fuzz(const uint8_t* data, size_t size) {
  using namespace infertrail;
  if (size == 0) return 0;
  std::string bytes(reinterpret_cast<const char*>(data), size - 1);
  if ((data[size - 1] & 1) && bytes.size() >= 64) bytes.replace(40, 8, 8, '\0');   // e_shoff
  const MemorySource source(bytes);
  go_keeps_arguments(EM_X86_64, bytes);   // as the code of a function
  if (auto places = find_go_places(source); places.ok())
    for (const auto& each : {places.value().enters, places.value().exits})
      for (const UprobePlace& place : each)
        if (place.offset >= bytes.size()) __builtin_trap();
  auto symbols = read_tls_symbols(source);
  if (!symbols.ok()) return 0;
  for (auto& [name, offset] : symbols.value().offsets)
    if (offset >= bytes.size()) __builtin_trap();
  auto image = ElfImage::open(source);
  if (!image.ok()) __builtin_trap();
  const FunctionBounds bounds(image.value());
  for (const ElfSegment& segment : image.value().segments()) {
    if (segment.offset + segment.size > bytes.size()) __builtin_trap();
    for (const PushCall& call : push_calls(image.value(), segment.address, segment.address + segment.size / 2))
      if (call.offset >= bytes.size()) __builtin_trap();
    for (uint64_t at : {segment.address, segment.address + segment.size / 2, segment.address + segment.size - 1})
      if (auto range = bounds.at(at); range && (at < range->begin || at >= range->end)) __builtin_trap();
  }
  if (auto places = find_gnutls_places(source, 1); places.ok())
    for (const UprobePlace& each : places.value().enters)
      if (each.offset >= bytes.size()) __builtin_trap();
  return 0;
}

#ifdef INFERTRAIL_LIBFUZZER
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) { return elf_fuzz(data, size); }
#endif
