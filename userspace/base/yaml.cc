#include "base/yaml.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/duration.pb.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "base/bytes.h"
#include "base/yaml_tree.h"

namespace infertrail {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using yaml::Place;
using yaml::Value;

constexpr size_t kMaxErrors = 100;
constexpr int64_t kMaxSeconds = 315576000000;  // of google.protobuf.Duration

std::string quote(std::string_view text) {
  return "\"" + std::string(text) + "\"";
}

// "allow" for ALLOW and for EFFECT_ALLOW of enum Effect.
std::string enum_name(const EnumValueDescriptor& value) {
  std::string prefix;
  for (char c : value.type()->name()) {
    if (c >= 'A' && c <= 'Z' && !prefix.empty()) prefix += '_';
    prefix += c;
  }
  prefix = to_lower(prefix) + "_";
  std::string name = to_lower(value.name());
  return name.starts_with(prefix) ? name.substr(prefix.size()) : name;
}

bool is_duration(const FieldDescriptor& field) {
  return field.message_type() != nullptr &&
         field.message_type()->full_name() == "google.protobuf.Duration";
}

class Filler {
 public:
  explicit Filler(std::vector<yaml::Problem>* problems) : problems_(problems) {}

  void message(const Value& value, Message* out) {
    if (value.kind != Value::Kind::kMap) {
      problem(value.place, out->GetDescriptor()->name() + " wants fields (name: value)");
      return;
    }
    std::map<std::string, int> seen;
    std::map<const void*, const FieldDescriptor*> chosen;
    for (const auto& [key, member] : value.members) {
      const FieldDescriptor* field = field_of(key, *out->GetDescriptor(), &seen);
      if (field == nullptr) continue;
      const auto* group = field->real_containing_oneof();
      if (group != nullptr && !chosen.emplace(group, field).second) {
        problem(key.place, "only one of the " + group->name() + " fields may be given");
        continue;
      }
      set_field(*field, key, member, out);
    }
  }

 private:
  void problem(const Place& place, std::string text) {
    problems_->push_back({place, std::move(text)});
  }

  bool first_time(const Value& key, std::map<std::string, int>* seen) {
    auto [at, fresh] = seen->emplace(key.scalar, key.place.line);
    if (!fresh)
      problem(key.place,
              quote(key.scalar) + " was already given at line " + std::to_string(at->second));
    return fresh;
  }

  const FieldDescriptor* field_of(const Value& key, const Descriptor& type,
                                  std::map<std::string, int>* seen) {
    if (key.kind != Value::Kind::kScalar) {
      problem(key.place, "a field name of " + type.name() + " is expected here");
      return nullptr;
    }
    if (!first_time(key, seen)) return nullptr;
    const FieldDescriptor* field = type.FindFieldByName(key.scalar);
    if (field != nullptr) return field;
    std::vector<std::string> names;
    for (int i = 0; i < type.field_count(); i++) names.push_back(type.field(i)->name());
    std::string near = nearest(key.scalar, names);
    problem(key.place, type.name() + " has no field " + quote(key.scalar) +
                           (near.empty() ? "" : "; did you mean " + quote(near) + "?"));
    return nullptr;
  }

  void set_field(const FieldDescriptor& field, const Value& key, const Value& value, Message* out) {
    if (value.kind == Value::Kind::kNull) {
      problem(key.place, field.name() + " has no value; give one or leave the line out");
    } else if (field.is_map()) {
      set_map(field, value, out);
    } else if (field.is_repeated()) {
      set_list(field, key, value, out);
    } else if (is_duration(field)) {
      set_duration(field, value, out->GetReflection()->MutableMessage(out, &field));
    } else if (field.message_type() != nullptr) {
      message(value, out->GetReflection()->MutableMessage(out, &field));
    } else {
      set_scalar(field, value, out);
    }
  }

  void set_list(const FieldDescriptor& field, const Value& key, const Value& value, Message* out) {
    if (value.kind != Value::Kind::kList) {
      problem(value.place, field.name() + " wants a list, such as [a, b]");
      return;
    }
    out->GetReflection()->ClearField(out, &field);  // a list replaces a default, never adds to it
    for (const Value& item : value.items) {
      if (item.kind == Value::Kind::kNull) {
        problem(key.place, field.name() + " has an item without a value");
      } else if (field.message_type() == nullptr) {
        set_scalar(field, item, out);
      } else {
        Message* element = out->GetReflection()->AddMessage(out, &field);
        is_duration(field) ? set_duration(field, item, element) : message(item, element);
      }
    }
  }

  void set_map(const FieldDescriptor& field, const Value& value, Message* out) {
    if (value.kind != Value::Kind::kMap) {
      problem(value.place, field.name() + " wants names and values (name: value)");
      return;
    }
    out->GetReflection()->ClearField(out, &field);
    std::map<std::string, int> seen;
    for (const auto& [key, member] : value.members) {
      if (key.kind != Value::Kind::kScalar) {
        problem(key.place, "a name is expected here");
        continue;
      }
      if (!first_time(key, &seen)) continue;
      Message* entry = out->GetReflection()->AddMessage(out, &field);
      const Descriptor& type = *field.message_type();
      set_scalar(*type.map_key(), key, entry);
      set_field(*type.map_value(), key, member, entry);
    }
  }

  void set_duration(const FieldDescriptor& field, const Value& value, Message* out) {
    static constexpr std::string_view kUnits = "smhd";
    static constexpr int64_t kSeconds[] = {1, 60, 3600, 86400};
    std::string_view text = value.scalar;
    int64_t count = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
    size_t unit = end + 1 == text.data() + text.size() ? kUnits.find(*end) : std::string_view::npos;
    if (value.kind != Value::Kind::kScalar || error != std::errc() || count < 0 ||
        unit == std::string_view::npos) {
      wrong(field, value, "a duration such as 30s, 5m, 12h or 30d");
      return;
    }
    if (count > kMaxSeconds / kSeconds[unit]) {
      problem(value.place, field.name() + ": " + value.scalar + " is too long");
      return;
    }
    const auto* seconds = out->GetDescriptor()->FindFieldByName("seconds");
    out->GetReflection()->SetInt64(out, seconds, count * kSeconds[unit]);
  }

  void wrong(const FieldDescriptor& field, const Value& value, const std::string& wanted) {
    std::string got = value.kind == Value::Kind::kList  ? "a list"
                      : value.kind == Value::Kind::kMap ? "fields"
                      : value.quoted                    ? quote(value.scalar) + " in quotes"
                                                        : quote(value.scalar);
    problem(value.place, field.name() + " wants " + wanted + ", got " + got);
  }

  void set_scalar(const FieldDescriptor& field, const Value& value, Message* out);
  template <typename T, typename Setter>
  void set_number(const FieldDescriptor& field, const Value& value, Message* out, Setter set,
                  Setter add);
  void set_enum(const FieldDescriptor& field, const Value& value, Message* out);

  std::vector<yaml::Problem>* problems_;
};

template <typename T, typename Setter>
void Filler::set_number(const FieldDescriptor& field, const Value& value, Message* out, Setter set,
                        Setter add) {
  bool size = field.name().ends_with("_bytes") && std::is_integral_v<T>;
  const std::string& text = value.scalar;
  T number{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  int shift = unit.empty() ? 0 : unit == "KiB" ? 10 : unit == "MiB" ? 20 : unit == "GiB" ? 30 : -1;
  bool plain = value.kind == Value::Kind::kScalar && !value.quoted;
  if (!plain || error == std::errc::invalid_argument || shift < 0 || (shift > 0 && !size)) {
    wrong(field, value,
          size                    ? "a size such as 4096, 512KiB, 64MiB or 2GiB"
          : std::is_integral_v<T> ? "a whole number"
                                  : "a number");
    return;
  }
  bool fits = error == std::errc();
  if constexpr (std::is_integral_v<T>) {
    const T highest = std::numeric_limits<T>::max() >> shift;
    fits = fits && number <= highest && (number >= 0 || shift == 0);
    if (fits) number = static_cast<T>(number << shift);
  }
  if (!fits) {
    problem(value.place, field.name() + ": " + text + " does not fit");
    return;
  }
  (out->GetReflection()->*(field.is_repeated() ? add : set))(out, &field, number);
}

void Filler::set_enum(const FieldDescriptor& field, const Value& value, Message* out) {
  const EnumDescriptor& type = *field.enum_type();
  std::string names;
  for (int i = 0; i < type.value_count(); i++) {
    const EnumValueDescriptor& known = *type.value(i);
    if (known.number() == 0) continue;  // "not given" is said by leaving the line out
    std::string name = enum_name(known);
    if (value.kind == Value::Kind::kScalar && value.scalar == name) {
      const auto* reflection = out->GetReflection();
      field.is_repeated() ? reflection->AddEnum(out, &field, &known)
                          : reflection->SetEnum(out, &field, &known);
      return;
    }
    names += (names.empty() ? "" : ", ") + name;
  }
  problem(value.place,
          field.name() + ": unknown value " + quote(value.scalar) + "; one of " + names);
}

void Filler::set_scalar(const FieldDescriptor& field, const Value& value, Message* out) {
  using R = google::protobuf::Reflection;
  const R* reflection = out->GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL: {
      bool known = value.scalar == "true" || value.scalar == "false";
      if (value.kind != Value::Kind::kScalar || value.quoted || !known)
        return wrong(field, value, "true or false");
      bool flag = value.scalar == "true";
      return field.is_repeated() ? reflection->AddBool(out, &field, flag)
                                 : reflection->SetBool(out, &field, flag);
    }
    case FieldDescriptor::CPPTYPE_STRING: {
      if (value.kind != Value::Kind::kScalar) return wrong(field, value, "text");
      return field.is_repeated() ? reflection->AddString(out, &field, value.scalar)
                                 : reflection->SetString(out, &field, value.scalar);
    }
    case FieldDescriptor::CPPTYPE_INT32:
      return set_number<int32_t>(field, value, out, &R::SetInt32, &R::AddInt32);
    case FieldDescriptor::CPPTYPE_INT64:
      return set_number<int64_t>(field, value, out, &R::SetInt64, &R::AddInt64);
    case FieldDescriptor::CPPTYPE_UINT32:
      return set_number<uint32_t>(field, value, out, &R::SetUInt32, &R::AddUInt32);
    case FieldDescriptor::CPPTYPE_UINT64:
      return set_number<uint64_t>(field, value, out, &R::SetUInt64, &R::AddUInt64);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return set_number<double>(field, value, out, &R::SetDouble, &R::AddDouble);
    case FieldDescriptor::CPPTYPE_FLOAT:
      return set_number<float>(field, value, out, &R::SetFloat, &R::AddFloat);
    case FieldDescriptor::CPPTYPE_ENUM:
      return set_enum(field, value, out);
    case FieldDescriptor::CPPTYPE_MESSAGE:
      break;  // set_field() has dealt with it
  }
  IT_CHECK(false);
}

}  // namespace

Status load_yaml(const std::string& file_name, std::string_view text, Message* out) {
  std::vector<yaml::Problem> problems;
  Value root = yaml::parse(text, &problems);
  if (problems.empty()) Filler(&problems).message(root, out);
  if (problems.empty()) return {};
  std::stable_sort(problems.begin(), problems.end(), [](const auto& a, const auto& b) {
    return std::pair(a.place.line, a.place.column) < std::pair(b.place.line, b.place.column);
  });
  std::string all;
  for (size_t i = 0; i < problems.size() && i < kMaxErrors; i++) {
    const Place& place = problems[i].place;
    all += (i == 0 ? "" : "\n") + file_name + ":" + std::to_string(place.line) + ":" +
           std::to_string(place.column) + ": " + problems[i].text;
  }
  if (problems.size() > kMaxErrors)
    all += "\n" + file_name + ": and " + std::to_string(problems.size() - kMaxErrors) + " more";
  return Error{Code::kInvalid, all};
}

}  // namespace infertrail
