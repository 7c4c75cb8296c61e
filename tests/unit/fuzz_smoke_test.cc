// The fuzz entries over mutated corpus files, with fixed seeds: hostile bytes in every test run.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>

#include "fuzz/entries.h"
#include "unit/corpus.h"

namespace infertrail {
namespace {

constexpr int kMutations = 20'000;

// A transcript as the script fuzz_http1 reads.
std::string script(const corpus::Transcript& transcript) {
  std::string out;
  for (const corpus::Piece& piece : transcript.pieces) {
    for (size_t at = 0; at < piece.bytes.size(); at += 255) {
      std::string part = piece.bytes.substr(at, 255);
      out += piece.direction == Direction::kToClient ? '\1' : '\0';
      out += static_cast<char>(part.size());
      out += part;
    }
  }
  return out;
}

std::string bodies(const corpus::Transcript& transcript) {
  std::string out[2];
  for (const corpus::Piece& piece : transcript.pieces) {
    size_t head = piece.bytes.find("\r\n\r\n");
    out[static_cast<size_t>(piece.direction)] +=
        head == std::string::npos ? piece.bytes : piece.bytes.substr(head + 4);
  }
  return '\4' + out[0] + '\0' + out[1];
}

std::string mutated(std::string text, const std::string& other, std::mt19937& random) {
  for (unsigned times = 1 + random() % 6; times > 0 && !text.empty(); times--) {
    size_t at = random() % text.size();
    size_t length = std::min<size_t>(random() % 40, text.size() - at);
    switch (random() % 6) {
      case 0:
        text[at] = static_cast<char>(random());
        break;
      case 1:
        text.erase(at, length);
        break;
      case 2:
        text.insert(at, text.substr(at, length));
        break;
      case 3:
        text.insert(at, other.substr(other.size() * (random() % 4) / 4, 60));
        break;
      case 4:
        text[at] = static_cast<char>(text[at] ^ (1 << random() % 8));
        break;
      case 5:
        text.resize(at);
        break;
    }
  }
  return text;
}

template <typename Make>
void run(int (*entry)(const uint8_t*, size_t), Make make, unsigned seed) {
  std::vector<std::string> inputs;
  for (const char* folder : {"http1", "openai"})
    for (const auto& transcript : corpus::load(folder)) inputs.push_back(make(transcript));
  std::mt19937 random(seed);
  for (int i = 0; i < kMutations; i++) {
    const std::string& from = inputs[random() % inputs.size()];
    std::string text = mutated(from, inputs[random() % inputs.size()], random);
    ASSERT_EQ(0, entry(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
  }
}

TEST(FuzzSmoke, Http1KeepsItsPromisesOverMutatedTranscripts) {
  run(fuzz_http1, script, 20260821);
}

TEST(FuzzSmoke, DialectsKeepTheirPromisesOverMutatedBodies) {
  run(fuzz_dialect, bodies, 20260822);
}

}  // namespace
}  // namespace infertrail
