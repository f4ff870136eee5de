#include "protocol/protobuf.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>

namespace carillon {
namespace {

using namespace std::string_literals;

TEST(Protobuf, VarintsAreReadAsTheyAreWritten) {
  for (const std::uint64_t value : {0ULL, 1ULL, 127ULL, 128ULL, 300ULL, 1ULL << 35U, ~0ULL}) {
    std::string bytes;
    append_varint(bytes, value);
    std::string_view rest = bytes;
    EXPECT_EQ(take_varint(rest), value);
    EXPECT_TRUE(rest.empty());
    for (std::size_t cut = 0; cut < bytes.size(); ++cut) {
      std::string_view part = std::string_view(bytes).substr(0, cut);
      EXPECT_FALSE(take_varint(part).has_value()) << value << " cut at " << cut;
    }
  }
  std::string three_hundred;
  append_varint(three_hundred, 300);
  EXPECT_EQ(three_hundred, "\xAC\x02");
}

TEST(Protobuf, AVarintOfMoreThan64BitsIsRefused) {
  std::string_view too_long = "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x02";
  EXPECT_FALSE(take_varint(too_long).has_value());
  std::string_view endless = "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01";
  EXPECT_FALSE(take_varint(endless).has_value());
}

TEST(Protobuf, NestedMessagesOfEveryLengthStandBehindTheirs) {
  for (const std::size_t size : {0U, 1U, 124U, 125U, 126U, 127U, 128U, 16'380U, 16'384U, 70'000U}) {
    std::string out = "before";
    ProtobufWriter writer(out);
    const std::size_t outer = writer.open(3);
    const std::size_t inner = writer.open(200);
    writer.bytes(1, std::string(size, 'x'));
    writer.close(inner);
    writer.number(2, 7);
    writer.close(outer);
    writer.number(5, 9);

    ProtobufReader reader(std::string_view(out).substr(6));
    ProtobufField field;
    ASSERT_TRUE(reader.next(field));
    EXPECT_EQ(field.number, 3U);
    ProtobufReader nested(field.bytes);
    ProtobufField in_it;
    ASSERT_TRUE(nested.next(in_it));
    EXPECT_EQ(in_it.number, 200U);
    if (size > 0) {
      ProtobufReader text(in_it.bytes);
      ProtobufField leaf;
      ASSERT_TRUE(text.next(leaf));
      EXPECT_EQ(leaf.bytes, std::string(size, 'x'));
      EXPECT_FALSE(text.next(leaf) || text.is_malformed());
    }
    ASSERT_TRUE(nested.next(in_it));
    EXPECT_EQ(in_it.value, 7U);
    EXPECT_FALSE(nested.next(in_it) || nested.is_malformed());
    ASSERT_TRUE(reader.next(field));
    EXPECT_EQ(field.value, 9U);
    EXPECT_FALSE(reader.next(field) || reader.is_malformed());
  }
}

TEST(Protobuf, EveryWireTypeIsReadAndGroupsAreRefused) {
  ProtobufField field;
  const std::string numbers = "\x09\x01\0\0\0\0\0\0\x80\x15\x02\0\0\x01"s;
  ProtobufReader reader(numbers);
  ASSERT_TRUE(reader.next(field));
  EXPECT_EQ(field.value, (1ULL << 63U) + 1);
  ASSERT_TRUE(reader.next(field));
  EXPECT_EQ(field.number, 2U);
  EXPECT_EQ(field.value, (1ULL << 24U) + 2);
  EXPECT_FALSE(reader.next(field) || reader.is_malformed());
  for (const std::string& malformed : {"\x0B"s, "\x0C"s, "\x0E"s, "\x00\x01"s, "\x08"s, "\x0A\x02x"s,
                                       "\x09\x01"s, "\x15\x01\x01"s, "\x80\x80\x80\x80\x80\x01\x00"s}) {
    ProtobufReader broken(malformed);
    while (broken.next(field)) {
    }
    EXPECT_TRUE(broken.is_malformed()) << ::testing::PrintToString(malformed);
  }
}

}  // namespace
}  // namespace carillon
