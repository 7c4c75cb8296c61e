#include "base/yaml.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>
#include <infertrail/policy.pb.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <sstream>

#include "fuzz/fuzz.h"

namespace infertrail {
namespace {

namespace fs = std::filesystem;

fs::path folder() {
  return fs::path(IT_SOURCE_DIR) / "tests/unit/base/yaml";
}

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::set<fs::path> files(const char* kind) {
  std::set<fs::path> out;
  for (const auto& entry : fs::directory_iterator(folder() / kind))
    if (entry.path().extension() == ".yaml") out.insert(entry.path());
  return out;
}

TEST(Yaml, BadFilesGiveExactlyTheirMessage) {
  auto bad = files("bad");
  EXPECT_GE(bad.size(), 20u);
  for (fs::path path : bad) {
    Config config;
    Status status = load_yaml(path.filename(), read(path), &config);
    ASSERT_FALSE(status.ok()) << path;
    EXPECT_EQ(status.error().code, Code::kInvalid);
    fs::path expected = path;
    EXPECT_EQ(status.error().message + "\n", read(expected.replace_extension(".expected"))) << path;
  }
}

TEST(Yaml, GoodFileFillsEveryKindOfField) {
  Config config, expected;
  Status status = load_yaml("full.yaml", read(folder() / "good/full.yaml"), &config);
  ASSERT_TRUE(status.ok()) << status.error().message;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(R"(
    trail: "no" socket: "/run/it's.sock" targets: "auto" targets: "exe:/usr/bin/llama-server"
    plaintext_digests: true
    capture { data_ring_bytes: 134217728 control_ring_bytes: 4096 max_body_bytes: 1073741824
              workers: 3 idle_timeout { seconds: 2592000 } }
    trail_options { origin: "example.com/log" checkpoint_interval { seconds: 300 } }
    masking { detectors: "EMAIL" detectors: "CARD" })",
                                                            &expected));
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(config, expected))
      << config.DebugString();
}

TEST(Yaml, AListReplacesADefaultAndOthersStay) {
  Config config;
  config.add_targets("auto");
  config.set_trail("/default");
  ASSERT_TRUE(load_yaml("f", "targets: [x]\nplaintext_digests: false\n", &config).ok());
  EXPECT_EQ(config.targets_size(), 1);
  EXPECT_EQ(config.targets(0), "x");
  EXPECT_EQ(config.trail(), "/default");
}

TEST(Yaml, LimitsOfSizeValuesAndErrors) {
  Config config;
  EXPECT_EQ(load_yaml("f", std::string((1u << 20) + 1, '#'), &config).error().message,
            "f:1:1: larger than 1MiB");
  std::string many = "targets: [";
  for (int i = 0; i < 100001; i++) many += "a,";
  std::string message = load_yaml("f", many + "]", &config).error().message;
  EXPECT_NE(message.find("more than 100000 values"), std::string::npos) << message;
  std::string wrong = "targets:\n";
  for (int i = 0; i < 150; i++) wrong += "  - [x]\n";
  message = load_yaml("f", wrong, &config).error().message;
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 100);
  EXPECT_TRUE(message.ends_with("f: and 50 more"));
}

// Kinds of fields that the configuration does not have yet, but policies will.
class YamlOfPolicies : public ::testing::Test {
 protected:
  void SetUp() override {
    google::protobuf::FileDescriptorProto file;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(R"(
      name: "t.proto" syntax: "proto3"
      enum_type { name: "Effect" value { name: "EFFECT_NONE" number: 0 }
                  value { name: "ALLOW" number: 1 } value { name: "EFFECT_DENY" number: 2 } }
      message_type {
        name: "Rule"
        field { name: "effect" number: 1 type: TYPE_ENUM type_name: "Effect" label: LABEL_OPTIONAL }
        field { name: "tokens" number: 2 type: TYPE_INT32 label: LABEL_OPTIONAL oneof_index: 0 }
        field { name: "bytes" number: 3 type: TYPE_INT64 label: LABEL_OPTIONAL oneof_index: 0 }
        field { name: "score" number: 4 type: TYPE_DOUBLE label: LABEL_OPTIONAL }
        field { name: "labels" number: 5 type: TYPE_MESSAGE type_name: "Rule.LabelsEntry" label: LABEL_REPEATED }
        field { name: "rules" number: 6 type: TYPE_MESSAGE type_name: "Rule" label: LABEL_REPEATED }
        oneof_decl { name: "limit" }
        nested_type { name: "LabelsEntry" options { map_entry: true }
          field { name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
          field { name: "value" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL } }
      })",
                                                              &file));
    const auto* built = pool_.BuildFile(file);
    ASSERT_NE(built, nullptr);
    message_.reset(factory_.GetPrototype(built->FindMessageTypeByName("Rule"))->New());
  }
  std::string load(const std::string& text) {
    message_->Clear();
    Status status = load_yaml("f", text, message_.get());
    return status.ok() ? message_->ShortDebugString() : status.error().message;
  }

  google::protobuf::DescriptorPool pool_;
  google::protobuf::DynamicMessageFactory factory_;
  std::unique_ptr<google::protobuf::Message> message_;
};

TEST_F(YamlOfPolicies, EnumsAreLowerCaseNamesAndNeverZero) {
  EXPECT_EQ(load("effect: allow"), "effect: ALLOW");
  EXPECT_EQ(load("effect: deny"), "effect: EFFECT_DENY");
  EXPECT_EQ(load("effect: dney"), "f:1:9: effect: unknown value \"dney\"; one of allow, deny");
  EXPECT_EQ(load("effect: none"), "f:1:9: effect: unknown value \"none\"; one of allow, deny");
  EXPECT_EQ(load("effect: ALLOW"), "f:1:9: effect: unknown value \"ALLOW\"; one of allow, deny");
}

TEST_F(YamlOfPolicies, OneofsMapsNumbersAndMessagesInLists) {
  EXPECT_EQ(load("tokens: 1\nbytes: 2"), "f:2:1: only one of the limit fields may be given");
  EXPECT_EQ(load("tokens: -5\nscore: 1.5"), "tokens: -5 score: 1.5");
  EXPECT_EQ(load("score: abc"), "f:1:8: score wants a number, got \"abc\"");
  EXPECT_EQ(load("labels: {a: b, a: c}"), "f:1:16: \"a\" was already given at line 1");
  EXPECT_EQ(load("labels: {a: no}"), "labels { key: \"a\" value: \"no\" }");
  EXPECT_EQ(load("labels: {a: }"), "f:1:10: value has no value; give one or leave the line out");
  EXPECT_EQ(load("rules:\n- effect: allow\n- tokens: 2"),
            "rules { effect: ALLOW } rules { tokens: 2 }");
  EXPECT_EQ(load("rules:\n- efect: allow"),
            "f:2:3: Rule has no field \"efect\"; did you mean \"effect\"?");
}

TEST(Yaml, MutationsNeverCrash) {
  std::mt19937 random(5);
  std::vector<std::string> seeds;
  for (const char* kind : {"bad", "good"})
    for (const fs::path& path : files(kind)) seeds.push_back(read(path));
  static constexpr std::string_view kPieces[] = {
      "&a ",   "*a",   "!!int ",     "? ", ": ",   "- ",  "\n---\n",
      "...\n", "{",    "}",          "[",  "]",    "\"",  "'",
      "|\n ",  ">-\n", "%TAG ! x\n", "\t", "<<: ", "\\x", "\xEF\xBB\xBF"};
  for (int round = 0; round < 4000; round++) {
    std::string text = seeds[random() % seeds.size()];
    for (size_t i = 1 + random() % 6; i > 0 && !text.empty(); i--) {
      size_t at = random() % text.size();
      switch (random() % 3) {
        case 0:
          text[at] = static_cast<char>(random() % 128);
          break;
        case 1:
          text.erase(at, 1 + random() % 8);
          break;
        case 2:
          text.insert(at, kPieces[random() % std::size(kPieces)]);
          break;
      }
    }
    fuzz::yaml(reinterpret_cast<const uint8_t*>(text.data()), text.size());
  }
}

}  // namespace
}  // namespace infertrail
