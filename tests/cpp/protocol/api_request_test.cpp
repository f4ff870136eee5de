#include "protocol/api_request.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "protocol/json_span.hpp"

namespace carillon {
namespace {

using Json = nlohmann::json;

struct DecodedRequest {
  DecodedRequest(ApiMethod method, std::string text) : body(std::move(text)) {
    result = decode_api_request(method, body, request, scratch);
  }
  DecodedRequest(const DecodedRequest&) = delete;

  std::string body;
  std::string scratch;
  ApiRequest request;
  ApiDecode result;
};

ApiDecode result_of(ApiMethod method, const char* body) { return DecodedRequest(method, body).result; }

TEST(ApiRequest, KnowsItsMethods) {
  EXPECT_EQ(find_api_method("publish"), ApiMethod::publish);
  EXPECT_EQ(find_api_method("presence_stats"), ApiMethod::presence_stats);
  EXPECT_EQ(find_api_method("stats"), ApiMethod::stats);
  EXPECT_EQ(find_api_method("Publish"), std::nullopt);
  EXPECT_EQ(find_api_method(""), std::nullopt);
}

TEST(ApiRequest, ReadsPublish) {
  const DecodedRequest decoded(
      ApiMethod::publish,
      R"({"channel":"news","data":{ "t":"hello"},"skip_history":true,"tags":{"la\u006eg":"en","q":"\""},)"
      R"("idempotency_key":"a1","key":"k","version":7,"version_epoch":"v","delta":true})");
  const ApiRequest& request = decoded.request;
  ASSERT_EQ(decoded.result, ApiDecode::ok);
  EXPECT_EQ(request.channel, "news");
  EXPECT_EQ(request.data, R"({ "t":"hello"})");
  EXPECT_TRUE(request.is_json && request.is_history_skipped);
  EXPECT_EQ(request.tags, (std::vector<Tag>{{"lang", "en"}, {"q", "\""}}));
  EXPECT_EQ(request.idempotency_key, "a1");
  EXPECT_EQ(request.key, "k");
  EXPECT_EQ(request.version, 7u);
  EXPECT_EQ(request.version_epoch, "v");
}

TEST(ApiRequest, ReadsSubscribe) {
  const DecodedRequest decoded(
      ApiMethod::subscribe,
      R"({"user":"ann","channel":"news","client":"c","session":"s","info":{"a": 1},"b64data":"WzFd",)"
      R"("expire_at":-5,"recover_since":{"offset":3,"epoch":"e\u0070"},)"
      R"("override":{"presence":{"value":true},"join_leave":{"value":false},"force_recovery":null,)"
      R"("force_positioning":{}}})");
  const ApiRequest& request = decoded.request;
  ASSERT_EQ(decoded.result, ApiDecode::ok) << request.problem;
  EXPECT_EQ(request.user, "ann");
  EXPECT_EQ(request.client, "c");
  EXPECT_EQ(request.session, "s");
  EXPECT_EQ(request.info, R"({"a": 1})");
  EXPECT_EQ(request.data, "[1]");
  EXPECT_EQ(request.expire_at, -5);
  EXPECT_TRUE(request.has_since);
  EXPECT_EQ(request.offset, 3u);
  EXPECT_EQ(request.epoch, "ep");
  EXPECT_EQ(request.presence, true);
  EXPECT_EQ(request.join_leave, false);
  EXPECT_EQ(request.force_positioning, false);
  EXPECT_EQ(request.force_recovery, std::nullopt);
  EXPECT_EQ(request.force_push_join_leave, std::nullopt);
  const DecodedRequest both(ApiMethod::subscribe,
                            R"({"user":"a","channel":"c","b64info":"e30=","b64data":"WzFd"})");
  EXPECT_EQ(both.request.info, "{}");
  EXPECT_EQ(both.request.data, "[1]");
  EXPECT_EQ(result_of(ApiMethod::subscribe, R"({"channel":"c"})"), ApiDecode::bad_request) << "of whom?";
  EXPECT_EQ(result_of(ApiMethod::subscribe, R"({"user":"a"})"), ApiDecode::bad_request);
  EXPECT_EQ(result_of(ApiMethod::subscribe, R"({"session":"a","channel":"c"})"), ApiDecode::ok);
  EXPECT_EQ(result_of(ApiMethod::subscribe, R"({"user":"a","channel":"c","b64info":"e"})"),
            ApiDecode::bad_request);
}

TEST(ApiRequest, ReadsCommandsUnread) {
  const DecodedRequest decoded(ApiMethod::batch,
                               R"({"commands":[{"publish":{"channel":7}}, {}],"parallel":true})");
  ASSERT_EQ(decoded.result, ApiDecode::ok);
  EXPECT_EQ(decoded.request.commands, (std::vector<std::string_view>{R"({"publish":{"channel":7}})", "{}"}));
  EXPECT_TRUE(decoded.request.is_parallel);
  EXPECT_EQ(result_of(ApiMethod::batch, R"({"commands":[1]})"), ApiDecode::malformed);
  EXPECT_EQ(result_of(ApiMethod::batch, R"({"commands":{}})"), ApiDecode::malformed);
  EXPECT_EQ(result_of(ApiMethod::batch, "{}"), ApiDecode::ok);
}

TEST(ApiRequest, TellsTheFieldsOfAMethod) {
  for (const ApiMethodName& method : api_methods()) EXPECT_EQ(find_api_method(method.name), method.method);
  const std::vector<ApiField> fields = api_fields(ApiMethod::rpc);
  ASSERT_EQ(fields.size(), 2u);
  EXPECT_EQ(fields[0].name, "method");
  EXPECT_TRUE(fields[0].is_required);
  EXPECT_EQ(fields[1].type, ApiFieldType::payload);
}

TEST(ApiRequest, ReadsBinaryPublish) {
  const DecodedRequest decoded(ApiMethod::publish,
                               R"({"data":1,"b64data":"AP\/\/\/\/\/\/","channel":"caf\u00e9"})");
  ASSERT_EQ(decoded.result, ApiDecode::ok);
  EXPECT_FALSE(decoded.request.is_json);
  EXPECT_EQ(decoded.request.data, std::string_view("\x00\xff\xff\xff\xff\xff", 6));
  EXPECT_EQ(decoded.request.channel, "caf\xC3\xA9");
  EXPECT_EQ(result_of(ApiMethod::publish, R"({"channel":"a","b64data":"A"})"), ApiDecode::bad_request);
  EXPECT_EQ(result_of(ApiMethod::publish, R"({"channel":"a","b64data":1})"), ApiDecode::malformed);
}

TEST(ApiRequest, NothingLikeValuesArePayloads) {
  for (const char* value : {"null", "false", "0", "\"\"", "[]", "{}"}) {
    const std::string body = std::string(R"({"channel":"a","data":)") + value + R"(,"b64data":""})";
    const DecodedRequest decoded(ApiMethod::publish, body.c_str());
    ASSERT_EQ(decoded.result, ApiDecode::ok) << value;
    EXPECT_EQ(decoded.request.data, value);
    EXPECT_TRUE(decoded.request.is_json) << value;
  }
  const DecodedRequest empty(ApiMethod::publish, R"({"channel":"a","b64data":""})");
  ASSERT_EQ(empty.result, ApiDecode::ok);
  EXPECT_EQ(empty.request.data, "");
  EXPECT_FALSE(empty.request.is_json);
}

TEST(ApiRequest, AValueMayBeAsDeepAsTheLimitAndIsToldWhenItIsDeeper) {
  for (const int depth : {kJsonDepthMax, kJsonDepthMax + 1, 100'000}) {
    const auto count = static_cast<std::size_t>(depth);
    const std::string value = std::string(count, '[') + std::string(count, ']');
    const bool is_allowed = depth == kJsonDepthMax;
    const std::string body = R"({"channel":"a","data":)" + value + "}";
    EXPECT_EQ(result_of(ApiMethod::publish, body.c_str()), is_allowed ? ApiDecode::ok : ApiDecode::too_deep);
  }
}

TEST(ApiRequest, ReadsBroadcast) {
  const DecodedRequest decoded(ApiMethod::broadcast, R"({"channels":["a","b\n",""],"data":null,"data":"x"})");
  ASSERT_EQ(decoded.result, ApiDecode::ok);
  EXPECT_EQ(decoded.request.channels, (std::vector<std::string_view>{"a", "b\n", ""}));
  EXPECT_EQ(decoded.request.data, "\"x\"");
  EXPECT_EQ(result_of(ApiMethod::broadcast, R"({"channels":[],"data":1})"), ApiDecode::bad_request);
  EXPECT_EQ(result_of(ApiMethod::broadcast, R"({"channels":"a","data":1})"), ApiDecode::malformed);
  EXPECT_EQ(result_of(ApiMethod::broadcast, R"({"channels":[1],"data":1})"), ApiDecode::malformed);
}

TEST(ApiRequest, ReadsHistory) {
  const DecodedRequest decoded(
      ApiMethod::history, R"({"channel":"c","limit":-1,"reverse":true,"since":{"offset":5,"epoch":"e"}})");
  ASSERT_EQ(decoded.result, ApiDecode::ok);
  EXPECT_EQ(decoded.request.limit, -1);
  EXPECT_TRUE(decoded.request.is_reverse && decoded.request.has_since);
  EXPECT_EQ(decoded.request.offset, 5u);
  EXPECT_EQ(decoded.request.epoch, "e");
  EXPECT_FALSE(DecodedRequest(ApiMethod::history, R"({"channel":"c","since":null})").request.has_since);
  EXPECT_EQ(result_of(ApiMethod::history, R"({"channel":"c","since":1})"), ApiDecode::malformed);
  const DecodedRequest text(ApiMethod::history, R"({"channel":"c","since":"e:5"})");
  EXPECT_EQ(text.request.since, "e:5");
  EXPECT_FALSE(text.request.has_since || text.request.limit || text.request.last);
  EXPECT_EQ(DecodedRequest(ApiMethod::history, R"({"channel":"c","last":20})").request.last, 20U);
  EXPECT_EQ(result_of(ApiMethod::history, R"({"channel":"c","last":-1})"), ApiDecode::malformed);
}

TEST(ApiRequest, ReadsTheOthers) {
  EXPECT_EQ(DecodedRequest(ApiMethod::presence, R"({"channel":"c"})").request.channel, "c");
  EXPECT_EQ(DecodedRequest(ApiMethod::presence_stats, R"({"channel":"c"})").request.channel, "c");
  EXPECT_EQ(DecodedRequest(ApiMethod::channels, R"({"pattern":"a*"})").request.pattern, "a*");
  EXPECT_EQ(result_of(ApiMethod::channels, ""), ApiDecode::ok);
  const DecodedRequest disconnect(
      ApiMethod::disconnect, R"({"user":"ann","client":"c1","disconnect":{"code":4500,"reason":"enough"}})");
  ASSERT_EQ(disconnect.result, ApiDecode::ok);
  EXPECT_EQ(disconnect.request.user, "ann");
  EXPECT_EQ(disconnect.request.client, "c1");
  EXPECT_EQ(disconnect.request.code, 4'500U);
  EXPECT_EQ(disconnect.request.reason, "enough");
  EXPECT_EQ(DecodedRequest(ApiMethod::disconnect, R"({"client":"c1"})").request.code, 3'503U);
  EXPECT_EQ(result_of(ApiMethod::disconnect, R"({"client":"c1","disconnect":{"cod":1}})"),
            ApiDecode::malformed);
}

TEST(ApiRequest, ReadsDrain) {
  ApiRequest request;
  std::string scratch;
  EXPECT_EQ(decode_api_request(ApiMethod::drain, "", request, scratch), ApiDecode::ok);
  EXPECT_FALSE(request.deadline_ms || request.pace_ms || request.port);
  EXPECT_EQ(decode_api_request(ApiMethod::drain, R"({"deadline_ms":9000,"pace_ms":0,"port":null})", request,
                               scratch),
            ApiDecode::ok);
  EXPECT_EQ(request.deadline_ms, 9'000U);
  EXPECT_EQ(request.pace_ms, 0U);
  EXPECT_FALSE(request.port);
  for (const char* body : {R"({"deadline_ms":-1})", R"({"pace_ms":"1s"})", R"({"port":1.5})"}) {
    EXPECT_EQ(decode_api_request(ApiMethod::drain, body, request, scratch), ApiDecode::malformed) << body;
  }
}

TEST(ApiRequest, ReadsTheLimitOfALedger) {
  ApiRequest request;
  std::string scratch;
  for (const auto& [body, rows] :
       {std::pair("", 100U), std::pair(R"({"limit":null})", 100U), std::pair(R"({"limit":0})", 0U)}) {
    ASSERT_EQ(decode_api_request(ApiMethod::ledger, body, request, scratch), ApiDecode::ok) << body;
    EXPECT_EQ(request.rows, rows) << body;
  }
  EXPECT_EQ(decode_api_request(ApiMethod::ledger, R"({"limit":-1})", request, scratch), ApiDecode::malformed);
}

TEST(ApiRequest, ReadsMembers) {
  const DecodedRequest added(ApiMethod::add_members, R"({"channel":"c","users":["ann","caf\u00e9",""]})");
  ASSERT_EQ(added.result, ApiDecode::ok);
  EXPECT_EQ(added.request.channel, "c");
  EXPECT_EQ(added.request.users, (std::vector<std::string_view>{"ann", "caf\xC3\xA9", ""}));
  const DecodedRequest listed(ApiMethod::members, R"({"channel":"c","limit":5,"after":"ann"})");
  ASSERT_EQ(listed.result, ApiDecode::ok);
  EXPECT_EQ(listed.request.items_max, 5);
  EXPECT_EQ(listed.request.after, "ann");
  for (const char* body : {R"({"users":["a"]})", R"({"channel":"c"})", R"({"channel":"c","users":[]})",
                           R"({"channel":"c","users":null})"}) {
    EXPECT_EQ(result_of(ApiMethod::remove_members, body), ApiDecode::bad_request) << body;
  }
  for (const char* body : {R"({"channel":"c","users":"a"})", R"({"channel":"c","users":[1]})",
                           R"({"channel":"c","users":["\ud800"]})"}) {
    EXPECT_EQ(result_of(ApiMethod::add_members, body), ApiDecode::malformed) << body;
  }
}

TEST(ApiRequest, ReadsInboxAndStrategy) {
  const DecodedRequest inbox(ApiMethod::inbox, R"({"user":"ann","limit":0})");
  ASSERT_EQ(inbox.result, ApiDecode::ok);
  EXPECT_EQ(inbox.request.user, "ann");
  EXPECT_EQ(inbox.request.items_max, 0);
  EXPECT_EQ(DecodedRequest(ApiMethod::inbox, R"({"user":"ann","limit":null})").request.items_max,
            std::nullopt);
  EXPECT_EQ(result_of(ApiMethod::unread, R"({"user":"ann"})"), ApiDecode::ok);
  EXPECT_EQ(result_of(ApiMethod::unread, R"({"channel":"c"})"), ApiDecode::bad_request);
  EXPECT_EQ(result_of(ApiMethod::inbox, R"({"user":7})"), ApiDecode::malformed);
  EXPECT_EQ(result_of(ApiMethod::inbox, R"({"user":"ann","limit":1.5})"), ApiDecode::malformed);

  const DecodedRequest read(ApiMethod::mark_read,
                            R"({"user":"ann","channel":"c","offset":18446744073709551615})");
  ASSERT_EQ(read.result, ApiDecode::ok);
  EXPECT_EQ(read.request.offset, UINT64_MAX);
  for (const char* body : {R"({"user":"a","channel":"c"})", R"({"user":"a","offset":1})",
                           R"({"channel":"c","offset":1})", R"({"user":"a","channel":"c","offset":0})"}) {
    EXPECT_EQ(result_of(ApiMethod::mark_read, body), ApiDecode::bad_request) << body;
  }
  EXPECT_EQ(result_of(ApiMethod::mark_read, R"({"user":"a","channel":"c","offset":-1})"),
            ApiDecode::malformed);

  const DecodedRequest set(ApiMethod::set_fanout, R"({"channel":"c","strategy":"hybrid","threshold":500})");
  ASSERT_EQ(set.result, ApiDecode::ok);
  EXPECT_EQ(set.request.strategy, "hybrid");
  EXPECT_EQ(set.request.threshold, 500);
  EXPECT_EQ(DecodedRequest(ApiMethod::set_fanout, R"({"channel":"c","strategy":"read"})").request.threshold,
            std::nullopt);
  EXPECT_EQ(result_of(ApiMethod::set_fanout, R"({"channel":"c"})"), ApiDecode::bad_request);
  EXPECT_EQ(result_of(ApiMethod::fanout, "{}"), ApiDecode::bad_request);
}

std::string problem_of(ApiMethod method, const char* body) {
  return DecodedRequest(method, body).request.problem;
}

TEST(ApiRequest, NamesTheFieldThatIsMissing) {
  using enum ApiMethod;
  EXPECT_EQ(problem_of(presence, "{}"), "channel: missing or empty; give the name of a channel");
  EXPECT_EQ(problem_of(publish, R"({"channel":"a"})"),
            "data: missing; give any JSON value, or bytes in base64 as b64data");
  EXPECT_EQ(problem_of(publish, R"({"channel":"a","b64data":"?"})"),
            "b64data: not base64; give the padded standard form");
  EXPECT_EQ(problem_of(broadcast, R"({"data":1})"),
            "channels: missing or empty; give a list of names of channels");
  for (const ApiMethod method : {add_members, remove_members})
    EXPECT_EQ(problem_of(method, R"({"channel":"a"})"), "users: missing or empty; give a list of user ids");
  for (const ApiMethod method : {inbox, unread})
    EXPECT_EQ(problem_of(method, "{}"), "user: missing or empty; give a user id");
  EXPECT_EQ(problem_of(mark_read, R"({"user":"a","channel":"c"})"),
            "offset: missing or empty; give the offset of the last publication read");
  EXPECT_EQ(problem_of(set_fanout, R"({"channel":"c"})"),
            "strategy: missing or empty; give write, read, hybrid, adaptive or configured");
  EXPECT_EQ(problem_of(disconnect, R"({"user":""})"),
            "user: missing or empty; give a user id, or the id of a client as client");
}

TEST(ApiRequest, AFieldThatTheMethodDoesNotHaveIsRefusedWithASuggestion) {
  using enum ApiMethod;
  EXPECT_EQ(result_of(publish, R"({"chanel":"a","data":1})"), ApiDecode::bad_request);
  EXPECT_EQ(problem_of(publish, R"({"chanel":"a","data":1})"),
            "'chanel': unknown field; did you mean 'channel'?");
  EXPECT_EQ(problem_of(presence, R"({"channel":"a","data":1})"),
            "'data': unknown field; known: channel, after");
  EXPECT_EQ(problem_of(info, R"({"channel":1})"), "'channel': unknown field; there are none");
  EXPECT_EQ(result_of(history, R"({"channel":"a","since":{"offset":1,"epok":"e"}})"), ApiDecode::malformed);
  EXPECT_EQ(unknown_api_method("publsh"), "'publsh': unknown method; did you mean 'publish'?");
}

TEST(ApiRequest, TellsMissingFromMalformed) {
  for (const char* body : {"", "{}", R"({"channel":"a"})", R"({"channel":"","data":1})", R"({"data":1})",
                           R"({"channel":null,"data":1})", R"({"channel":"a","b64data":null})"}) {
    EXPECT_EQ(result_of(ApiMethod::publish, body), ApiDecode::bad_request) << body;
  }
  for (const char* body :
       {"{", "[]", "null", "x", R"({"channel":1,"data":1})", R"({"channel":"a","data":1}})",
        R"({"channel":"a","data":{"a":}})", R"({"channel":"a","data":1,"tags":[]})",
        R"({"channel":"a","data":1,"tags":{"a":1}})", R"({"channel":"a","data":1,"version":-1})",
        R"({"channel":"a","data":1,"skip_history":0})", R"({"channel":"a","data":1,"tags":nul})"}) {
    EXPECT_EQ(result_of(ApiMethod::publish, body), ApiDecode::malformed) << body;
  }
  EXPECT_EQ(result_of(ApiMethod::presence, "{}"), ApiDecode::bad_request);
  EXPECT_EQ(result_of(ApiMethod::info, "["), ApiDecode::malformed);
}

TEST(ApiRequest, NamesTheFieldThatMadeItMalformed) {
  EXPECT_EQ(problem_of(ApiMethod::inbox, R"({"user":"ann","limit":"1"})"),
            "limit: broken JSON, or not a whole number");
  EXPECT_EQ(problem_of(ApiMethod::add_members, R"({"channel":"c","users":["a",1]})"),
            "users: broken JSON, or not a list of strings");
  EXPECT_EQ(problem_of(ApiMethod::publish, R"({"channel":"c","data":{)"),
            "data: broken JSON, or not a JSON value");
  EXPECT_EQ(
      problem_of(ApiMethod::history, R"({"channel":"c","since":5})"),
      R"(since: broken JSON, or not a position, "<epoch>:<offset>", "oldest" or {"epoch":…,"offset":…})");
  EXPECT_EQ(problem_of(ApiMethod::publish, "news"), "the body is not a JSON object");
}

}  // namespace
}  // namespace carillon
