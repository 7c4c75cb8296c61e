#include "capture/selector.h"

#include <gmock/gmock.h>

namespace infertrail {
namespace {

using testing::HasSubstr;

ProcessFacts server() {
  ProcessFacts facts;
  facts.pid = 123;
  facts.exe = "/opt/bin/llama-server";
  facts.comm = "llama-server";
  facts.args = {"/opt/bin/llama-server", "-m", "a b.gguf", "--port", "8000"};
  facts.cgroup = "/system.slice/llama.service/inner";
  return facts;
}

// The reason of the match, or "" or the error.
std::string match(const std::string& text, const ProcessFacts& facts = server(),
                  const std::vector<uint16_t>& ports = {8000, 9000}) {
  auto selector = Selector::parse(text);
  return selector.ok() ? selector.value().match(facts, ports) : "error: " + selector.error().message;
}

TEST(SelectorTest, EveryFormMatchesAndSaysWhy) {
  EXPECT_EQ("auto: llama.cpp", match("auto"));
  for (const char* text :
       {"pid=123", "exe=/opt/bin/llama-server", "exe=llama-server", "exe=llama-*", "exe=/opt/*/llama-serve?",
        "comm=llama-server", "comm=llama*", "cmdline~=-m a b\\.gguf", "cmdline~=--port (8000|9000)$",
        "cgroup=/system.slice/llama.service/inner", "cgroup=/system.slice/llama.service", "cgroup=/system.slice",
        "cgroup=/system.slice/llama*", "cgroup=/*/llama.service", "port=8000", "port=9000", "unit=llama.service",
        "unit=llama", "unit=llama*.service"})
    EXPECT_EQ(text, match(text));
}

TEST(SelectorTest, AndNothingElse) {
  for (const char* text :
       {"pid=124", "pid=12", "exe=/opt/bin/llama", "exe=server", "exe=bin/llama-server", "exe=/opt/?/llama-server",
        "comm=llama", "comm=LLAMA-SERVER", "cmdline~=^-m", "cmdline~=9001", "cgroup=/system.slice/llama",
        "cgroup=/system", "cgroup=/llama.service", "port=80", "unit=lama", "unit=inner", "unit=llama.socket"})
    EXPECT_EQ("", match(text)) << text;
  EXPECT_EQ("", match("port=8000", server(), {}));
  ProcessFacts shell;
  shell.exe = "/bin/sh";
  EXPECT_EQ("", match("auto", shell));
}

TEST(SelectorTest, AReplacedExecutableStillMatches) {
  ProcessFacts facts = server();
  facts.exe += " (deleted)";
  EXPECT_EQ("exe=llama-server", match("exe=llama-server", facts));
  EXPECT_EQ("exe=/opt/bin/llama-server", match("exe=/opt/bin/llama-server", facts));
  EXPECT_EQ("auto: llama.cpp", match("auto", facts));
}

// Kind and name in the kernel, or the error.
std::string stop(const std::string& text) {
  auto selector = Selector::parse(text);
  if (!selector.ok()) return "error: " + selector.error().message;
  EXPECT_TRUE(selector.value().stops());
  EXPECT_EQ(text, selector.value().text());
  const auto name = selector.value().stop_name();
  return name ? std::to_string(name->kind) + " " + reinterpret_cast<const char*>(name->text) : "none";
}

TEST(SelectorTest, StopUntilAttachedGoesByOneName) {
  EXPECT_EQ("1 llama-server", stop("exe=/opt/bin/llama-server,stop"));
  EXPECT_EQ("1 llama-server", stop("exe=/opt/*/llama-server,stop"));
  EXPECT_EQ("1 llama-server", stop("exe=llama-server,stop"));
  EXPECT_EQ("2 llama-server", stop("comm=llama-server,stop"));
  EXPECT_EQ("3 llama.service", stop("cgroup=/system.slice/llama.service,stop"));
  EXPECT_EQ("3 llama.service", stop("unit=llama.service,stop"));
  EXPECT_EQ("3 llama.service", stop("unit=llama,stop"));
  EXPECT_EQ("none", stop("pid=123,stop"));
  EXPECT_EQ("exe=llama-server,stop", match("exe=llama-server,stop"));
  EXPECT_EQ("exe=/opt/*/llama-server,stop", match("exe=/opt/*/llama-server,stop"));
  EXPECT_FALSE(Selector::parse("exe=x").value().stops());
  EXPECT_EQ(std::string(62, 'x').size() + 2, stop("exe=" + std::string(200, 'x') + ",stop").size());
}

TEST(SelectorTest, StopUntilAttachedNeedsWhatTheKernelKnows) {
  for (const char* text : {"auto,stop", "port=80,stop"})
    EXPECT_THAT(stop(text), HasSubstr("the kernel cannot know at exec who that will be")) << text;
  EXPECT_THAT(stop("cmdline~=serve,stop"), HasSubstr("an expression that ends so is written ,[s]top"));
  EXPECT_EQ("", match("cmdline~=serve,[s]top"));
  for (const char* text : {"exe=llama-*,stop", "exe=/opt/bin/,stop", "comm=ll?,stop", "cgroup=/,stop", "cgroup=/x/*,stop",
                           "unit=llama*,stop"})
    EXPECT_THAT(stop(text), HasSubstr("the last part of the name must be there, without * and ?")) << text;
  EXPECT_THAT(match("exe=,stop"), HasSubstr("a value is missing"));
}

TEST(SelectorTest, ErrorsSayWhatWouldBeRight) {
  struct Case {
    const char *text, *message;
  };
  for (const Case& each :
       {Case{"", "selector \"\": no such selector; use auto, pid=N, exe=PATH"},
        Case{"Auto", "no such selector; did you mean auto?; use auto"},
        Case{"zzzzzz=1", "no such selector; use auto"}, Case{"prot=80", "no such selector; did you mean port=?; use auto"},
        Case{"pid", "no such selector"}, Case{"cmdline=x", "no such selector; did you mean cmdline~=?; use auto"},
        Case{"pid=", "a value is missing; use auto"}, Case{"exe=", "a value is missing"},
        Case{"pid=0", "a pid is a number from 1 to 4194304"}, Case{"pid=-1", "a pid is a number"},
        Case{"pid=12x", "a pid is a number"}, Case{"pid=4194305", "a pid is a number"},
        Case{"pid= 1", "a pid is a number"}, Case{"port=0", "a port is a number from 1 to 65535"},
        Case{"port=65536", "a port is a number"}, Case{"port=99999999999", "a port is a number"},
        Case{"port=http", "a port is a number"},
        Case{"cmdline~=(", "not a POSIX extended regular expression: "},
        Case{"cgroup=system.slice", "a cgroup path begins with '/'"}}) {
    auto selector = Selector::parse(each.text);
    ASSERT_FALSE(selector.ok()) << each.text;
    EXPECT_EQ(Code::kInvalid, selector.error().code);
    EXPECT_THAT(selector.error().message, HasSubstr(each.message));
    EXPECT_THAT(selector.error().message, HasSubstr(std::string("\"") + each.text + "\""));
  }
  EXPECT_TRUE(Selector::parse("pid=4194304").ok());
  EXPECT_TRUE(Selector::parse("port=65535").ok());
}

TEST(SelectorTest, SaysWhatItNeeds) {
  EXPECT_EQ(8000, Selector::parse("port=8000").value().port());
  EXPECT_EQ(0, Selector::parse("pid=8000").value().port());
  EXPECT_EQ(8000u, Selector::parse("pid=8000").value().pid());
  EXPECT_EQ(0u, Selector::parse("port=8000").value().pid());
  EXPECT_TRUE(Selector::parse("port=1").value().needs_ports());
  EXPECT_TRUE(Selector::parse("auto").value().needs_ports());
  EXPECT_FALSE(Selector::parse("exe=x").value().needs_ports());
  EXPECT_EQ("/a/b", Selector::parse("exe=/a/b").value().exact_exe());
  EXPECT_EQ("", Selector::parse("exe=/a/*").value().exact_exe());
  EXPECT_EQ("", Selector::parse("exe=b").value().exact_exe());
}

TEST(SelectorTest, Globs) {
  EXPECT_TRUE(glob_match("", ""));
  EXPECT_TRUE(glob_match("*", ""));
  EXPECT_TRUE(glob_match("**a*?", "xxaxa"));
  EXPECT_TRUE(glob_match("a*b*c", "a-b-b-c"));
  EXPECT_TRUE(glob_match("a?c", "a*c"));
  EXPECT_FALSE(glob_match("", "a"));
  EXPECT_FALSE(glob_match("?", ""));
  EXPECT_FALSE(glob_match("a*b", "a-b-"));
  EXPECT_FALSE(glob_match("a[b]", "ab"));
  // Must not take exponential time.
  EXPECT_FALSE(glob_match("a*a*a*a*a*a*a*a*a*a*a*a*b", std::string(2000, 'a')));
}

}  // namespace
}  // namespace infertrail
