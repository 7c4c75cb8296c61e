#include "capture/probe_plan.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "base/owned.h"
#include "capture/library_probes.h"
#include "infertrail/event.h"

namespace infertrail {
namespace {

using abi::u64;

// One call of an internal function, in code that surrounds it; the file is an ELF file of one segment.
struct Made {
  std::string file;
  TlsSymbols symbols;
};

std::string bytes(std::initializer_list<int> values) { return std::string(values.begin(), values.end()); }

template <typename T>
void put(std::string& out, size_t at, T value) {
  out.replace(at, sizeof(value), reinterpret_cast<const char*>(&value), sizeof(value));
}

constexpr uint64_t kCode = 0x1000, kCaller = 0x1100, kInternal = 0x1200;

// `internal`: the first bytes of ssl_read_internal; `behind`: what follows its call in SSL_read_ex.
Made make(const std::string& internal, const std::string& behind, char opcode = '\xe8') {
  Made out;
  std::string& f = out.file;
  f.assign(0x2000, '\xcc');
  f.replace(0, 64, 64, '\0');
  f.replace(0, 7, bytes({0x7f, 'E', 'L', 'F', 2, 1, 1}));
  put<uint16_t>(f, 16, 3);
  put<uint16_t>(f, 18, 62);
  put<uint32_t>(f, 20, 1);
  put<uint64_t>(f, 32, 64);
  put<uint16_t>(f, 52, 64);
  put<uint16_t>(f, 54, 56);
  put<uint16_t>(f, 56, 1);
  put<uint16_t>(f, 58, 64);
  put<uint32_t>(f, 64, 1);
  put<uint32_t>(f, 68, 5);
  put<uint64_t>(f, 72, kCode);
  put<uint64_t>(f, 80, kCode);
  put<uint64_t>(f, 88, kCode);
  put<uint64_t>(f, 96, 0x1000);
  put<uint64_t>(f, 104, 0x1000);
  put<uint64_t>(f, 112, 0x1000);
  f.replace(kInternal, internal.size(), internal);
  f.replace(kCaller, 4, bytes({0x48, 0x83, 0xec, 0x08}));   // sub $8,%rsp
  f[kCaller + 4] = opcode;
  put<int32_t>(f, kCaller + 5, static_cast<int32_t>(kInternal - (kCaller + 9)));
  f.replace(kCaller + 9, behind.size(), behind);
  out.symbols.offsets = {{"SSL_read_ex", kCaller}, {"SSL_write_ex", kCaller + 0x40}, {"ssl_read_internal", kInternal}};
  return out;
}

const std::string kPush = bytes({0x41, 0x55, 0x41, 0x54}), kCet = bytes({0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x83, 0xec, 0x58});
const std::string kTestJump = bytes({0x85, 0xc0, 0x7e, 0x05}), kNoJump = bytes({0x31, 0xd2, 0x85, 0xc0});

bool has(const std::vector<UprobePlace>& places, uint64_t offset, uint64_t cookie) {
  return std::any_of(places.begin(), places.end(),
                     [&](const UprobePlace& each) { return each.offset == offset && each.cookie == cookie; });
}

ProbePlan plan(const Made& made, Reach reach = Reach::kInternal) {
  return plan_probes(made.symbols, MemorySource(made.file), 7, reach);
}

#ifdef __x86_64__
TEST(ProbePlan, ACheapInternalFunctionIsProbedItself) {
  const ProbePlan got = plan(make(kPush, kTestJump));
  EXPECT_TRUE(has(got.enters, kInternal, IT_COOKIE(IT_CALL_READ_DONE, 8, 7)));
  EXPECT_TRUE(has(got.returns, kInternal, IT_COOKIE(IT_CALL_READ_DONE, 0, 7)));
  EXPECT_FALSE(has(got.enters, kCaller, IT_COOKIE(IT_CALL_READ_DONE, 8, 7))) << "twice";
}

TEST(ProbePlan, Trap45_ADearOneAtItsCalls) {
  ProbePlan got = plan(make(kCet, kTestJump));
  EXPECT_TRUE(has(got.enters, kCaller + 4, IT_COOKIE(IT_CALL_READ_DONE, 0, 7)));
  EXPECT_TRUE(has(got.exits, kCaller + 9 + 2, IT_COOKIE(IT_CALL_READ_DONE, 0, 7))) << "at the jump";
  got = plan(make(kCet, kNoJump));
  EXPECT_TRUE(has(got.exits, kCaller + 9, IT_COOKIE(IT_CALL_READ_DONE, 0, 7))) << "behind the call";
}

TEST(ProbePlan, Trap45_WhatIsJumpedToIsProbedAtThePublicFunctions) {
  const ProbePlan got = plan(make(kCet, kTestJump, '\xe9'));
  EXPECT_TRUE(has(got.enters, kCaller, IT_COOKIE(IT_CALL_READ_DONE, 8, 7)));
  EXPECT_TRUE(has(got.returns, kCaller, IT_COOKIE(IT_CALL_READ_DONE, 0, 7)));
}

TEST(ProbePlan, Trap45_AWrongOffsetIsRefused) {
  for (uint64_t wrong : {kInternal + 2, kInternal - 1, kInternal + 1, uint64_t{0x5000}}) {
    Made made = make(kPush, kTestJump);
    made.symbols.offsets["ssl_read_internal"] = wrong;
    const ProbePlan got = plan(made);
    EXPECT_TRUE(has(got.enters, kCaller, IT_COOKIE(IT_CALL_READ_DONE, 8, 7))) << wrong;
    for (const auto* places : {&got.enters, &got.exits, &got.returns})
      for (const UprobePlace& place : *places) EXPECT_NE(wrong, place.offset);
  }
}
#endif

TEST(ProbePlan, WithoutJudgingCodeEverythingIsAtItsSymbol) {
  const ProbePlan got = plan(make(kPush, kTestJump), Reach::kSymbols);
  EXPECT_TRUE(has(got.enters, kCaller, IT_COOKIE(IT_CALL_READ_DONE, 8, 7)));
  EXPECT_TRUE(got.exits.empty());
}

TEST(ProbePlan, TheWriteOfOpenssl33HasAFifthArgument) {
  Made made = make(kPush, kTestJump);
  made.symbols.offsets = {{"SSL_write_ex", kCaller}, {"ssl_write_internal", kInternal}};
  made.symbols.write_internal_has_flags = true;
  EXPECT_TRUE(has(plan(made).enters, kInternal, IT_COOKIE(IT_CALL_WRITE_FLAGS, 8, 7)));
}

TEST(ProbeProblem, Trap37_ProbesThatNeverFireAreAProblem) {
  LibraryHits hits;
  EXPECT_EQ("", probe_problem(hits, 0)) << "nobody has used it yet";
  EXPECT_NE("", probe_problem(hits, 1));
  hits.enters[IT_CALL_READ] = 5;
  EXPECT_EQ("", probe_problem(hits, 1)) << "another connection's fault";
  hits.enters[IT_CALL_NONE] = 64;
  EXPECT_NE("", probe_problem(hits, 0)) << "no call returns";
  hits.exits[IT_CALL_WRITE] = 1;
  EXPECT_EQ("", probe_problem(hits, 0));
}

}  // namespace
}  // namespace infertrail
