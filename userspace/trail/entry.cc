#include "trail/entry.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include <array>
#include <chrono>
#include <unordered_map>
#include <vector>

#include "base/bytes.h"
#include "base/crypto.h"
#include "base/utf8.h"
#include "trail/encoding.h"
#include "trail/merkle.h"
#include "trail/segment.h"

namespace infertrail::trail {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// From a store of this thread: one call of the generator costs more than all that a record needs.
// What was handed out is wiped.
Result<std::string> pooled_random(size_t count) {
  thread_local std::array<unsigned char, 4096> store;
  thread_local size_t used = store.size();
  IT_CHECK(count <= store.size());
  if (store.size() - used < count) {
    if (RAND_bytes(store.data(), static_cast<int>(store.size())) != 1)
      return Error{Code::kIo, "the system gives no random numbers"};
    used = 0;
  }
  std::string bytes(reinterpret_cast<const char*>(store.data() + used), count);
  OPENSSL_cleanse(store.data() + used, count);
  used += count;
  return bytes;
}

// The fields below which text can stand, found once for each type: asking every message for its set
// fields cost a fifth of a small record.
const std::vector<const FieldDescriptor*>& text_fields(const Descriptor* type) {
  thread_local std::unordered_map<const Descriptor*, std::vector<const FieldDescriptor*>> known;
  auto [at, fresh] = known.try_emplace(type);
  if (!fresh) return at->second;
  for (int i = 0; i < type->field_count(); i++) {
    const FieldDescriptor* field = type->field(i);
    const bool timestamp = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE &&
                           field->message_type() == google::protobuf::Timestamp::descriptor();
    const bool text = field->type() == FieldDescriptor::TYPE_STRING ||
                      field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    if (text && !timestamp && !field->is_map()) at->second.push_back(field);
  }
  return at->second;
}

void repair_field(Message& message, const FieldDescriptor* field) {
  const Reflection* reflection = message.GetReflection();
  std::string scratch;
  int count = field->is_repeated() ? reflection->FieldSize(message, field) : 1;
  for (int i = 0; i < count; i++) {
    const std::string& text =
        field->is_repeated() ? reflection->GetRepeatedStringReference(message, field, i, &scratch)
                             : reflection->GetStringReference(message, field, &scratch);
    if (is_utf8(text)) continue;   // nearly always: no copy of a large body for that
    std::string repaired = text;
    repair_utf8(repaired);
    if (field->is_repeated())
      reflection->SetRepeatedString(&message, field, i, std::move(repaired));
    else
      reflection->SetString(&message, field, std::move(repaired));
  }
}

template <typename Map>
void repair_keys(Map& map) {
  std::remove_reference_t<Map> repaired;
  bool changed = false;
  for (const auto& [key, value] : map) {
    std::string name = key;
    changed = repair_utf8(name) || changed;
    auto copy = value;
    if constexpr (std::is_same_v<decltype(copy), std::string>)
      changed = repair_utf8(copy) || changed;
    repaired[name] = copy;
  }
  if (changed) map.swap(repaired);
}

// Every string field of a message, at any depth. Maps are handled by name: reflection shows them as
// repeated entries whose keys must not be edited.
void repair_message(Message& message) {
  const Reflection* reflection = message.GetReflection();
  for (const FieldDescriptor* field : text_fields(message.GetDescriptor())) {
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
      repair_field(message, field);
    } else if (field->is_repeated()) {
      for (int i = 0; i < reflection->FieldSize(message, field); i++)
        repair_message(*reflection->MutableRepeatedMessage(&message, field, i));
    } else if (reflection->HasField(message, field)) {
      repair_message(*reflection->MutableMessage(&message, field));
    }
  }
}

void repair_record(Record& record) {
  repair_message(record);
  if (record.has_mask()) repair_keys(*record.mutable_mask()->mutable_counts());
  if (record.has_event()) repair_keys(*record.mutable_event()->mutable_facts());
}

uint64_t nanoseconds(const google::protobuf::Timestamp& time) {
  return static_cast<uint64_t>(time.seconds()) * 1000000000u + static_cast<uint64_t>(time.nanos());
}

// Bytes known to be missing; a gap of unknown length counts nothing here, the record names it.
uint64_t gap_bytes(const Record& record) {
  uint64_t total = 0;
  for (const Gap& gap : record.gaps())
    if (gap.to() != UINT64_MAX && gap.to() > gap.from()) total += gap.to() - gap.from();
  return total;
}

// The limits below add up to less than kMaxLeafBytes: 128 + 3*64 + 256 + 36*2 + 24*(40+8) + 160 …
Leaf make_leaf(const Record& record, const std::string& body, const std::string& boot_id,
               const std::string& note) {
  Leaf leaf;
  leaf.set_version(1);
  leaf.set_kind(utf8_prefix(record.kind(), 32));
  leaf.set_id(utf8_prefix(record.id(), 64));
  leaf.set_time_unix_nano(nanoseconds(record.time()));
  leaf.set_record_sha256(std::string(bytes_of(sha256(body))));
  leaf.set_record_bytes(body.size());
  leaf.set_model(utf8_prefix(record.inference().model(), 192));
  leaf.set_operation(utf8_prefix(record.inference().operation(), 32));
  leaf.set_verdict(utf8_prefix(record.verdict().action(), 32));
  leaf.set_http_status(record.http().status());
  leaf.set_input_tokens(record.inference().input_tokens());
  leaf.set_output_tokens(record.inference().output_tokens());
  leaf.set_complete(record.complete());
  leaf.set_gap_bytes(gap_bytes(record));
  leaf.set_bind(utf8_prefix(record.flow().bind(), 32));
  leaf.set_boot_id(utf8_prefix(boot_id, 40));
  leaf.set_note(utf8_prefix(note, 256));
  size_t kept = 0;
  for (const auto& [type, count] : record.mask().counts()) {
    if (kept++ == 20) break;  // the record holds all of them
    (*leaf.mutable_mask_counts())[utf8_prefix(type, 32)] += count;
  }
  return leaf;
}

}  // namespace

Result<Entry> make_entry(Record& record, const std::string& boot_id, const std::string& note) {
  record.clear_index();
  if (record.id().empty()) {
    auto now = std::chrono::system_clock::now().time_since_epoch();
    TRY(std::string id,
        uuid_v7(record.has_time() ? nanoseconds(record.time())
                                  : static_cast<uint64_t>(std::chrono::nanoseconds(now).count())));
    record.set_id(id);
  }
  if (record.salt().size() != kSaltBytes) {
    TRY(std::string salt, pooled_random(kSaltBytes));
    record.set_salt(std::move(salt));
  }
  repair_record(record);
  if (record.ByteSizeLong() > kMaxRecordBytes)
    return Error{Code::kExhausted,
                 "record " + record.id() + " has " + std::to_string(record.ByteSizeLong()) +
                     " bytes, the trail takes at most " + std::to_string(kMaxRecordBytes)};
  Entry entry;
  entry.id = record.id();
  if (!record.SerializeToString(&entry.body))
    return Error{Code::kInvalid, "record " + record.id() + " does not serialize"};
  Leaf leaf = make_leaf(record, entry.body, boot_id, note);
  IT_CHECK(leaf.SerializeToString(&entry.leaf) && entry.leaf.size() <= kMaxLeafBytes);
  return entry;
}

Result<Record> open_record(uint64_t index, std::string_view leaf, std::string_view body) {
  auto corrupt = [&](const std::string& what) {
    return Error{Code::kCorrupt, "entry " + std::to_string(index) + ": " + what};
  };
  Leaf parsed;
  if (!parsed.ParseFromArray(leaf.data(), static_cast<int>(leaf.size())))
    return corrupt("its leaf does not parse");
  if (parsed.version() != 1)
    return corrupt("its leaf is of version " + std::to_string(parsed.version()) +
                   ", this program knows 1");
  if (parsed.record_sha256() != bytes_of(sha256(body)) || parsed.record_bytes() != body.size())
    return corrupt("the stored record is not the one that its leaf commits to");
  Record record;
  if (!record.ParseFromArray(body.data(), static_cast<int>(body.size())))
    return corrupt("the stored record does not parse");
  record.set_index(index);
  return record;
}

}  // namespace infertrail::trail
