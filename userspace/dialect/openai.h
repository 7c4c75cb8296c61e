// OpenAI chat, completions, embeddings and models, as OpenAI and the servers that imitate it speak
// them: JSON and server-sent events.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "dialect/dialect.h"
#include "dialect/json_view.h"

namespace infertrail {

bool fits_openai(const Exchange& exchange, std::string_view path);
void describe_openai(const Exchange& exchange, std::string_view path, Record* record);

// What an answer says, put together from one JSON object or from the events of a stream, in
// whatever order and by `index`.
class OpenAiAnswer {
 public:
  // One answer object, or one chunk of a stream.
  void add(JsonView object);
  // True when `object` is an error; the first error is kept.
  bool add_error(JsonView object);
  // The data of an event that is named "error", whatever it looks like.
  void add_named_error(JsonView object);
  // Every choice that was begun has its finish_reason, and there was at least one.
  bool finished() const;
  void write(Inference* inference) const;

 private:
  struct Choice {
    std::string text, reasoning, finish_reason;
    std::vector<ToolCall> tools;
    std::map<int64_t, size_t> tool_at;  // index on the wire -> in `tools`
  };
  void add_choice(JsonView choice, int64_t position);
  void add_message(JsonView message, Choice* choice);
  void add_tool(JsonView call, int64_t position, Choice* choice);
  void add_usage(JsonView usage);

  std::map<int64_t, Choice> choices_;
  std::string model_, id_, error_;
  uint32_t input_tokens_ = 0, output_tokens_ = 0, cached_tokens_ = 0;
};

// Reads `body` as a stream of events into `answer`. Returns whether its last event came.
struct StreamEnd {
  bool ended = false;     // [DONE], or every choice has finished
  bool error = false;     // an error event came
  size_t unreadable = 0;  // events that are not JSON
};
StreamEnd read_openai_stream(std::string_view body, OpenAiAnswer* answer);

void describe_openai_request(const Exchange& exchange, Inference* inference);

// The text of a message's content: a string, or parts joined by '\n' with other parts by their
// type.
std::string content_text(JsonView content);
// The reasoning text under whichever of its names.
std::string reasoning_text(JsonView message);

}  // namespace infertrail
