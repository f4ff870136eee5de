#include "protocol/inbox_reply.hpp"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "protocol/written_json.hpp"

namespace carillon {
namespace {

TEST(InboxReply, APublicationIsWrittenAsThePlainTransportsDoAndHasItsEpoch) {
  const std::vector<Tag> tags{{"a", "b"}};
  EXPECT_EQ(written([&](auto& out) {
              append_inbox_publication(out, "c\"", "epoch",
                                       {.data = "{\n\"x\":1}", .tags = tags, .offset = 7});
            }),
            Json::parse(R"({"channel":"c\"","epoch":"epoch","offset":7,"data":{"x":1},"tags":{"a":"b"}})"));
  EXPECT_EQ(written([](auto& out) {
              append_inbox_publication(
                  out, "c", "e", {.data = std::string_view("\0\xff", 2), .is_json = false, .offset = 1});
            }),
            Json::parse(R"({"channel":"c","epoch":"e","offset":1,"b64":"AP8="})"));
}

TEST(InboxReply, AGapNamesFirstAndLast) {
  EXPECT_EQ(written([](auto& out) { append_inbox_gap(out, "c", "e", 3, 9); }),
            Json::parse(R"({"channel":"c","epoch":"e","gap":{"from":3,"to":9}})"));
}

TEST(InboxReply, CountsStandBesideTheItems) {
  const std::vector<std::pair<std::string, std::uint64_t>> unread{{"a\\", 2}, {"b", 1}};
  EXPECT_EQ(
      written([&](auto& out) { append_inbox_reply(out, "{},{}", unread, true, false); }),
      Json::parse(R"({"items":[{},{}],"unread":{"a\\":2,"b":1},"has_more":true,"is_incomplete":false})"));
  EXPECT_EQ(written([](auto& out) { append_inbox_reply(out, "", {}, false, true); }),
            Json::parse(R"({"items":[],"unread":{},"has_more":false,"is_incomplete":true})"));
  EXPECT_EQ(written([&](auto& out) { append_unread_reply(out, unread, false); }),
            Json::parse(R"({"unread":{"a\\":2,"b":1}})"));
  EXPECT_EQ(written([](auto& out) { append_unread_reply(out, {}, true); }),
            Json::parse(R"({"unread":{},"has_more":true})"));
}

}  // namespace
}  // namespace carillon
