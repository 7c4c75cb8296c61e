#include "capture/known_servers.h"

#include <string_view>

namespace infertrail {
namespace {

// A server is known by the file name of its executable, or, for scripts, by a word of its
// arguments together with an interpreter; a port alone is a hint only when the arguments name a
// Python or Ray web server. Sources: the projects' own start commands.
struct KnownServer {
  std::string_view name;
  std::string_view exe;        // file name of the executable, or "" for any interpreter
  std::string_view argument;   // must stand in the arguments, or "" for no condition
  uint16_t port;               // must listen there, or 0
};

constexpr KnownServer kServers[] = {
    {"llama.cpp", "llama-server", "", 0},
    {"llama.cpp", "llama-cpp-server", "", 0},
    {"ollama", "ollama", "", 0},
    {"ollama", "ollama_llama_server", "", 0},
    {"tgi", "text-generation-launcher", "", 0},
    {"tgi", "text-generation-router", "", 0},
    {"tei", "text-embeddings-router", "", 0},
    {"triton", "tritonserver", "", 0},
    {"vllm", "vllm", "", 0},
    {"vllm", "", "vllm.entrypoints", 0},
    {"vllm", "", "/vllm serve", 0},
    {"sglang", "", "sglang.launch_server", 0},
    {"sglang", "", "sglang.srt", 0},
    {"tgi", "", "text_generation_server", 0},
    {"llama.cpp", "", "llama_cpp.server", 0},
    {"kserve", "", "kserve", 8080},
    {"lmdeploy", "", "lmdeploy serve", 0},
    {"litellm", "", "/litellm", 0},
    {"mlserver", "", "mlserver start", 0},
    {"unknown inference server", "", "uvicorn", 8000},
};

std::string_view file_name(std::string_view path) {
  size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

bool is_interpreter(std::string_view exe) {
  return exe.starts_with("python") || exe.starts_with("pypy") || exe == "node";
}

}  // namespace

std::string known_server(const ProcessFacts& facts, const std::vector<uint16_t>& ports) {
  std::string_view exe = file_name(without_deleted(facts.exe));
  const std::string arguments = command_line(facts.args);
  for (const KnownServer& row : kServers) {
    if (row.exe.empty() ? !is_interpreter(exe) : exe != row.exe) continue;
    if (!row.argument.empty() && arguments.find(row.argument) == std::string::npos) continue;
    bool listens = row.port == 0;
    for (uint16_t port : ports) listens |= port == row.port;
    if (listens) return std::string(row.name);
  }
  return "";
}

}  // namespace infertrail
