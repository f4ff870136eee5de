#include "protocol/centrifuge_codes.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace carillon {
namespace {

TEST(CentrifugeCodes, ErrorsAreACompleteAscendingTable) {
  std::uint32_t expected = 100;
  for (const ErrorCode& error : kErrorCodes) {
    EXPECT_EQ(error.code, expected++);
    EXPECT_FALSE(error.message.empty());
    EXPECT_EQ(error.is_temporary, error.code == 100 || error.code == 111 || error.code == 113) << error.code;
  }
  EXPECT_EQ(expected, 114u);
}

TEST(CentrifugeCodes, DisconnectsAscendAndFitACloseFrame) {
  EXPECT_TRUE(std::is_sorted(kDisconnectCodes.begin(), kDisconnectCodes.end(),
                             [](const auto& a, const auto& b) { return a.code < b.code; }));
  for (const DisconnectCode& disconnect : kDisconnectCodes) {
    EXPECT_FALSE(disconnect.reason.empty()) << disconnect.code;
    EXPECT_LE(disconnect.reason.size(), 123u);
    EXPECT_EQ(is_reconnect_expected(disconnect.code), disconnect.code < 3500) << disconnect.code;
  }
}

TEST(CentrifugeCodes, ReconnectRangesAreThoseOfTheSdks) {
  for (const int code : {1000, 1006, 3000, 3499, 4000, 4499, 5000}) {
    EXPECT_TRUE(is_reconnect_expected(static_cast<std::uint16_t>(code))) << code;
  }
  for (const int code : {1009, 3500, 3999, 4500, 4999}) {
    EXPECT_FALSE(is_reconnect_expected(static_cast<std::uint16_t>(code))) << code;
  }
}

}  // namespace
}  // namespace carillon
