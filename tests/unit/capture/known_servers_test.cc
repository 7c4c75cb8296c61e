#include "capture/known_servers.h"

#include <gtest/gtest.h>

namespace infertrail {
namespace {

std::string known(const std::string& exe, std::vector<std::string> args, std::vector<uint16_t> ports = {}) {
  ProcessFacts facts;
  facts.exe = exe;
  facts.args = std::move(args);
  return known_server(facts, ports);
}

TEST(KnownServersTest, ByExecutable) {
  EXPECT_EQ("llama.cpp", known("/usr/bin/llama-server", {}));
  EXPECT_EQ("llama.cpp", known("/x/llama-cpp-server", {}));
  EXPECT_EQ("ollama", known("/usr/local/bin/ollama", {"ollama", "serve"}));
  EXPECT_EQ("ollama", known("/tmp/ollama_llama_server", {}));
  EXPECT_EQ("tgi", known("/usr/local/bin/text-generation-router", {}));
  EXPECT_EQ("tgi", known("/usr/local/bin/text-generation-launcher", {}));
  EXPECT_EQ("tei", known("/usr/local/bin/text-embeddings-router", {}));
  EXPECT_EQ("triton", known("/opt/tritonserver/bin/tritonserver", {}));
  EXPECT_EQ("vllm", known("/usr/bin/vllm", {}));
}

TEST(KnownServersTest, ByArgumentsOfAnInterpreter) {
  EXPECT_EQ("vllm", known("/usr/bin/python3.11", {"python3", "-m", "vllm.entrypoints.openai.api_server"}));
  EXPECT_EQ("vllm", known("/usr/bin/python3", {"python3", "/usr/local/bin/vllm", "serve", "m"}));
  EXPECT_EQ("sglang", known("/usr/bin/python3", {"python3", "-m", "sglang.launch_server"}));
  EXPECT_EQ("sglang", known("/usr/bin/pypy3", {"pypy3", "-c", "import sglang.srt"}));
  EXPECT_EQ("tgi", known("/usr/bin/python3", {"python3", "-m", "text_generation_server.cli"}));
  EXPECT_EQ("llama.cpp", known("/usr/bin/python3", {"python3", "-m", "llama_cpp.server"}));
  EXPECT_EQ("lmdeploy", known("/usr/bin/python3", {"python3", "/bin/lmdeploy", "serve", "api_server"}));
  EXPECT_EQ("litellm", known("/usr/bin/python3", {"python3", "/usr/bin/litellm"}));
  EXPECT_EQ("mlserver", known("/usr/bin/python3", {"python3", "/usr/bin/mlserver", "start", "."}));
}

TEST(KnownServersTest, APortIsAConditionOnlyTogetherWithArguments) {
  EXPECT_EQ("kserve", known("/usr/bin/python3", {"python3", "-m", "kserve"}, {8080}));
  EXPECT_EQ("", known("/usr/bin/python3", {"python3", "-m", "kserve"}, {8081}));
  EXPECT_EQ("unknown inference server", known("/usr/bin/python3", {"python3", "uvicorn", "app"}, {80, 8000}));
  EXPECT_EQ("", known("/usr/bin/python3", {"python3", "uvicorn", "app"}, {}));
  EXPECT_EQ("", known("/usr/bin/python3", {"python3", "-m", "http.server"}, {8000, 8080}));
}

TEST(KnownServersTest, NotOthersThatOnlyMentionOne) {
  EXPECT_EQ("", known("/bin/grep", {"grep", "vllm.entrypoints"}));
  EXPECT_EQ("", known("/usr/bin/vim", {"vim", "llama-server"}));
  EXPECT_EQ("", known("/usr/bin/llama-server-log", {}));
  EXPECT_EQ("", known("", {}));
}

TEST(KnownServersTest, AReplacedExecutableIsStillKnown) {
  EXPECT_EQ("llama.cpp", known("/usr/bin/llama-server (deleted)", {}));
}

}  // namespace
}  // namespace infertrail
