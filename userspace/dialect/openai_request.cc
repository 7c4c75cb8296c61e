#include "dialect/openai.h"

namespace infertrail {
namespace {

void add_part(std::string part, bool* first, std::string* text) {
  if (!*first) *text += '\n';
  *first = false;
  *text += part;
}

ToolCall tool_call(JsonView call) {
  ToolCall tool;
  JsonView function = call["function"] ? call["function"] : call["custom"];
  tool.set_id(call["id"].text());
  tool.set_name(function["name"].text());
  JsonView arguments = function["arguments"] ? function["arguments"] : function["input"];
  tool.set_arguments(arguments.is(json::Type::kString) ? arguments.text() : arguments.raw());
  return tool;
}

void add_message(JsonView from, Inference* inference) {
  Message* to = inference->add_messages();
  to->set_role(from["role"].text());
  to->set_content(content_text(from["content"]));
  to->set_name(from["name"].text());
  to->set_reasoning_text(reasoning_text(from));
  to->set_tool_call_id(from["tool_call_id"].text());
  from["tool_calls"].each([&](JsonView call) { *to->add_tool_calls() = tool_call(call); });
  if (JsonView call = from["function_call"]) {
    ToolCall* tool = to->add_tool_calls();
    tool->set_name(call["name"].text());
    tool->set_arguments(call["arguments"].text());
  }
}

// A prompt or an embedding's input: a text, token ids, or a list of those.
void add_prompt(JsonView prompt, const char* role, Inference* inference) {
  if (!prompt) return;
  auto add = [&](std::string content) {
    Message* message = inference->add_messages();
    message->set_role(role);
    message->set_content(std::move(content));
  };
  if (prompt.is(json::Type::kString)) return add(prompt.text());
  if (!prompt.is(json::Type::kArray)) return add(prompt.raw());
  bool ids = false;
  prompt.each([&](JsonView item) {
    if (item.is(json::Type::kString))
      add(item.text());
    else if (item.is(json::Type::kNumber))
      ids = true;
    else
      add(item.raw());
  });
  if (ids) add(prompt.raw());
}

}  // namespace

std::string content_text(JsonView content) {
  if (content.is(json::Type::kString)) return content.text();
  std::string text;
  bool first = true;
  content.each([&](JsonView part) {
    if (part.is(json::Type::kString)) return add_part(part.text(), &first, &text);
    std::string type = part["type"].text();
    bool readable = part["text"].is(json::Type::kString);
    add_part(readable ? part["text"].text() : "[" + (type.empty() ? "part" : type) + "]", &first,
             &text);
  });
  return text;
}

std::string reasoning_text(JsonView message) {
  for (const char* name : {"reasoning", "reasoning_content", "thinking"})
    if (message[name].is(json::Type::kString)) return message[name].text();
  return "";
}

void describe_openai_request(const Exchange& exchange, Inference* inference) {
  std::string_view body = exchange.request.text();
  if (!exchange.has_request || (body.empty() && exchange.method != "POST")) return;
  auto document = json::Document::parse(body);
  if (!document.ok()) {
    add_note("request body is not JSON, " + document.error().message, inference);
    return;
  }
  JsonView request(document.value());
  inference->set_model(request["model"].text());
  inference->set_stream(request["stream"].boolean());
  request["messages"].each([&](JsonView message) { add_message(message, inference); });
  add_prompt(request["prompt"], "prompt", inference);
  add_prompt(request["input"], "prompt", inference);
  request["tools"].each([&](JsonView tool) {
    JsonView name = tool["function"]["name"];
    if (!name) name = tool["name"];
    inference->add_tools(name ? name.text() : tool["type"].text());
  });
  request["functions"].each([&](JsonView tool) { inference->add_tools(tool["name"].text()); });
}

}  // namespace infertrail
