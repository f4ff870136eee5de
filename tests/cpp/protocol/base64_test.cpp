#include "protocol/base64.hpp"

#include <gtest/gtest.h>

namespace carillon {
namespace {

TEST(Base64, MatchesTheVectorsOfTheRfc) {
  for (const auto& [bytes, text] : {std::pair{"", ""},
                                    {"f", "Zg=="},
                                    {"fo", "Zm8="},
                                    {"foo", "Zm9v"},
                                    {"foob", "Zm9vYg=="},
                                    {"fooba", "Zm9vYmE="},
                                    {"foobar", "Zm9vYmFy"}}) {
    std::string out;
    append_base64(out, bytes);
    EXPECT_EQ(out, text);
    EXPECT_EQ(from_base64(text), bytes);
  }
}

TEST(Base64, RoundTripsAllBytesAndRefusesWhatIsNotIt) {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes.push_back(static_cast<char>(i));
  std::string text;
  append_base64(text, bytes);
  EXPECT_EQ(from_base64(text), bytes);
  for (const char* bad : {"Z", "Zg", "Zg=", "Zg===", "=", "====", "Z===", "Zh==", "Zm9=", "Zm 9",
                          "Zg==Zg==", "Zm9_", "Zm9v\n"}) {
    EXPECT_FALSE(from_base64(bad)) << bad;
    std::string out = "kept";
    EXPECT_FALSE(append_from_base64(out, bad));
    EXPECT_EQ(out, "kept");
  }
}

}  // namespace
}  // namespace carillon
