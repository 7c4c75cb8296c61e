#include "identity/credential.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "unit/fake_proc.h"

namespace infertrail {
namespace {

using testing::HasSubstr;

const Credentials kHost(std::string(32, 'k'));

Principal of(const std::vector<std::pair<std::string, std::string>>& headers, uint32_t peer = 0) {
  Record record;
  for (auto& [name, value] : headers) {
    Header* header = record.mutable_http()->add_request_headers();
    header->set_name(name);
    header->set_value(value);
  }
  if (peer != 0) {
    record.mutable_peer()->set_pid(peer);
    record.mutable_peer()->set_user("alice");
  }
  kHost.identify(&record);
  return record.principal();
}

TEST(CredentialTest, OneKeyOneFingerprint) {
  const std::string id = kHost.fingerprint("sk-1");
  EXPECT_THAT(id, testing::MatchesRegex("hmac-sha256:[0-9a-f]+"));
  EXPECT_EQ(sizeof("hmac-sha256:") - 1 + 32, id.size());
  EXPECT_EQ(id, kHost.fingerprint("sk-1"));
  EXPECT_NE(id, kHost.fingerprint("sk-2"));
  EXPECT_NE(id, Credentials(std::string(32, 'j')).fingerprint("sk-1")) << "another host must not agree";
  EXPECT_THAT(id, testing::Not(HasSubstr("sk-1")));
}

TEST(CredentialTest, TheSameKeyInAnyFormIsTheSamePrincipal) {
  const std::string id = kHost.fingerprint("sk-1");
  for (auto& [name, value] : std::vector<std::pair<std::string, std::string>>{
           {"Authorization", "Bearer sk-1"}, {"authorization", "bearer   sk-1"}, {"AUTHORIZATION", "BEARER sk-1"},
           {"x-api-key", "sk-1"}, {"X-Api-Key", " sk-1"}, {"api-key", "sk-1"}, {"x-goog-api-key", "sk-1"},
           {"authorization", "sk-1"}}) {
    Principal principal = of({{name, value}});
    EXPECT_EQ("api_key", principal.kind()) << name;
    EXPECT_EQ(id, principal.id()) << name << ": " << value;
  }
  EXPECT_EQ("x-api-key", of({{"X-API-KEY", "a"}}).source());
}

TEST(CredentialTest, TheStrongerHeaderCounts) {
  EXPECT_EQ(kHost.fingerprint("a"), of({{"x-api-key", "b"}, {"authorization", "Bearer a"}}).id());
  EXPECT_EQ(kHost.fingerprint("b"), of({{"authorization", "odd scheme"}, {"x-api-key", "b"}}).id());
  EXPECT_EQ(kHost.fingerprint("b"), of({{"api-key", "c"}, {"x-api-key", "b"}}).id());
  EXPECT_EQ(kHost.fingerprint("b"), of({{"authorization", "Bearer "}, {"x-api-key", "b"}}).id());
}

TEST(CredentialTest, WithoutAKeyItIsThePeerOrNobody) {
  Principal peer = of({{"x-api-key", ""}}, 12);
  EXPECT_EQ("process", peer.kind());
  EXPECT_EQ("alice", peer.id());
  EXPECT_EQ("peer", peer.source());
  Principal nobody = of({{"accept", "*/*"}});
  EXPECT_EQ("anonymous", nobody.kind());
  EXPECT_EQ("", nobody.id());
}

TEST(CredentialTest, TheKeyIsMadeOnceAndForTheOwnerOnly) {
  FakeProc folder;
  const std::string path = folder.root() + "/credential.key";
  auto first = Credentials::open(path);
  ASSERT_TRUE(first.ok()) << first.error().message;
  struct stat file {};
  ASSERT_EQ(0, stat(path.c_str(), &file));
  EXPECT_EQ(0600u, file.st_mode & 0777u);
  EXPECT_EQ(32, file.st_size);
  auto again = Credentials::open(path);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(first.value().fingerprint("x"), again.value().fingerprint("x"));
  auto other = Credentials::open(path + "2");
  ASSERT_TRUE(other.ok());
  EXPECT_NE(first.value().fingerprint("x"), other.value().fingerprint("x"));
}

TEST(CredentialTest, AKeyThatOthersMayReadOrThatIsNoKeyIsRefused) {
  FakeProc folder;
  const std::string path = folder.root() + "/k";
  folder.write("k", std::string(32, 'k'));
  for (mode_t mode : {0644u, 0640u, 0604u, 0620u}) {
    ASSERT_EQ(0, chmod(path.c_str(), mode));
    auto opened = Credentials::open(path);
    ASSERT_FALSE(opened.ok()) << mode;
    EXPECT_EQ(Code::kPermission, opened.error().code);
    EXPECT_THAT(opened.error().message, HasSubstr("chmod 600 " + path));
  }
  ASSERT_EQ(0, chmod(path.c_str(), 0600));
  EXPECT_TRUE(Credentials::open(path).ok());
  for (size_t size : {0ul, 31ul, 33ul}) {
    folder.write("k", std::string(size, 'k'));
    auto opened = Credentials::open(path);
    ASSERT_FALSE(opened.ok()) << size;
    EXPECT_EQ(Code::kCorrupt, opened.error().code);
    EXPECT_THAT(opened.error().message, HasSubstr("this file has " + std::to_string(size)));
  }
  EXPECT_FALSE(Credentials::open(folder.root() + "/none/k").ok());
}

}  // namespace
}  // namespace infertrail
