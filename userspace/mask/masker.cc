#include "mask/masker.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>

#include "base/bytes.h"
#include "mask/body.h"
#include "mask/fields.h"
#include "mask/texts.h"

namespace infertrail {
namespace {

constexpr char kWithheld[] = "[[WITHHELD]]";
constexpr size_t kMaxExtraValues = 256;  // each costs one search of every derived text

void note(const std::string& text, Mask* mask) {
  for (const std::string& known : mask->not_run())
    if (known == text) return;
  mask->add_not_run(text);
}

const char* compression_of(std::string_view bytes) {
  if (bytes.starts_with("\x1f\x8b")) return "gzip";
  if (bytes.starts_with("\x28\xb5\x2f\xfd")) return "zstd";
  return nullptr;
}

size_t replace_all(const std::string& value, const std::string& name, std::string* text) {
  size_t places = 0, done = 0;
  std::string out;
  for (size_t at = text->find(value); at != std::string::npos; places++) {
    out.append(*text, done, at - done).append(name);
    done = at + value.size();
    at = text->find(value, done);
  }
  if (places > 0) *text = out.append(*text, done);
  return places;
}

// Such a value cannot be part of JSON's own syntax, so that it may be replaced in any body.
bool stays_in_strings(std::string_view value) {
  auto token = [](char c) {
    return is_alnum(c) || std::string_view("_-.~+/=").find(c) != std::string_view::npos;
  };
  auto letter = [](char c) { return is_alpha(c) && c != 'e' && c != 'E'; };
  return value.size() >= 8 && std::all_of(value.begin(), value.end(), token) &&
         std::any_of(value.begin(), value.end(), letter);
}

}  // namespace

Result<Masker> Masker::make(const std::vector<std::string>& detectors) {
  TRY(Scanner scanner, Scanner::make(detectors));
  return Masker(std::move(scanner));
}

void Masker::finish(Batch* batch, const std::string& where, bool counted, std::string* text,
                    Job* job) {
  auto outcome = batch->apply(text, &job->names);
  if (!outcome.ok()) {
    *text = kWithheld;
    note("all: " + outcome.error().message + "; " + where + " is withheld", job->mask);
    return;
  }
  if (!counted) return;
  for (const auto& [type, count] : outcome.value().counts)
    (*job->mask->mutable_counts())[type] += count;
  for (const std::string& type : outcome.value().cut)
    note(type + ": " + where + " was cut inside what may be a value; masked to its end", job->mask);
  for (const auto& extra : outcome.value().extra_values)
    if (extra.second.size() >= 6) job->extra_values.insert(extra);
}

void Masker::mask_text(Shape shape, const std::string& where, bool counted, std::string* text,
                       Job* job) {
  if (text->empty()) return;
  Batch batch(&scanner_);
  View view = View::borrowed(*text, 0);
  switch (shape) {
    case Shape::kText:
      add_text(view, 0, false, &batch);
      break;
    case Shape::kTarget:
      add_target(*text, &batch);
      break;
    case Shape::kCommandLine:
      add_command_line(*text, &batch);
      break;
    case Shape::kCredential:
      add_credential(view, &batch);
      break;
  }
  finish(&batch, where, counted, text, job);
}

void Masker::mask_body(const std::string& where, Body* body, Job* job) {
  for (std::string* bytes : {body->mutable_body(), body->mutable_body_binary()}) {
    if (bytes->empty()) continue;
    if (const char* compression = compression_of(*bytes); compression != nullptr)
      note("all: " + where + " is " + compression + " and was not decoded", job->mask);
    Batch batch(&scanner_);
    add_body(*bytes, body->content_type(), body->truncated(), &batch);
    finish(&batch, where, true, bytes, job);
    if (job->extra_values.size() > kMaxExtraValues) {
      note("CREDENTIAL: too many to look for each in the bodies", job->mask);
      continue;
    }
    for (const auto& [type, value] : job->extra_values) {
      if (type != "CREDENTIAL" || !stays_in_strings(value)) continue;
      size_t places = replace_all(value, job->names.name(type, value), bytes);
      if (places > 0) (*job->mask->mutable_counts())[type] += static_cast<uint32_t>(places);
    }
  }
}

void Masker::mask_http(Http* http, Job* job) {
  mask_text(Shape::kTarget, "path", true, http->mutable_path(), job);
  mask_text(Shape::kText, "method", true, http->mutable_method(), job);
  mask_text(Shape::kText, "version", true, http->mutable_version(), job);
  for (auto* headers : {http->mutable_request_headers(), http->mutable_response_headers()}) {
    for (Header& header : *headers) {
      Shape shape = is_credential_header(header.name()) ? Shape::kCredential : Shape::kText;
      mask_text(shape, "header " + header.name(), true, header.mutable_value(), job);
      mask_text(Shape::kText, "header name", true, header.mutable_name(), job);
    }
  }
}

void Masker::mask_derived(google::protobuf::Message* message, Job* job) {
  using google::protobuf::FieldDescriptor;
  const auto* reflection = message->GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(*message, &fields);
  for (const FieldDescriptor* field : fields) {
    int count = field->is_repeated() ? reflection->FieldSize(*message, field) : 1;
    bool nested = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    if (!nested && field->cpp_type() != FieldDescriptor::CPPTYPE_STRING) continue;
    for (int i = 0; i < count; i++) {
      bool many = field->is_repeated();
      if (nested) {
        mask_derived(many ? reflection->MutableRepeatedMessage(message, field, i)
                          : reflection->MutableMessage(message, field),
                     job);
        continue;
      }
      std::string text = many ? reflection->GetRepeatedString(*message, field, i)
                              : reflection->GetString(*message, field);
      std::string before = text;
      mask_text(Shape::kText, "inference." + field->name(), false, &text, job);
      for (const auto& [type, value] : job->extra_values)
        replace_all(value, job->names.name(type, value), &text);
      if (text == before) continue;
      many ? reflection->SetRepeatedString(message, field, i, text)
           : reflection->SetString(message, field, text);
    }
  }
}

void Masker::mask(Record* record) {
  Job job;
  job.mask = record->mutable_mask();
  // Credentials first: bodies may repeat them ("incorrect API key: …").
  if (record->has_http()) mask_http(record->mutable_http(), &job);
  if (record->has_process())
    mask_text(Shape::kCommandLine, "process.cmdline", true,
              record->mutable_process()->mutable_cmdline(), &job);
  if (record->has_peer())
    mask_text(Shape::kCommandLine, "peer.cmdline", true, record->mutable_peer()->mutable_cmdline(),
              &job);
  if (record->has_request()) mask_body("request", record->mutable_request(), &job);
  if (record->has_response()) mask_body("response", record->mutable_response(), &job);
  // Copies of headers, which chose how the bodies were read: after them, and counted there.
  for (Body* body : {record->has_request() ? record->mutable_request() : nullptr,
                     record->has_response() ? record->mutable_response() : nullptr}) {
    if (!body) continue;
    mask_text(Shape::kText, "content type", false, body->mutable_content_type(), &job);
    mask_text(Shape::kText, "content encoding", false, body->mutable_content_encoding(), &job);
  }
  for (Gap& gap : *record->mutable_gaps())
    mask_text(Shape::kText, "gap note", true, gap.mutable_note(), &job);
  if (record->has_event())
    for (auto& [name, value] : *record->mutable_event()->mutable_facts())
      mask_text(name.find("cmdline") != std::string::npos ? Shape::kCommandLine : Shape::kText,
                "event fact " + name, true, &value, &job);
  if (job.extra_values.size() > kMaxExtraValues) {
    note("SECRET: more than " + std::to_string(kMaxExtraValues) +
             " values known by their place only; inference is withheld",
         job.mask);
    record->clear_inference();
  }
  if (record->has_inference()) mask_derived(record->mutable_inference(), &job);
}

}  // namespace infertrail
