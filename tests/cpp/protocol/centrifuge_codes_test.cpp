#include "protocol/centrifuge_codes.hpp"

#include <gtest/gtest.h>

#include <cstdint>

namespace carillon {
namespace {

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
