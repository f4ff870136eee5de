#include "env/name_hash.hpp"

#include <gtest/gtest.h>

#include <array>
#include <set>

#include "doubles/seeded_random.hpp"

namespace carillon {
namespace {

// Names that anybody can make: std::hash of libstdc++ has no key, and gives all of them the same.
constexpr std::array<std::string_view, 4> kColliding{
    "d4rhvw34:4.Nk##Njtp6hc5vbTS;'V>m", "d4rhvw34:4.Nk##N42i5qd6nRC[I`.w3",
    "d4rhvw34:4.Nk##Nixy528paX6W+,iEY", "d4rhvw34:4.Nk##Ntbgfuwmd,6+S,f&q"};

TEST(NameHash, NamesThatCollideInTheStandardLibraryDoNot) {
#ifdef __GLIBCXX__
  ASSERT_EQ(std::hash<std::string_view>{}(kColliding[0]), std::hash<std::string_view>{}(kColliding[1]));
#endif
  SeededRandom random(1);
  const NameHash hash(random);
  std::set<std::size_t> hashes;
  for (const std::string_view name : kColliding) hashes.insert(hash(name));
  EXPECT_EQ(hashes.size(), kColliding.size());
}

TEST(NameHash, HasAKeyThatComesFromTheRandomSource) {
  SeededRandom random(1);
  SeededRandom same(1);
  const NameHash hash(random);
  EXPECT_EQ(hash("a"), NameHash(same)("a"));
  EXPECT_NE(hash("a"), NameHash(random)("a"));
}

TEST(NameTable, IsSearchedByNamesAndByHashedNames) {
  SeededRandom random(1);
  const NameHash hash(random);
  NameTable<int> table(hash);
  table.emplace("a", 1);
  EXPECT_EQ(table.find("a")->second, 1);
  EXPECT_EQ(table.find(hash.of("a"))->second, 1);
  EXPECT_EQ(table.find(hash.of("b")), table.end());
}

}  // namespace
}  // namespace carillon
