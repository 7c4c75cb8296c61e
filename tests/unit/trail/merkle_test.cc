#include "trail/merkle.h"

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "trail/tiles.h"

namespace infertrail::trail {
namespace {

// The inputs and roots that Certificate Transparency's implementations test themselves with.
const std::vector<std::string> kInputs = {"",
                                          "00",
                                          "10",
                                          "2021",
                                          "3031",
                                          "40414243",
                                          "5051525354555657",
                                          "606162636465666768696a6b6c6d6e6f"};
const std::vector<std::string> kRoots = {
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"};

// RFC 6962 2.1 read as it is written.
Hash root_by_definition(const std::vector<Hash>& leaves, size_t from, size_t to) {
  if (to == from) return sha256("");
  if (to - from == 1) return leaves[from];
  size_t split = 1;
  while (split * 2 < to - from) split *= 2;
  return node_hash(root_by_definition(leaves, from, from + split),
                   root_by_definition(leaves, from + split, to));
}

TEST(Merkle, TheEmptyTreesRootIsTheHashOfNothing) {
  EXPECT_EQ(hex(bytes_of(CompactRange().root())),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(Merkle, RootsAreTheKnownOnes) {
  CompactRange range;
  for (size_t i = 0; i < kInputs.size(); i++) {
    range.append(leaf_hash(*from_hex(kInputs[i])));
    EXPECT_EQ(hex(bytes_of(range.root())), kRoots[i]) << i + 1;
  }
}

TEST(Merkle, TheCompactRangeAgreesWithTheDefinitionAtEverySizeUpTo600) {
  CompactRange range;
  std::vector<Hash> leaves;
  for (int i = 0; i < 600; i++) {
    leaves.push_back(leaf_hash("leaf " + std::to_string(i)));
    range.append(leaves.back());
    ASSERT_EQ(range.root(), root_by_definition(leaves, 0, leaves.size())) << i;
  }
}

TEST(Tiles, PathsHaveGroupsOfThreeDigits) {
  EXPECT_EQ(tile_path(0, 5, 256), "tile/0/005");
  EXPECT_EQ(tile_path(3, 1234067, 256), "tile/3/x001/x234/067");
  EXPECT_EQ(tile_path(1, 1000, 17), "tile/1/x001/000.p/17");
  EXPECT_EQ(tile_path(0, 999, 255), "tile/0/999.p/255");
  EXPECT_EQ(bundle_path(273, 112), "tile/entries/273.p/112");
}

TEST(Tiles, ALogOf70000HasTheFilesOfTheSpecification) {
  TileBuilder builder;
  std::vector<TileFile> full;
  for (int i = 0; i < 70000; i++) builder.append("e", leaf_hash("e"), full);
  size_t level0 = 0, level1 = 0, bundles = 0;
  for (const TileFile& file : full) {
    level0 += file.path.starts_with("tile/0/");
    level1 += file.path.starts_with("tile/1/");
    bundles += file.path.starts_with("tile/entries/");
  }
  EXPECT_EQ(level0, 273u);
  EXPECT_EQ(level1, 1u);
  EXPECT_EQ(bundles, 273u);
  std::vector<std::string> partial;
  for (const TileFile& file : builder.partials()) partial.push_back(file.path);
  EXPECT_EQ(partial, (std::vector<std::string>{"tile/entries/273.p/112", "tile/0/273.p/112",
                                               "tile/1/001.p/17", "tile/2/000.p/1"}));
}

TEST(Tiles, ABundleIsSplitWhereItWasJoined) {
  std::string bundle;
  append_bundle_entry(bundle, "");
  append_bundle_entry(bundle, std::string(kMaxEntryBytes, 'a'));
  append_bundle_entry(bundle, "xyz");
  auto parts = split_bundle(bundle);
  ASSERT_TRUE(parts.ok());
  EXPECT_EQ(parts.value().size(), 3u);
  EXPECT_EQ(parts.value()[2], "xyz");
  for (size_t cut : {size_t{1}, size_t{3}, bundle.size() - 1})
    EXPECT_FALSE(split_bundle(std::string_view(bundle).substr(0, cut)).ok()) << cut;
}

}  // namespace
}  // namespace infertrail::trail
