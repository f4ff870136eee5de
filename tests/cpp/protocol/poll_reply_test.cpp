#include "protocol/poll_reply.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "protocol/json_span.hpp"

namespace carillon {
namespace {

std::string object(const PublicationView& publication, std::string_view channel = "news") {
  std::string out;
  append_publication_object(out, channel, publication);
  EXPECT_TRUE(is_json(out)) << out;
  return out;
}

TEST(PublicationObject, HasTheFieldsOfTheContractInTheirOrder) {
  const std::vector<Tag> tags{{"lang", "en"}, {"k\n", "\""}};
  EXPECT_EQ(object({.data = R"({"t":"hi"})", .offset = 3, .epoch = "ep"}),
            R"({"channel":"news","offset":3,"data":{"t":"hi"}})");
  EXPECT_EQ(object({.data = "1", .info_json = "{}", .tags = tags, .offset = 4}),
            R"({"channel":"news","offset":4,"data":1,"tags":{"lang":"en","k\n":"\""}})");
}

TEST(PublicationObject, LeavesOutTheOffsetOfAnEntryWithoutOne) {
  EXPECT_EQ(object({.data = "null"}, "a\"b"), R"({"channel":"a\"b","data":null})");
}

TEST(PublicationObject, WritesBinaryAsBase64InPlaceOfTheData) {
  EXPECT_EQ(object({.data = std::string_view("\0\xff\n", 3), .is_json = false, .offset = 1}),
            R"({"channel":"news","offset":1,"b64":"AP8K"})");
  EXPECT_EQ(object({.data = "", .is_json = false}), R"({"channel":"news","b64":""})");
}

TEST(PublicationObject, NeverHoldsANewline) {
  EXPECT_EQ(object({.data = "{\r\n \"a\" : [ 1,\n2 ]\n}", .offset = 9}),
            R"({"channel":"news","offset":9,"data":{ "a" : [ 1,2 ]}})");
}

TEST(StatusObject, AlwaysHasAllFields) {
  std::string out;
  append_status_object(out, "a", false, "", 0, false);
  EXPECT_EQ(out, R"({"channel":"a","recovered":false,"epoch":"","offset":0})");
  out.clear();
  append_status_object(out, "a", std::nullopt, "ep", 7, false);
  EXPECT_EQ(out, R"({"channel":"a","recovered":null,"epoch":"ep","offset":7})");
  out.clear();
  append_status_object(out, "a", true, "ep", 7, true);
  EXPECT_EQ(out, R"({"channel":"a","recovered":true,"epoch":"ep","offset":7,"conflated":true})");
}

TEST(PollReply, HoldsTheListsAndTheToken) {
  std::string out;
  append_poll_reply(out, "", "-", "");
  EXPECT_EQ(out, R"({"publications":[],"since":"-","status":[]})");
  out.clear();
  append_poll_reply(out, object({.data = "1", .offset = 1}) + ',' + object({.data = "2", .offset = 2}),
                    "ep:2", "{}");
  EXPECT_EQ(nlohmann::json::parse(out), nlohmann::json::parse(R"({"publications":[
    {"channel":"news","offset":1,"data":1},{"channel":"news","offset":2,"data":2}],
    "since":"ep:2","status":[{}]})"));
}

}  // namespace
}  // namespace carillon
