// What a backend is sent, and what its replies mean.
#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "proxy/backend_reply.hpp"
#include "proxy/backend_request.hpp"
#include "proxy/endpoint_url.hpp"

namespace carillon {
namespace {

using nlohmann::json;

HookQuestion asked(Operation operation, std::string data = {}) {
  HookQuestion question = HookQuestion::of({});
  question.operation = operation;
  question.client = "c1";
  question.user = "ann";
  question.data = std::make_shared<const std::string>(std::move(data));
  return question;
}

EndpointUrl url_of(std::string_view text) {
  std::string problem;
  const auto url = parse_endpoint_url(text, problem);
  EXPECT_TRUE(url.has_value()) << text << ": " << problem;
  return url.value_or(EndpointUrl{});
}

std::string problem_of(std::string_view text) {
  std::string problem;
  EXPECT_FALSE(parse_endpoint_url(text, problem).has_value()) << text;
  return problem;
}

Verdict read(Operation operation, std::string_view body, bool allows_anonymous = false) {
  return read_backend_reply(asked(operation), body, allows_anonymous);
}

json body_of(const HookQuestion& question, const ProxyEndpoint& endpoint = {}) {
  const std::string request = backend_request_of(question, endpoint, url_of("http://b"));
  const std::size_t end = request.find("\r\n\r\n");
  const std::string body = request.substr(end + 4);
  EXPECT_NE(request.find("Content-Length: " + std::to_string(body.size()) + "\r\n"), std::string::npos);
  return json::parse(body);
}

TEST(EndpointUrl, HasItsParts) {
  const EndpointUrl whole = url_of("http://app.local:8080/hooks/connect?key=1#part");
  EXPECT_EQ(whole.host, "app.local");
  EXPECT_EQ(whole.port, 8080);
  EXPECT_EQ(whole.authority, "app.local:8080");
  EXPECT_EQ(whole.target, "/hooks/connect?key=1");
  EXPECT_EQ(url_of("http://app").port, 80);
  EXPECT_EQ(url_of("http://app").target, "/");
  EXPECT_EQ(url_of("http://app?x=1").target, "/?x=1");
  const EndpointUrl six = url_of("http://[::1]:81/a");
  EXPECT_EQ(six.host, "::1");
  EXPECT_EQ(six.port, 81);
  EXPECT_EQ(six.authority, "[::1]:81");
}

TEST(EndpointUrl, WhatIsNoneIsRefusedWithTheRemedy) {
  EXPECT_NE(problem_of("https://a/b").find("local proxy"), std::string::npos);
  EXPECT_NE(problem_of("grpc://a").find("gRPC"), std::string::npos);
  EXPECT_NE(problem_of("a:80").find("http://host"), std::string::npos);
  EXPECT_NE(problem_of("http://u@a").find("static_headers"), std::string::npos);
  for (const char* text : {"http://", "http://:80/", "http://a:0", "http://a:65536", "http://a:x",
                           "http://[::1", "http://a b/", "http://a/\r\nX: y"})
    EXPECT_FALSE(problem_of(text).empty()) << text;
}

TEST(BackendRequest, HasTheFieldsOfTheFamily) {
  HookQuestion question = asked(Operation::publish, R"({"a":1})");
  question.channel = "chat:1";
  EXPECT_EQ(body_of(question), json::parse(R"({"client":"c1","transport":"websocket","protocol":"json",
      "encoding":"json","user":"ann","channel":"chat:1","data":{"a":1}})"));
  question.is_protobuf = true;
  question.transport = Transport::emulated_sse;
  question.data = std::make_shared<const std::string>("\xff");
  EXPECT_EQ(body_of(question), json::parse(R"({"client":"c1","transport":"sse","protocol":"protobuf",
      "encoding":"binary","user":"ann","channel":"chat:1","b64data":"/w=="})"));
  HookQuestion call = asked(Operation::rpc, "1");
  call.method = "m";
  ProxyEndpoint binary;
  binary.is_binary = true;
  EXPECT_EQ(body_of(call, binary)["b64data"], "MQ==");
  EXPECT_EQ(body_of(call)["method"], "m");
  EXPECT_FALSE(body_of(asked(Operation::connect)).contains("user")) << "nobody has proved who it is";
}

TEST(BackendRequest, PassesOnWhatIsListedAndNothingThatFramesIt) {
  ClientRequest client;
  client.headers = {{"cookie", "s=1"}, {"x-a", "1"}, {"host", "evil"}, {"content-length", "0"}};
  HookQuestion question = asked(Operation::connect);
  question.request = std::make_shared<const ClientRequest>(client);
  ProxyEndpoint endpoint;
  endpoint.http_headers = {"Cookie", "HOST", "Content-Length"};
  endpoint.static_headers = {{"Cookie", "none"}, {"X-Key", "k"}};
  const std::string text = backend_request_of(question, endpoint, url_of("http://b:81/p?q"));
  EXPECT_TRUE(text.starts_with("POST /p?q HTTP/1.1\r\nHost: b:81\r\n")) << text;
  EXPECT_NE(text.find("cookie: s=1\r\n"), std::string::npos);
  EXPECT_NE(text.find("X-Key: k\r\n"), std::string::npos);
  for (const char* unwanted : {"none", "x-a", "evil", "content-length: 0"})
    EXPECT_EQ(text.find(unwanted), std::string::npos) << unwanted;
}

TEST(BackendReply, OfAConnectNamesTheUserAndItsChannels) {
  const Verdict verdict = read(Operation::connect, R"({"result":{"user":"bob","expire_at":1700000000,
      "info":{"n":1},"b64data":"e30=","channels":["a"],
      "subs":{"b":{"info":[1],"data":2,"expire_at":5,"override":{"force_recovery":{"value":true},
                                                                  "presence":{"value":false}}}}}})");
  ASSERT_TRUE(verdict.is_allowed) << verdict.reason;
  EXPECT_EQ(verdict.identity.user, "bob");
  EXPECT_EQ(verdict.identity.expiry.at_s, 1'700'000'000);
  EXPECT_FALSE(verdict.identity.expiry.is_renewed_by_client);
  EXPECT_EQ(verdict.identity.info_json, R"({"n":1})");
  EXPECT_EQ(verdict.identity.data_json, "{}");
  EXPECT_TRUE(verdict.identity.names_subscriptions);
  ASSERT_EQ(verdict.identity.subscriptions.size(), 2U);
  const SubscriptionGrant& grant = verdict.identity.subscriptions[1];
  EXPECT_EQ(grant.channel, "b");
  EXPECT_EQ(grant.info_json, "[1]");
  EXPECT_EQ(grant.data_json, "2");
  EXPECT_EQ(grant.expiry.at_s, 5);
  EXPECT_EQ(grant.overrides.force_recovery, true);
  EXPECT_EQ(grant.overrides.presence, false);
  EXPECT_EQ(grant.overrides.join_leave, std::nullopt);
  EXPECT_FALSE(read(Operation::connect, R"({"result":{"user":"bob"}})").identity.names_subscriptions);
}

TEST(BackendReply, WithoutAResultMeansWhatItMeansInTheFamily) {
  EXPECT_TRUE(read(Operation::subscribe, "{}").is_allowed);
  EXPECT_TRUE(read(Operation::publish, R"({"result":null})").is_allowed);
  EXPECT_TRUE(read(Operation::rpc, "{}").is_allowed);
  EXPECT_FALSE(read(Operation::refresh, "{}").is_allowed);
  EXPECT_FALSE(read(Operation::sub_refresh, "{}").is_allowed);
  EXPECT_TRUE(read(Operation::connect, "{}", true).is_allowed);
  const Verdict refused = read(Operation::connect, "{}");
  EXPECT_FALSE(refused.is_allowed || refused.is_undecided);
  EXPECT_EQ(refused.code, 3501U);
  HookQuestion proved = asked(Operation::connect);
  proved.is_proved = true;
  EXPECT_EQ(read_backend_reply(proved, "{}", false).identity.user, "ann") << "its token has said so";
}

TEST(BackendReply, OfAPublishSaysHowItIsPublished) {
  const Verdict verdict = read(Operation::publish, R"({"result":{"data":{"z":1,"a":2},"skip_history":true,
      "delta":true,"idempotency_key":"k","tags":{"a":"b"}}})");
  EXPECT_EQ(verdict.data, R"({"z":1,"a":2})") << "as it was written";
  ASSERT_NE(verdict.publish, nullptr);
  EXPECT_TRUE(verdict.publish->skips_history && verdict.publish->has_delta);
  EXPECT_EQ(verdict.publish->idempotency_key, "k");
  EXPECT_EQ(verdict.publish->tags.at(0).second, "b");
  EXPECT_EQ(read(Operation::publish, R"({"result":{}})").publish, nullptr);
  EXPECT_FALSE(read(Operation::publish, R"({"result":{}})").data.has_value());
  const Verdict binary = read(Operation::rpc, R"({"result":{"b64data":"/w=="}})");
  EXPECT_EQ(binary.data, "\xff");
  EXPECT_TRUE(binary.is_data_binary);
}

TEST(BackendReply, ExpiresOrGoesOn) {
  EXPECT_FALSE(read(Operation::refresh, R"({"result":{"expired":true}})").is_allowed);
  EXPECT_EQ(read(Operation::refresh, R"({"result":{"expire_at":7,"info":1}})").identity.expiry.at_s, 7);
  EXPECT_EQ(read(Operation::sub_refresh, R"({"result":{"expire_at":7}})").subscription.expiry.at_s, 7);
}

TEST(BackendReply, DeniesByAnErrorOrADisconnect) {
  const Verdict error =
      read(Operation::rpc, R"({"error":{"code":470,"message":"no \u00f6","temporary":true}})");
  EXPECT_FALSE(error.is_allowed || error.is_undecided);
  EXPECT_EQ(error.code, 470U);
  EXPECT_EQ(error.reason, "no ö");
  EXPECT_TRUE(error.is_temporary);
  const Verdict both = read(Operation::rpc, R"({"result":{},"error":{"code":470},
                                               "disconnect":{"code":4500,"reason":""}})");
  EXPECT_EQ(both.code, 4500U) << "the strictest counts";
  EXPECT_FALSE(both.reason.empty()) << "SDKs take an empty one for another code";
}

TEST(BackendReply, WithoutAMeaningIsUndecided) {
  for (const char* body : {"",
                           "null",
                           "[]",
                           "x",
                           R"({"result":1})",
                           R"({"result":{"user":1}})",
                           R"({"result":{"expire_at":-1}})",
                           R"({"result":{"info":{}},})",
                           R"({"result":{"b64info":"/w=="}})",
                           R"({"result":{"b64data":"/w=="}})",
                           R"({"result":{"channels":{}}})",
                           R"({"result":{"channels":[1]}})",
                           R"({"result":{"subs":[]}})",
                           R"({"result":{"subs":{"a":1}}})",
                           R"({"result":{"subs":{"a":{"info":{}, "expire_at":"x"}}}})",
                           R"({"result":{"override":{"presence":{"value":1}}}})",
                           R"({"result":{"tags":{"a":1}}})",
                           R"({"error":1})",
                           R"({"error":{"code":99}})",
                           R"({"error":{"code":3000}})",
                           R"({"error":{"code":400,"message":1}})",
                           R"({"disconnect":{"code":2999}})",
                           R"({"disconnect":{"code":5000}})",
                           "{\"error\":{\"code\":400,\"message\":\"\xff\"}}"}) {
    const Verdict verdict = read(Operation::connect, body, true);
    EXPECT_TRUE(verdict.is_undecided) << body;
    EXPECT_FALSE(verdict.is_allowed) << body;
    EXPECT_FALSE(verdict.reason.empty()) << body;
  }
  const std::string deep = R"({"result":{"data":)" + std::string(100, '[') + std::string(100, ']') + "}}";
  EXPECT_TRUE(read(Operation::rpc, deep).is_undecided);
  const std::string long_reason = R"({"disconnect":{"code":4000,"reason":")" + std::string(124, 'x') + "\"}}";
  EXPECT_TRUE(read(Operation::rpc, long_reason).is_undecided);
}

}  // namespace
}  // namespace carillon
