#include "dialect/openai.h"

#include <string>

namespace infertrail {
namespace {

bool ends_with_segment(std::string_view path, std::string_view end) {
  return path.size() >= end.size() && path.substr(path.size() - end.size()) == end;
}

// Prefixes are allowed ("/openai/v1/…", "/openai/deployments/{d}/…"); the bare forms only where no
// other dialect uses them: "/completions" and "/embeddings" alone are llama.cpp's own.
std::string operation_of(std::string_view path) {
  bool deployment = path.find("/deployments/") != std::string_view::npos;
  if (ends_with_segment(path, "/chat/completions")) return "chat";
  if (path.find("/v1/chat/completions/") != std::string_view::npos) return "chat";  // a stored one
  if (ends_with_segment(path, "/v1/completions")) return "completion";
  if (ends_with_segment(path, "/v1/embeddings")) return "embeddings";
  if (ends_with_segment(path, "/v1/models") || path == "/models") return "models";
  if (path.find("/v1/models/") != std::string_view::npos &&
      path.find(':') == std::string_view::npos)
    return "models";
  if (deployment && ends_with_segment(path, "/completions")) return "completion";
  if (deployment && ends_with_segment(path, "/embeddings")) return "embeddings";
  return "";
}

// An answer whose request was not seen shows by its "object" what it is.
std::string operation_of_answer(const Exchange& exchange) {
  std::string_view body = exchange.response.text();
  auto says = [&](std::string_view object) {
    return body.find("\"object\":\"" + std::string(object)) != std::string_view::npos ||
           body.find("\"object\": \"" + std::string(object)) != std::string_view::npos;
  };
  if (exchange.has_request) return "";
  if (says("chat.completion")) return "chat";
  if (says("text_completion")) return "completion";
  return "";
}

std::string operation(const Exchange& exchange, std::string_view path) {
  std::string by_path = exchange.has_request ? operation_of(path) : "";
  return by_path.empty() ? operation_of_answer(exchange) : by_path;
}

bool is_stream(const Exchange& exchange) {
  std::string_view body = exchange.response.text();
  body.remove_prefix(std::min(body.find_first_not_of(" \r\n\t"), body.size()));
  if (body.starts_with('{') || body.starts_with('[')) return false;
  const std::string* type = find_header(exchange.response_headers, "content-type");
  return type != nullptr && same_name(std::string_view(*type).substr(0, 17), "text/event-stream");
}

void not_complete(std::string_view note, Record* record) {
  record->set_complete(false);
  add_note(note, record->mutable_inference());
}

void describe_stream(const Exchange& exchange, OpenAiAnswer* answer, Record* record) {
  Inference* inference = record->mutable_inference();
  inference->set_stream(true);
  StreamEnd end = read_openai_stream(exchange.response.text(), answer);
  if (end.unreadable > 0)
    add_note(std::to_string(end.unreadable) + " events of the stream are not JSON", inference);
  if (end.error)
    not_complete("the stream stopped with an error", record);
  else if (!end.ended)
    not_complete("the stream never got its last event", record);
}

void describe_json(const Exchange& exchange, OpenAiAnswer* answer, Record* record) {
  Inference* inference = record->mutable_inference();
  std::string_view body = exchange.response.text();
  if (body.empty() && (exchange.method == "HEAD" || exchange.status == 204)) return;
  auto document = json::Document::parse(body);
  if (!document.ok()) {
    add_note("answer body is not JSON, " + document.error().message, inference);
    if (exchange.status >= 400) inference->set_error("status " + std::to_string(exchange.status));
    return;
  }
  answer->add(JsonView(document.value()));
}

}  // namespace

bool fits_openai(const Exchange& exchange, std::string_view path) {
  return !operation(exchange, path).empty();
}

void describe_openai(const Exchange& exchange, std::string_view path, Record* record) {
  Inference* inference = record->mutable_inference();
  inference->set_operation(operation(exchange, path));
  describe_openai_request(exchange, inference);
  if (exchange.has_response) {
    OpenAiAnswer answer;
    if (is_stream(exchange))
      describe_stream(exchange, &answer, record);
    else
      describe_json(exchange, &answer, record);
    std::string error = inference->error();
    answer.write(inference);
    if (inference->error().empty()) inference->set_error(error);
  }
  if (inference->model().empty()) inference->set_model(inference->served_model());
}

}  // namespace infertrail
