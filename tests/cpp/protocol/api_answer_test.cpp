#include "protocol/api_answer.hpp"

#include <gtest/gtest.h>

#include <map>

#include "protocol/written_json.hpp"

namespace carillon {
namespace {

TEST(ApiAnswer, HasTheShapesOfTheProtocol) {
  EXPECT_EQ(written([](auto& out) { append_api_error(out, 102, "unknown channel"); }),
            Json::parse(R"({"error":{"code":102,"message":"unknown channel"}})"));
  EXPECT_EQ(written([](auto& out) { append_api_publish_result(out, 12, "ep"); }),
            Json::parse(R"({"result":{"offset":12,"epoch":"ep"}})"));
  EXPECT_EQ(written([](auto& out) { append_api_publish_result(out, 0, ""); }),
            Json::parse(R"({"result":{}})"));
  EXPECT_EQ(written([](auto& out) { append_api_broadcast_result(out, R"({"result":{}},{"error":{}})"); }),
            Json::parse(R"({"result":{"responses":[{"result":{}},{"error":{}}]}})"));
  EXPECT_EQ(written([](auto& out) { append_api_history_result(out, "", 0, ""); }),
            Json::parse(R"({"result":{"publications":[],"offset":0,"epoch":""}})"));
  EXPECT_EQ(written([](auto& out) { append_api_presence_stats_result(out, 0, 0); }),
            Json::parse(R"({"result":{"num_clients":0,"num_users":0}})"));
}

TEST(ApiAnswer, ComesApartAgain) {
  std::string answer;
  append_api_empty_result(answer);
  EXPECT_EQ(parts_of_api_answer(answer).result, "{}");
  EXPECT_TRUE(parts_of_api_answer(answer).error.empty());
  answer.clear();
  append_api_error(answer, 107, "bad \"request\"");
  EXPECT_EQ(parts_of_api_answer(answer).error, R"({"code":107,"message":"bad \"request\""})");
  EXPECT_EQ(parts_of_api_answer(answer).code, 107u);
  EXPECT_TRUE(parts_of_api_answer(answer).result.empty());
}

TEST(ApiAnswer, TellsMembersAndFanOut) {
  EXPECT_EQ(written([](auto& out) { append_api_members_result(out, 50'000); }),
            Json::parse(R"({"result":{"members":50000}})"));
  const std::vector<std::string> users{"a\"", "b"};
  EXPECT_EQ(written([&](auto& out) { append_api_member_list_result(out, users, 7); }),
            Json::parse(R"({"result":{"users":["a\"","b"],"members":7}})"));
  EXPECT_EQ(written([](auto& out) { append_api_member_list_result(out, {}, 0); }),
            Json::parse(R"({"result":{"users":[],"members":0}})"));
  EXPECT_EQ(written([](auto& out) { append_api_fanout_result(out, {"hybrid", "read", 1, 2, 3, 4}); }),
            Json::parse(R"({"result":{"strategy":"hybrid","mode":"read","threshold":1,"members":2,
                            "subscribers":3,"switches":4}})"));
}

TEST(ApiAnswer, WritesMapsAndLists) {
  const std::vector<ClientInfoView> clients{{"u", "c", ""}};
  EXPECT_EQ(written([&](auto& out) { append_api_presence_result(out, clients, false); }),
            Json::parse(R"({"result":{"presence":{"c":{"user":"u","client":"c"}}}})"));
  EXPECT_EQ(written([](auto& out) { append_api_presence_result(out, {}, true); }),
            Json::parse(R"({"result":{"presence":{},"has_more":true}})"));
  const std::map<std::string, std::uint64_t> channels{{"a\"", 1}, {"b", 0}};
  EXPECT_EQ(written([&](auto& out) { append_api_channels_result(out, channels, false); }),
            Json::parse(R"({"result":{"channels":{"a\"":{"num_clients":1},"b":{"num_clients":0}}}})"));
  EXPECT_EQ(written([](auto& out) { append_api_channels_result(out, {}, true); }),
            Json::parse(R"({"result":{"channels":{},"has_more":true}})"));
  const std::vector<ApiNodeInfo> nodes{{"u1", "n", "1.0", "h:1", 1, 2, 3, 4, 5, true}, {}};
  EXPECT_EQ(
      written([&](auto& out) { append_api_info_result(out, nodes); })["result"]["nodes"][0],
      Json::parse(
          R"({"uid":"u1","name":"n","version":"1.0","address":"h:1","num_clients":1,"num_users":2,"num_subs":3,
                            "num_channels":4,"uptime":5,"draining":true})"));
  EXPECT_EQ(written([](auto& out) { append_api_info_result(out, {}); }),
            Json::parse(R"({"result":{"nodes":[]}})"));
}

}  // namespace
}  // namespace carillon
