#include "env/sip_hash.hpp"

#include <gtest/gtest.h>

#include <string>

namespace carillon {
namespace {

// Key 00 01 … 0f, text 00 01 … of that length: appendix A of the paper, and vectors_sip64 of its authors.
constexpr SipKey kKey{0x0706050403020100U, 0x0f0e0d0c0b0a0908U};

std::string text_of(std::size_t length) {
  std::string text;
  for (std::size_t i = 0; i < length; ++i) text.push_back(static_cast<char>(i));
  return text;
}

TEST(SipHash, AgreesWithTheVectorsOfItsAuthors) {
  EXPECT_EQ((sip_hash<2, 4>(kKey, text_of(0))), 0x726fdb47dd0e0e31U);
  EXPECT_EQ((sip_hash<2, 4>(kKey, text_of(1))), 0x74f839c593dc67fdU);
  EXPECT_EQ((sip_hash<2, 4>(kKey, text_of(2))), 0x0d6c8009d9a94f5aU);
  EXPECT_EQ((sip_hash<2, 4>(kKey, text_of(3))), 0x85676696d7fb7e2dU);
  EXPECT_EQ((sip_hash<2, 4>(kKey, text_of(7))), 0xab0200f58b01d137U);
  EXPECT_EQ((sip_hash<2, 4>(kKey, text_of(8))), 0x93f5f5799a932462U);
  EXPECT_EQ((sip_hash<2, 4>(kKey, text_of(15))), 0xa129ca6149be45e5U);
  EXPECT_EQ((sip_hash<2, 4>(kKey, text_of(63))), 0x958a324ceb064572U);
}

TEST(SipHash, OfOneAndThreeRoundsAgreesWithOtherImplementations) {  // hash_13 of CPython, siphash-1-3 of Rust
  EXPECT_EQ((sip_hash<1, 3>(kKey, text_of(0))), 0xabac0158050fc4dcU);
  EXPECT_EQ((sip_hash<1, 3>(kKey, text_of(1))), 0xc9f49bf37d57ca93U);
  EXPECT_EQ((sip_hash<1, 3>(kKey, text_of(8))), 0x369095118d299a8eU);
  EXPECT_EQ((sip_hash<1, 3>(kKey, text_of(63))), 0x9d199062b7bbb3a8U);
}

}  // namespace
}  // namespace carillon
