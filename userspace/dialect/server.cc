// Recognising the server software by what only it says. A guess is worse than "unknown": a path
// that two servers answer, or `Server: uvicorn`, proves nothing.
#include <algorithm>
#include <array>
#include <cctype>

#include "dialect/dialect.h"

namespace infertrail {
namespace {

// Facts are looked for at the beginning and end of an answer, which is where servers put them.
constexpr size_t kLook = 64u << 10;

bool contains_any_case(std::string_view text, std::string_view word) {
  auto same = [](char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == b; };
  return std::search(text.begin(), text.end(), word.begin(), word.end(), same) != text.end();
}

bool server_header(const Exchange& exchange, std::string_view word) {
  const std::string* value = find_header(exchange.response_headers, "server");
  return value != nullptr && contains_any_case(*value, word);
}

bool has_prefix_header(const std::vector<HeaderField>& headers, std::string_view prefix) {
  return std::any_of(headers.begin(), headers.end(), [&](const HeaderField& field) {
    return same_name(std::string_view(field.name).substr(0, prefix.size()), prefix);
  });
}

// What follows `"key":` as a string value; inside JSON strings the quotes are escaped, so a model
// cannot say it.
bool member_starts(std::string_view body, std::string_view key,
                   bool (*fits)(std::string_view value)) {
  std::string quoted = "\"" + std::string(key) + "\":";
  body = body.substr(0, kLook);
  for (size_t at = body.find(quoted); at != std::string_view::npos;
       at = body.find(quoted, at + 1)) {
    std::string_view value = body.substr(at + quoted.size());
    while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
    if (!value.empty() && value.front() == '"' && fits(value.substr(1))) return true;
  }
  return false;
}

bool llama_fingerprint(std::string_view value) {  // "b11669-Debian"
  if (value.empty() || value.front() != 'b') return false;
  size_t digits = 1;
  while (digits < value.size() && value[digits] >= '0' && value[digits] <= '9') digits++;
  return digits > 1 && digits < value.size() && value[digits] == '-';
}

bool is_llama(const Exchange& e, std::string_view) {
  return server_header(e, "llama.cpp") ||
         member_starts(e.response.text(), "system_fingerprint", llama_fingerprint) ||
         member_starts(e.response.text(), "owned_by",
                       [](std::string_view value) { return value.starts_with("llamacpp\""); });
}
bool is_ollama(const Exchange& e, std::string_view) {
  return server_header(e, "ollama");
}
bool is_litellm(const Exchange& e, std::string_view) {
  return server_header(e, "litellm") || has_prefix_header(e.response_headers, "x-litellm-");
}
bool is_sglang(const Exchange& e, std::string_view path) {
  bool own_path =
      path == "/health_generate" || path == "/get_server_info" || path == "/flush_cache";
  return (own_path && e.status / 100 == 2) || server_header(e, "sglang");
}
bool is_vllm(const Exchange& e, std::string_view) {
  return server_header(e, "vllm") ||
         member_starts(e.response.text(), "id",
                       [](std::string_view value) { return value.starts_with("chatcmpl-tool-"); });
}
bool is_tgi(const Exchange& e, std::string_view) {
  return has_prefix_header(e.response_headers, "x-compute-") &&
         has_prefix_header(e.response_headers, "x-prompt-tokens");
}
bool is_triton(const Exchange& e, std::string_view) {
  return find_header(e.request_headers, "inference-header-content-length") != nullptr ||
         find_header(e.response_headers, "inference-header-content-length") != nullptr;
}

struct Server {
  const char* name;
  bool (*is)(const Exchange& exchange, std::string_view path);
};

// A gateway comes first: what it passes through is the server behind it.
constexpr std::array<Server, 7> kServers = {{
    {"litellm", is_litellm},
    {"llama.cpp", is_llama},
    {"ollama", is_ollama},
    {"sglang", is_sglang},
    {"vllm", is_vllm},
    {"tgi", is_tgi},
    {"triton", is_triton},
}};

}  // namespace

std::string recognise_server(const Exchange& exchange, std::string_view path) {
  for (const Server& server : kServers)
    if (server.is(exchange, path)) return server.name;
  return "unknown";
}

}  // namespace infertrail
