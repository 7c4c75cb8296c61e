#include "unit/corpus.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "dialect/dialect.h"
#include "protocol/conversation.h"
#include "protocol/to_record.h"
#include "stream/connection.h"

namespace infertrail::corpus {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::TextFormat;

const std::string kRoot = std::string(IT_SOURCE_DIR) + "/tests/corpus/";

[[noreturn]] void bad(const std::string& path, int line, const std::string& what) {
  std::fprintf(stderr, "%s:%d: %s\n", path.c_str(), line, what.c_str());
  std::abort();
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) bad(path, 0, "cannot be read");
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

std::string unescape(const std::string& text, const std::string& path, int line) {
  std::string out;
  for (size_t i = 0; i < text.size(); i++) {
    if (text[i] != '\\') {
      out += text[i];
      continue;
    }
    char c = ++i < text.size() ? text[i] : '\0';
    if (c == 'r')
      out += '\r';
    else if (c == 'n')
      out += '\n';
    else if (c == '\\')
      out += '\\';
    else if (c == 'x' && i + 2 < text.size()) {
      out += static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16));
      i += 2;
    } else
      bad(path, line, "unknown escape");
  }
  return out;
}

// A sample was saved with its framing undone; where its head says chunked it is put back as the
// server does it: one chunk per event, each a piece of its own.
void add_sample(const std::string& text, Direction direction, std::vector<Piece>* pieces) {
  size_t end = text.find("\r\n\r\n") + 4;
  std::string head = text.substr(0, end), body = text.substr(end);
  pieces->push_back({direction, head});
  if (head.find("chunked") == std::string::npos) {
    pieces->push_back({direction, body});
    return;
  }
  for (size_t at = 0; at < body.size();) {
    size_t next = body.find("\n\n", at);
    next = next == std::string::npos ? body.size() : next + 2;
    char size[32];
    std::snprintf(size, sizeof size, "%zx\r\n", next - at);
    pieces->push_back({direction, size + body.substr(at, next - at) + "\r\n"});
    at = next;
  }
  pieces->push_back({direction, "0\r\n\r\n"});
}

void read_line(const std::string& line, int number, Transcript* to) {
  auto starts = [&](const char* with) { return line.rfind(with, 0) == 0; };
  auto rest = [&](size_t from) { return line.substr(from); };
  if (line.empty() || line[0] == '#') return;
  if (starts("> "))
    to->pieces.push_back({Direction::kToServer, unescape(rest(2), to->path, number)});
  else if (starts("< "))
    to->pieces.push_back({Direction::kToClient, unescape(rest(2), to->path, number)});
  else if (starts("<file "))
    add_sample(read_file(kRoot + rest(6)), Direction::kToClient, &to->pieces);
  else if (starts("= "))
    to->records.push_back({rest(2), number});
  else if (starts("  ") && !to->records.empty())
    to->records.back().text += "\n" + line;
  else if (starts("protocol "))
    to->protocol = rest(9);
  else if (starts("max_body_bytes "))
    to->limits.max_body_bytes = std::stoul(rest(15));
  else if (line == "reset")
    to->reset = true;
  else
    bad(to->path, number, "not a line of a transcript");
}

std::vector<Record> records_of(std::vector<Exchange> exchanges) {
  std::vector<Record> records;
  for (const Exchange& exchange : exchanges) {
    Record& record = records.emplace_back();
    fill_record(exchange, true, &record);
    describe(exchange, &record);
  }
  return records;
}

std::string differs(const Message& want, const Message& got, const TextFormat::ParseInfoTree& given,
                    const std::string& where);

std::string differs_field(const Message& want, const Message& got, const FieldDescriptor* field,
                          const TextFormat::ParseInfoTree& given, const std::string& where) {
  const auto* reflection = want.GetReflection();
  if (!field->is_repeated()) {
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE)
      return differs(reflection->GetMessage(want, field), reflection->GetMessage(got, field),
                     *given.GetTreeForNested(field, -1), where);
    std::string a, b;
    TextFormat::PrintFieldValueToString(want, field, -1, &a);
    TextFormat::PrintFieldValueToString(got, field, -1, &b);
    return a == b ? "" : where + ": wanted " + a + ", got " + b;
  }
  int count = reflection->FieldSize(want, field);
  if (count != reflection->FieldSize(got, field))
    return where + ": wanted " + std::to_string(count) + " of them, got " +
           std::to_string(reflection->FieldSize(got, field)) + "\n" + got.DebugString();
  for (int i = 0; i < count; i++) {
    std::string place = where + "[" + std::to_string(i) + "]", result, a, b;
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      result = differs(reflection->GetRepeatedMessage(want, field, i),
                       reflection->GetRepeatedMessage(got, field, i),
                       *given.GetTreeForNested(field, i), place);
    } else {
      TextFormat::PrintFieldValueToString(want, field, i, &a);
      TextFormat::PrintFieldValueToString(got, field, i, &b);
      if (a != b) result = place + ": wanted " + a + ", got " + b;
    }
    if (!result.empty()) return result;
  }
  return "";
}

// A field is compared when it was written, even with its default value.
std::string differs(const Message& want, const Message& got, const TextFormat::ParseInfoTree& given,
                    const std::string& where) {
  const auto* descriptor = want.GetDescriptor();
  for (int i = 0; i < descriptor->field_count(); i++) {
    const FieldDescriptor* field = descriptor->field(i);
    if (given.GetLocation(field, field->is_repeated() ? 0 : -1).line < 0) continue;
    std::string result = differs_field(want, got, field, given, where + "." + field->name());
    if (!result.empty()) return result;
  }
  return "";
}

}  // namespace

std::vector<Transcript> load(const std::string& folder) {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(kRoot + folder))
    if (entry.path().extension() == ".txt") paths.push_back(entry.path().string());
  std::sort(paths.begin(), paths.end());
  std::vector<Transcript> all;
  for (const std::string& path : paths) {
    Transcript& transcript = all.emplace_back();
    transcript.path = path;
    std::istringstream lines(read_file(path));
    std::string line;
    for (int number = 1; std::getline(lines, line); number++) read_line(line, number, &transcript);
    if (transcript.protocol != "http1") bad(path, 1, "no protocol line that is known");
    if (transcript.pieces.empty() || transcript.records.empty()) bad(path, 1, "says nothing");
  }
  if (all.empty()) bad(kRoot + folder, 0, "no transcripts");
  return all;
}

std::vector<Step> steps_of(const Transcript& transcript) {
  std::vector<Step> steps;
  uint64_t offsets[2] = {0, 0}, time = kTime0;
  for (const Piece& piece : transcript.pieces) {
    uint64_t& offset = offsets[static_cast<size_t>(piece.direction)];
    steps.push_back({piece.direction, offset, time += kTimeStep, piece.bytes, false});
    offset += piece.bytes.size();
  }
  return steps;
}

std::vector<Record> replay(const Transcript& transcript, const std::vector<Step>& steps) {
  Conversation conversation(transcript.limits);
  for (const Step& step : steps) {
    uint64_t end = step.offset + step.bytes.size();
    if (step.lost)
      conversation.gap({step.direction, step.offset, end, GapReason::kRingFull, step.time_ns});
    else
      conversation.data({step.direction, step.offset, step.time_ns, step.bytes});
  }
  conversation.finish(transcript.reset, kTime0 + kTimeStep * 1000);
  return records_of(conversation.take());
}

std::vector<Record> replay_segments(const Transcript& transcript, const std::vector<Step>& steps) {
  Conversation conversation(transcript.limits);
  Connection connection(conversation);
  for (const Step& step : steps)
    connection.add({step.direction, step.offset, step.time_ns, step.bytes});
  connection.close(kTime0 + kTimeStep * 1000);
  conversation.finish(transcript.reset, kTime0 + kTimeStep * 1000);
  return records_of(conversation.take());
}

std::string difference(const Expected& expected, const Record& record) {
  Record want;
  TextFormat::ParseInfoTree given;
  TextFormat::Parser parser;
  parser.WriteLocationsTo(&given);
  if (!parser.ParseFromString(expected.text, &want)) return "the expected record cannot be parsed";
  return differs(want, record, given, "record");
}

}  // namespace infertrail::corpus
