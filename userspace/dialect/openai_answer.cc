#include <algorithm>

#include "base/sse.h"
#include "dialect/openai.h"

namespace infertrail {

void OpenAiAnswer::add(JsonView object) {
  if (add_error(object)) return;
  if (model_.empty()) model_ = object["model"].text();
  if (id_.empty()) id_ = object["id"].text();
  int64_t position = 0;
  object["choices"].each([&](JsonView choice) { add_choice(choice, position++); });
  if (object["usage"].is(json::Type::kObject)) add_usage(object["usage"]);
}

bool OpenAiAnswer::add_error(JsonView object) {
  JsonView error = object["error"];
  std::string message;
  if (error.is(json::Type::kObject)) {
    message = error["message"].is(json::Type::kString) ? error["message"].text() : error.raw();
  } else if (error) {
    message = error.is(json::Type::kString) ? error.text() : error.raw();
  } else if (object["object"].text() == "error") {
    message = object["message"].text();
  } else if (object["detail"] && !object["choices"]) {
    JsonView detail = object["detail"];
    message = detail.is(json::Type::kString) ? detail.text() : detail.raw();
  } else {
    return false;
  }
  if (error_.empty()) error_ = message.empty() ? "error without a message" : message;
  return true;
}

void OpenAiAnswer::add_named_error(JsonView object) {
  std::string message = object["message"].text();
  if (error_.empty()) error_ = message.empty() ? object.raw() : message;
}

void OpenAiAnswer::add_choice(JsonView from, int64_t position) {
  if (!from.is(json::Type::kObject)) return;
  Choice& choice = choices_[from["index"].integer(position)];
  add_message(from["delta"] ? from["delta"] : from["message"], &choice);
  if (from["text"].is(json::Type::kString)) choice.text += from["text"].text();
  std::string reason = from["finish_reason"].text();
  if (!reason.empty()) choice.finish_reason = reason;
}

void OpenAiAnswer::add_message(JsonView from, Choice* choice) {
  choice->text += content_text(from["content"]);
  choice->text += from["refusal"].text();
  choice->reasoning += reasoning_text(from);
  int64_t position = 0;
  from["tool_calls"].each([&](JsonView call) { add_tool(call, position++, choice); });
  if (!from["function_call"]) return;
  // The old form: one call without id, under an index that no tool call has.
  auto [at, fresh] = choice->tool_at.emplace(-1, choice->tools.size());
  if (fresh) choice->tools.emplace_back();
  ToolCall& tool = choice->tools[at->second];
  if (tool.name().empty()) tool.set_name(from["function_call"]["name"].text());
  tool.mutable_arguments()->append(from["function_call"]["arguments"].text());
}

// Id and name come in the first fragment only, then pieces of the arguments.
void OpenAiAnswer::add_tool(JsonView call, int64_t position, Choice* choice) {
  auto [at, fresh] = choice->tool_at.emplace(call["index"].integer(position), choice->tools.size());
  std::string id = call["id"].text();
  // Some servers give every call index 0: a second id is a second call.
  bool other = !fresh && !id.empty() && !choice->tools[at->second].id().empty() &&
               choice->tools[at->second].id() != id;
  if (other) at->second = choice->tools.size();
  if (fresh || other) choice->tools.emplace_back();
  ToolCall& tool = choice->tools[at->second];
  JsonView function = call["function"];
  if (tool.id().empty()) tool.set_id(id);
  if (tool.name().empty()) tool.set_name(function["name"].text());
  JsonView arguments = function["arguments"];
  bool text = arguments.is(json::Type::kString) || !arguments;
  tool.mutable_arguments()->append(text ? arguments.text() : arguments.raw());
}

// The last one counts: servers that repeat usage count up.
void OpenAiAnswer::add_usage(JsonView usage) {
  input_tokens_ = usage["prompt_tokens"].count();
  output_tokens_ = usage["completion_tokens"].count();
  cached_tokens_ = usage["prompt_tokens_details"]["cached_tokens"].count();
}

bool OpenAiAnswer::finished() const {
  return !choices_.empty() && std::all_of(choices_.begin(), choices_.end(), [](const auto& item) {
    return !item.second.finish_reason.empty();
  });
}

void OpenAiAnswer::write(Inference* inference) const {
  bool first_text = true, first_reasoning = true;
  std::vector<std::string> reasons;
  for (const auto& [index, choice] : choices_) {
    auto join = [](const std::string& part, bool* first, std::string* to) {
      if (part.empty()) return;
      if (!*first) *to += '\n';
      *first = false;
      *to += part;
    };
    join(choice.text, &first_text, inference->mutable_output_text());
    join(choice.reasoning, &first_reasoning, inference->mutable_reasoning_text());
    for (const ToolCall& tool : choice.tools) *inference->add_tool_calls() = tool;
    bool known = std::find(reasons.begin(), reasons.end(), choice.finish_reason) != reasons.end();
    if (!known && !choice.finish_reason.empty()) reasons.push_back(choice.finish_reason);
  }
  for (const std::string& reason : reasons) {
    if (!inference->finish_reason().empty()) inference->mutable_finish_reason()->append(",");
    inference->mutable_finish_reason()->append(reason);
  }
  inference->set_choices(static_cast<uint32_t>(choices_.size()));
  inference->set_served_model(model_);
  inference->set_response_id(id_);
  inference->set_error(error_);
  inference->set_input_tokens(input_tokens_);
  inference->set_output_tokens(output_tokens_);
  inference->set_cached_tokens(cached_tokens_);
}

// Reads on behind [DONE] and behind the last finish_reason: usage may still come.
StreamEnd read_openai_stream(std::string_view body, OpenAiAnswer* answer) {
  StreamEnd end;
  bool done = false;
  for (const sse::Event& event : sse::scan(body)) {
    std::string data = sse::joined(body, event);
    if (data == "[DONE]") {
      done = true;
      continue;
    }
    auto document = json::Document::parse(data);
    if (!document.ok()) {
      end.unreadable++;
      continue;
    }
    JsonView object(document.value());
    bool named = event.name == "error";
    if (object["error"] || object["object"].text() == "error") {
      end.error |= answer->add_error(object);
    } else if (named) {
      end.error = true;
      answer->add_named_error(object);
    } else {
      answer->add(object);
    }
  }
  end.ended = done || answer->finished();
  return end;
}

}  // namespace infertrail
