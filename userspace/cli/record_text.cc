#include "cli/record_text.h"

#include <algorithm>
#include <map>

#include "base/bytes.h"
#include "cli/time_text.h"

namespace infertrail::cli {
namespace {

constexpr size_t kIndent = 2, kNameColumns = 12;
constexpr uint64_t kToTheEnd = UINT64_MAX;

const char* why(const std::string& reason) {
  static const std::map<std::string, const char*> kWords = {
      {"ring_full", "the kernel had no room for them; the daemon was too slow"},
      {"fault", "the process's memory could not be read"},
      {"pre_attach", "the connection is older than the recording"},
      {"lost_segment", "a part of the stream never arrived"},
      {"daemon_down", "the daemon was not running"},
      {"body_limit", "the body is longer than the configured limit; counted, not kept"},
      {"memory_limit", "given up to stay within the memory limit"},
      {"connection_reset", "the connection ended inside the message"},
      {"probe_missed", "the kernel could not run a probe"},
      {"ktls", "a file that the kernel encrypted itself"}};
  auto found = kWords.find(reason);
  return found == kWords.end() ? nullptr : found->second;
}

// Builds the text; every value goes through one_line() or block().
class Writer {
 public:
  explicit Writer(const Style& style) : style_(style) {}

  void title(const std::string& text, Colour colour = Colour::kBold) {
    out_ += (out_.empty() ? "" : "\n") + paint(style_, colour, one_line(text)) + "\n";
  }
  // Nothing for an empty value.
  void field(const std::string& name, const std::string& value, Colour colour = Colour::kNone,
             size_t columns = kNameColumns) {
    if (value.empty()) return;
    const std::string shown = one_line(name);
    const size_t used = display_width(shown);
    out_ += std::string(kIndent, ' ') + paint(style_, Colour::kDim, shown) +
            std::string(used < columns ? columns - used : 1, ' ') +
            paint(style_, colour, one_line(value)) + "\n";
  }
  void line(const std::string& text, Colour colour = Colour::kNone) {
    out_ += std::string(kIndent, ' ') + paint(style_, colour, one_line(text)) + "\n";
  }
  void text(std::string_view recorded, size_t indent = kIndent) { out_ += block(recorded, indent); }
  std::string take() { return std::move(out_); }

 private:
  const Style& style_;
  std::string out_;
};

std::string joined(const google::protobuf::RepeatedPtrField<std::string>& parts) {
  std::string out;
  for (const std::string& part : parts) out += (out.empty() ? "" : ", ") + part;
  return out;
}

void process(const std::string& name, const Process& process, Writer& to) {
  if (process.pid() == 0 && process.exe().empty()) return;
  std::string who = process.comm() + "[" + std::to_string(process.pid()) + "]";
  if (!process.exe().empty()) who += " " + process.exe();
  who += ", user " + (process.user().empty() ? std::to_string(process.uid()) : process.user());
  if (process.ppid() != 0) who += ", parent " + std::to_string(process.ppid());
  to.field(name, who);
  to.field("  command", process.cmdline());
  to.field("  cgroup", process.cgroup());
  to.field("  container", process.container_id());
  if (process.has_start_time()) to.field("  started", exact_time(process.start_time()));
}

void flow(const Flow& flow, Writer& to) {
  if (flow.client().empty() && flow.server().empty()) return;
  auto known = [](const std::string& address) { return address.empty() ? "(unknown)" : address; };
  std::string text = known(flow.client()) + " -> " + known(flow.server());
  text += flow.tls() ? ", TLS" : ", plain";
  if (!flow.bind().empty()) text += " (" + flow.bind() + ")";
  if (flow.direction() == "served") text += "; the process is the server";
  if (flow.direction() == "called") text += "; the process is the client";
  if (flow.exchange_number() != 0) text += "; exchange " + std::to_string(flow.exchange_number()) + " of the connection";
  to.field("connection", text);
  if (flow.pre_attach()) to.field("", "the connection is older than the recording", Colour::kYellow);
  if (flow.cookie() != 0) to.field("cookie", std::to_string(flow.cookie()));
}

void summary(const Record& record, Writer& to) {
  std::string title = "record " + std::to_string(record.index()) + "  " + record.kind();
  if (!record.complete()) title += "  NOT COMPLETE";
  to.title(title, record.complete() ? Colour::kBold : Colour::kRed);
  to.field("id", record.id());
  std::string time = exact_time(record.time());
  if (record.duration_ms() != 0) time += ", took " + duration_text(record.duration_ms());
  if (record.first_byte_ms() != 0) time += ", first byte after " + duration_text(record.first_byte_ms());
  to.field("time", time);
  if (record.has_end_time()) to.field("until", exact_time(record.end_time()));
  process("process", record.process(), to);
  process("peer", record.peer(), to);
  flow(record.flow(), to);
  const Principal& principal = record.principal();
  if (!principal.kind().empty())
    to.field("principal", principal.kind() + (principal.id().empty() ? "" : " " + principal.id()) +
                              (principal.source().empty() ? "" : ", from " + principal.source()));
  const Verdict& verdict = record.verdict();
  if (!verdict.action().empty())
    to.field("verdict", verdict.action() + (verdict.rule().empty() ? "" : " by rule " + verdict.rule()) +
                            (verdict.blocked() ? ", BLOCKED" : ""),
             verdict.blocked() ? Colour::kRed : Colour::kNone);
}

void gaps(const Record& record, Writer& to) {
  if (record.gaps().empty()) {
    if (!record.complete()) to.line("! something is missing, and the record does not say what", Colour::kRed);
    return;
  }
  to.title("missing", Colour::kRed);
  for (const Gap& gap : record.gaps()) to.line("! " + gap_text(gap), Colour::kRed);
}

void event(const Event& event, Writer& to) {
  if (event.what().empty() && event.facts().empty()) return;
  to.title("event");
  to.line(event.what());
  const std::map<std::string, std::string> sorted(event.facts().begin(), event.facts().end());
  size_t columns = kNameColumns;
  for (const auto& [name, value] : sorted) columns = std::max(columns, display_width(one_line(name)) + 2);
  for (const auto& [name, value] : sorted) to.field(name, value, Colour::kNone, columns);
}

void headers(const google::protobuf::RepeatedPtrField<Header>& headers, Writer& to) {
  for (const Header& header : headers) to.line(header.name() + ": " + header.value());
}

void tool_calls(const google::protobuf::RepeatedPtrField<ToolCall>& calls, size_t indent, Writer& to) {
  for (const ToolCall& call : calls)
    to.text("calls " + one_line(call.name()) + "(" + one_line(call.arguments()) + ")" +
                (call.id().empty() ? "" : "  id " + one_line(call.id())),
            indent);
}

std::string token_words(const Inference& inference) {
  if (inference.input_tokens() == 0 && inference.output_tokens() == 0) return "";
  std::string out = std::to_string(inference.input_tokens()) + " in";
  if (inference.cached_tokens() != 0) out += " (" + std::to_string(inference.cached_tokens()) + " cached)";
  return out + ", " + std::to_string(inference.output_tokens()) + " out";
}

void inference(const Inference& call, Writer& to) {
  to.title("inference");
  to.field("operation", call.operation() + (call.dialect().empty() ? "" : " (" + call.dialect() + ")") +
                            (call.stream() ? ", streamed" : ""));
  to.field("model", call.model());
  if (call.served_model() != call.model()) to.field("served as", call.served_model());
  to.field("server", call.server());
  to.field("tokens", token_words(call));
  to.field("finish", call.finish_reason());
  to.field("response id", call.response_id());
  if (call.choices() > 1) to.field("choices", std::to_string(call.choices()));
  to.field("tools", joined(call.tools()));
  to.field("error", call.error(), Colour::kRed);
  to.field("note", call.note(), Colour::kYellow);
  if (!call.messages().empty()) to.title("messages");
  for (const Message& message : call.messages()) {
    std::string role = "[" + message.role() + "]";
    if (!message.name().empty()) role += " " + message.name();
    if (!message.tool_call_id().empty()) role += " answers " + message.tool_call_id();
    to.line(role, Colour::kCyan);
    if (!message.reasoning_text().empty()) to.text("(reasoning) " + message.reasoning_text(), 2 * kIndent);
    to.text(message.content(), 2 * kIndent);
    tool_calls(message.tool_calls(), 2 * kIndent, to);
  }
  if (!call.reasoning_text().empty()) to.title("reasoning");
  to.text(call.reasoning_text());
  if (!call.output_text().empty()) to.title("output");
  to.text(call.output_text());
  if (!call.tool_calls().empty()) to.title("tool calls");
  tool_calls(call.tool_calls(), kIndent, to);
}

void mask(const Mask& mask, Writer& to) {
  if (mask.counts().empty() && mask.not_run().empty()) return;
  to.title("masked");
  const std::map<std::string, uint32_t> sorted(mask.counts().begin(), mask.counts().end());
  for (const auto& [type, count] : sorted) to.field(type, std::to_string(count));
  for (const std::string& text : mask.not_run()) to.field("not run", text, Colour::kYellow);
}

void body(const std::string& name, const Body& body, bool whole, Writer& to) {
  if (body.bytes() == 0 && body.body().empty() && body.body_binary().empty()) return;
  std::string facts = std::to_string(body.bytes()) + " bytes";
  if (!body.content_type().empty()) facts += ", " + body.content_type();
  if (!body.content_encoding().empty()) facts += ", " + body.content_encoding();
  if (body.truncated()) facts += ", only its beginning is kept";
  to.title(name + " body: " + facts);
  to.field("sha256", body.sha256());
  if (!whole) {
    to.line("(--bodies shows it)", Colour::kDim);
  } else if (!body.body_binary().empty()) {
    to.line("not text; in hex:", Colour::kDim);
    const std::string digits = hex(body.body_binary());
    for (size_t at = 0; at < digits.size(); at += 64) to.line(digits.substr(at, 64));
  } else {
    to.text(body.body());
  }
}

}  // namespace

std::string gap_text(const Gap& gap) {
  std::string out = gap.direction() + ": ";
  if (gap.to() == kToTheEnd)
    out += "everything from byte " + std::to_string(gap.from()) + " on is missing";
  else if (gap.to() <= gap.from())
    out += "something is missing at byte " + std::to_string(gap.from());
  else
    out += "bytes " + std::to_string(gap.from()) + " to " + std::to_string(gap.to()) + " are missing (" +
           std::to_string(gap.to() - gap.from()) + " bytes)";
  const char* words = why(gap.reason());
  out += words ? std::string(": ") + words : gap.reason().empty() ? "" : ": " + gap.reason();
  if (!gap.note().empty()) out += "; " + gap.note();
  return out;
}

std::string record_text(const Record& record, const Style& style, bool bodies) {
  Writer to(style);
  summary(record, to);
  gaps(record, to);
  if (record.has_event()) event(record.event(), to);
  if (record.has_http()) {
    const Http& http = record.http();
    to.title("request: " + http.method() + " " + http.path() + " HTTP/" + http.version());
    headers(http.request_headers(), to);
    to.title(http.status() == 0 ? "answer: none was seen" : "answer: status " + std::to_string(http.status()));
    headers(http.response_headers(), to);
  }
  if (record.has_inference()) inference(record.inference(), to);
  if (record.has_mask()) mask(record.mask(), to);
  body("request", record.request(), bodies, to);
  body("answer", record.response(), bodies, to);
  return to.take();
}

}  // namespace infertrail::cli
