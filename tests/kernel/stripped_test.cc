// Programs that carry OpenSSL inside without one symbol: captured as any other (capture.md 2.3).
#include "kernel/stand.h"

namespace infertrail::testing_kernel {
namespace {

class StrippedTest : public SharedStand, public testing::WithParamInterface<const char*> {};

TEST_P(StrippedTest, Trap17_BothEndsAreCapturedExactly) {
  const std::string program = std::string(kProgram) + "it_openssl_" + GetParam() + "_stripped";
  const std::vector<std::vector<std::string>> forms = {
      {"response=50000", "write_size=700"}, {"read=ex", "write=ex", "response=50000"}, {"bio=memory", "response=300000"}};
  for (std::vector<std::string> form : forms) {
    form.insert(form.end(), {"tls=1", program});
    Pair pair(form, form);
    stand().watch(pair.server, true, 1);
    stand().watch(pair.client, true, 1);
    pair.go();
    pair.finish();
    ASSERT_EQ(1u, pair.client.told().size());
    ASSERT_EQ(1u, pair.server.told().size());
    expect_tls(stand(), pair.client.told()[0], false);
    expect_tls(stand(), pair.server.told()[0], true);
  }
}
INSTANTIATE_TEST_SUITE_P(Kinds, StrippedTest, testing::Values("pie", "no-pie", "static", "static-pie"),
                         [](const auto& each) {
                           std::string name = each.param;
                           std::erase(name, '-');
                           return name;
                         });

}  // namespace
}  // namespace infertrail::testing_kernel
