#include "server/config.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>

#include "server/config_options.hpp"
#include "server/config_parts.hpp"
#include "server/limit_table.hpp"

namespace carillon {
namespace {

using nlohmann::json;

// What is said against the document; empty: nothing.
std::string refusal(const std::string& document) {
  try {
    (void)parse_config(document);
    return "";
  } catch (const ConfigError& error) {
    return error.what();
  }
}

testing::AssertionResult is_refused(const std::string& document, const std::vector<std::string>& words) {
  const std::string text = refusal(document);
  if (text.empty()) return testing::AssertionFailure() << document << " is accepted";
  for (const std::string& word : words) {
    if (text.find(word) == std::string::npos)
      return testing::AssertionFailure() << document << " is refused with: " << text << "\nwithout: " << word;
  }
  return testing::AssertionSuccess();
}

// A document with this value at the dotted path.
json document_with(const std::string& path, const json& value) {
  std::string pointer = "/" + path;
  std::replace(pointer.begin(), pointer.end(), '.', '/');
  json document;
  document[json::json_pointer(pointer)] = value;
  return document;
}

json normal(const std::string& document) { return json::parse(config_to_json(parse_config(document))); }

ChannelRules rules_of(const std::string& document) { return ChannelRules(parse_config(document).channels); }

TEST(Config, AnEmptyDocumentIsTheDefaults) {
  const ServerConfig config = parse_config("{}");
  EXPECT_EQ(config.host, "127.0.0.1");
  EXPECT_EQ(config.port, 8'000);
  EXPECT_FALSE(config.insecure);
  EXPECT_EQ(config.heartbeat.ping_interval_ms, 25'000);
  EXPECT_EQ(config.limits.channels_per_connection, 128);
  EXPECT_TRUE(config.channels.empty());
}

TEST(Config, EveryNameOfTheFamilyIsUnderstood) {
  const ServerConfig config = parse_config(R"({
    "http_server": {"address": "127.0.0.2", "port": 9000},
    "client": {"insecure": true, "allowed_origins": ["https://a.test"], "ping_interval": "20s", "pong_timeout": "5s",
               "stale_close_delay": "3s", "channel_limit": 7, "queue_max_size": 4096, "connection_limit": 99,
               "history_max_publication_limit": 12},
    "channel": {"max_length": 100, "history_meta_ttl": "48h"},
    "http_api": {"key": "k"},
    "websocket": {"message_size_limit": 1000},
    "shutdown": {"timeout": "1m"}})");
  EXPECT_EQ(config.host, "127.0.0.2");
  EXPECT_EQ(config.port, 9'000);
  EXPECT_TRUE(config.insecure);
  EXPECT_EQ(config.allowed_origins, std::vector<std::string>{"https://a.test"});
  EXPECT_EQ(config.heartbeat.ping_interval_ms, 20'000);
  EXPECT_EQ(config.heartbeat.pong_timeout_ms, 5'000);
  EXPECT_EQ(config.limits.handshake_timeout_ms, 3'000);
  EXPECT_EQ(config.limits.channels_per_connection, 7);
  EXPECT_EQ(config.limits.backlog_bytes, 4'096);
  EXPECT_EQ(config.limits.connections, 99);
  EXPECT_EQ(config.limits.history_publications, 12);
  EXPECT_EQ(config.limits.channel_name_bytes, 100);
  EXPECT_EQ(config.limits.channel_lifetime_ms, 48LL * 3'600'000);
  EXPECT_EQ(config.limits.message_bytes, 1'000);
  EXPECT_EQ(config.api_key, "k");
  EXPECT_EQ(config.shutdown_timeout_ms, 60'000);
  EXPECT_TRUE(parse_config(R"({"http_api": {"insecure": true}})").api_insecure);
}

TEST(Config, EveryOptionOfANamespaceIsUnderstood) {
  const ChannelRules rules = rules_of(R"({"channel": {
    "without_namespace": {"history_size": 3, "allow_history_for_client": true},
    "namespaces": [{"name": "chat", "history_size": 5, "history_ttl": "10m", "history_bytes": 6000,
                    "live_window_entries": 7, "live_window_bytes": 8000, "slow_consumer": "skip",
                    "slow_consumer_entries": 40, "presence": false, "join_leave": true,
                    "fanout": "adaptive", "fanout_threshold": 50, "fanout_hysteresis": 30,
                    "sweep_interval": "20ms", "batch_interval": "30ms", "conflate": true,
                    "publication_data_format": "json_object", "force_push_join_leave": true,
                    "force_recovery": false, "force_positioning": false, "allow_recovery": true,
                    "allow_positioning": true, "allow_user_limited_channels": true,
                    "allow_subscribe_for_client": true, "allow_publish_for_client": true,
                    "allow_presence_for_client": true, "allow_publish_for_subscriber": true,
                    "allow_presence_for_subscriber": true, "allow_history_for_subscriber": true,
                    "allow_subscribe_for_anonymous": true, "allow_publish_for_anonymous": true,
                    "allow_presence_for_anonymous": true, "allow_history_for_anonymous": true}]}})");
  const ChannelOptions& chat = rules.options_for("chat:room");
  EXPECT_EQ(chat.history_size, 5U);
  EXPECT_EQ(chat.history_ttl_ms, 600'000);
  EXPECT_EQ(chat.history_bytes, 6'000U);
  EXPECT_EQ(chat.live_window_entries, 7U);
  EXPECT_EQ(chat.live_window_bytes, 8'000U);
  EXPECT_EQ(chat.slow_consumer, SlowConsumer::skip);
  EXPECT_EQ(chat.slow_consumer_entries, 40U);
  EXPECT_EQ(chat.fan_out, FanOut::adaptive);
  EXPECT_EQ(chat.fan_out_threshold, 50U);
  EXPECT_EQ(chat.fan_out_hysteresis, 30U);
  EXPECT_EQ(chat.sweep_interval_ms, 20);
  EXPECT_EQ(chat.batch_interval_ms, 30);
  EXPECT_TRUE(chat.conflate);
  EXPECT_FALSE(chat.presence);
  EXPECT_TRUE(chat.join_leave && chat.allow_subscribe && chat.allow_publish && chat.allow_presence);
  EXPECT_FALSE(chat.allow_history);
  EXPECT_TRUE(chat.allow_publish_for_subscriber && chat.allow_presence_for_subscriber &&
              chat.allow_history_for_subscriber);
  EXPECT_TRUE(chat.allow_subscribe_for_anonymous && chat.allow_publish_for_anonymous &&
              chat.allow_presence_for_anonymous && chat.allow_history_for_anonymous);
  EXPECT_TRUE(chat.allow_user_limited && chat.force_push_join_leave && chat.allow_recovery &&
              chat.allow_positioning);
  EXPECT_FALSE(chat.force_recovery || chat.force_positioning);
  EXPECT_EQ(chat.publication_format, PublicationFormat::json_object);
  EXPECT_TRUE(rules.options_for("news").force_recovery && rules.options_for("news").force_positioning);
  EXPECT_EQ(rules.options_for("news").history_size, 3U);
  EXPECT_TRUE(rules.options_for("chat").allow_history);
}

TEST(Config, AChannelOfAnUnknownNamespaceIsUnknownOnceThereAreNamespaces) {
  const ChannelRules rules = rules_of(
      R"({"channel": {"namespaces": [{"name": "chat"}]}, "channels": {"game:*": {"history_size": 1}}})");
  for (const char* name : {"news", "chat:a", "chat:a:b", "$chat:a", "game:1", "chat"})
    EXPECT_TRUE(rules.is_known(name)) << name;
  for (const char* name : {"other:a", "chatter:a", ":", "$other:a"})
    EXPECT_FALSE(rules.is_known(name)) << name;
  EXPECT_TRUE(rules_of("{}").is_known("other:a"));
  const ChannelRules without = rules_of(R"({"channel": {"without_namespace": {}}})");
  EXPECT_TRUE(without.is_known("news"));
  EXPECT_FALSE(without.is_known("other:a")) << "its options are nowhere";
}

TEST(Config, PresenceIsOffInTheTablesOfTheFamilyUnlessItIsSwitchedOn) {
  const ChannelRules rules =
      rules_of(R"({"channel": {"namespaces": [{"name": "chat"}, {"name": "room", "presence": true}]},
                   "channels": {"a*": {}}})");
  EXPECT_FALSE(rules.options_for("chat:a").presence);
  EXPECT_TRUE(rules.options_for("room:a").presence);
  EXPECT_FALSE(rules.options_for("news").presence) << "without_namespace is not given";
  EXPECT_TRUE(rules.options_for("all").presence) << "our own table";
  EXPECT_FALSE(rules_of(R"({"channel": {"without_namespace": {}}})").options_for("news").presence);
  EXPECT_TRUE(rules_of("{}").options_for("news").presence);
}

TEST(Config, NamesWithoutANamespaceAreTheirsBeforeTheyAreThoseOfAStar) {
  const ChannelRules rules = rules_of(R"({"channels": {"*": {"history_size": 1}, "ne*": {"history_size": 2}},
                                          "channel": {"without_namespace": {"history_size": 3}}})");
  EXPECT_EQ(rules.options_for("a:b").history_size, 1U);
  EXPECT_EQ(rules.options_for("news").history_size, 2U);
  EXPECT_EQ(rules.options_for("chat").history_size, 3U);
}

TEST(Config, OurOwnNamesKeepTheirPlace) {
  const ServerConfig config = parse_config(R"({
    "threads": 2, "store": {"url": "memory", "durability": "normal"}, "demo": true, "heartbeat": {"comment_interval_ms": 5, "sse_retry_ms": 6},
    "limits": {"body_bytes": 10}, "channels": {"a*": {"history_ttl_ms": 1500}, "b*": {"history_ttl": "2s"}}})");
  EXPECT_EQ(config.threads, 2);
  EXPECT_TRUE(config.demo);
  EXPECT_EQ(config.heartbeat.comment_interval_ms, 5);
  EXPECT_EQ(config.heartbeat.sse_retry_ms, 6);
  EXPECT_EQ(config.limits.body_bytes, 10);
  EXPECT_EQ(ChannelRules(config.channels).options_for("ab").history_ttl_ms, 1'500);
  EXPECT_EQ(ChannelRules(config.channels).options_for("b").history_ttl_ms, 2'000);
}

TEST(Config, AFanOutThatCannotBeIsRefusedWithTheRemedy) {
  const auto of_chat = [](const std::string& option) {
    return R"({"channels": {"chat": {)" + option + "}}}";
  };
  const std::string path = "channels.\"chat\".";
  EXPECT_TRUE(is_refused(of_chat(R"("fanout": "push")"),
                         {path + "fanout: ", "\"push\"", "\"write\", \"read\", \"hybrid\" or \"adaptive\""}));
  EXPECT_TRUE(
      is_refused(of_chat(R"("fanout_threshold": 0)"), {path + "fanout_threshold: 0 ", "minimum is 1"}));
  EXPECT_TRUE(is_refused(of_chat(R"("fanout_hysteresis": 101)"),
                         {path + "fanout_hysteresis: 101 ", "maximum is 100"}));
  EXPECT_TRUE(
      is_refused(of_chat(R"("sweep_interval": "0s")"), {path + "sweep_interval: \"0s\" ", "minimum is 1ms"}));
  EXPECT_TRUE(is_refused(of_chat(R"("sweep_interval": 100)"), {path + "sweep_interval: 100 ", "\"100ms\""}));
  EXPECT_TRUE(is_refused(of_chat(R"("batch_interval": "25h")"),
                         {path + "batch_interval: \"25h\" ", "maximum is 24h"}));
  EXPECT_TRUE(is_refused(of_chat(R"("fan_out": "read")"), {"did you mean", "fanout"}));
  EXPECT_TRUE(is_refused(of_chat(R"("batch_intervall_ms": 5)"), {"did you mean", "batch_interval_ms"}));
}

TEST(Config, EveryRowOfTheLimitsCanBeSetByItsName) {
  for (const LimitRow& row : kLimitRows) {
    const std::int64_t wanted = std::max<std::int64_t>(Limits{}.*(row.field), 1) * 2;
    const json document = {{"limits", {{row.name, wanted}}}};
    EXPECT_EQ(parse_config(document.dump()).limits.*(row.field), wanted) << row.name;
    EXPECT_TRUE(is_refused(json{{"limits", {{row.name, row.least - 1}}}}.dump(), {std::string(row.name)}));
  }
}

TEST(Config, TwoNamesOfOneThingMayNotContradictEachOther) {
  EXPECT_TRUE(
      is_refused(R"({"client": {"channel_limit": 5}, "limits": {"channels_per_connection": 6}})",
                 {"client.channel_limit", "5", "limits.channels_per_connection", "6", "same option"}));
  EXPECT_TRUE(
      is_refused(R"({"client": {"stale_close_delay": "5s"}, "limits": {"handshake_timeout_ms": 6000}})",
                 {"client.stale_close_delay", "limits.handshake_timeout_ms"}));
  EXPECT_TRUE(is_refused(R"({"channels": {"a": {"history_ttl": "5s", "history_ttl_ms": 6000}}})",
                         {"history_ttl_ms", "history_ttl = \"5s\""}));
  EXPECT_EQ(refusal(R"({"client": {"stale_close_delay": "5s"}, "limits": {"handshake_timeout_ms": 5000}})"),
            "");
  EXPECT_EQ(refusal(R"({"channels": {"a": {"history_ttl": "5s", "history_ttl_ms": 5000}}})"), "");
  EXPECT_TRUE(is_refused(R"({"channel": {"namespaces": [{"name": "chat"}]}, "channels": {"chat:*": {}}})",
                         {"channels.\"chat:*\"", "channel.namespaces[chat]"}));
  EXPECT_TRUE(is_refused(R"({"channel": {"namespaces": [{"name": "chat"}, {"name": "chat"}]}})", {"[chat]"}));
  EXPECT_TRUE(
      is_refused(R"({"http_api": {"insecure": true, "key": "k"}})", {"http_api.insecure", "http_api.key"}));
}

TEST(Config, AMistakeIsAnsweredWithTheNearestName) {
  const std::vector<std::pair<const char*, const char*>> mistakes = {
      {R"({"http_server": {"prot": 1}})", "'http_server.port'"},
      {R"({"htp_server": {"port": 1}})", "'http_server'"},
      {R"({"client": {"allowed_origin": []}})", "'client.allowed_origins'"},
      {R"({"limits": {"header_byte": 1}})", "'limits.header_bytes'"},
      {R"({"heartbeat": {"sse_retry": 1}})", "'heartbeat.sse_retry_ms'"},
      {R"({"heartbeat": {"ping_interval_ms": 1}})", "'client.ping_interval'"},
      {R"({"channel": {"namespace": []}})", "'channel.namespaces'"},
      {R"({"channel": {"namespaces": [{"name": "ab", "history_sise": 1}]}})", ".history_size'"},
      {R"({"channels": {"a": {"allow_subscribe": true}}})", ".allow_subscribe_for_client'"},
      {R"({"host": "127.0.0.1"})", "'http_server.address'"},
      {R"({"port": 1})", "'http_server.port'"},
      {R"({"api_key": "k"})", "'http_api.key'"},
      {R"({"insecure": true})", "'client.insecure'"},
      {R"({"allowed_origins": []})", "'client.allowed_origins'"},
      {R"({"message_bytes": 1})", "'websocket.message_size_limit'"},
      {R"({"http_api": {"keys": "k"}})", "'http_api.key'"},
  };
  for (const auto& [document, nearest] : mistakes)
    EXPECT_TRUE(is_refused(document, {"unknown option; did you mean", nearest}));
  EXPECT_TRUE(is_refused(R"({"xylophone": 1})", {"xylophone", "carillon config schema"}));
  EXPECT_TRUE(is_refused(R"({"client.insecure": true})", {"cannot contain a dot"}));
}

TEST(Config, KeysOfTokensAreReadAndCheckedAtOnce) {
  const ServerConfig config = parse_config(R"({"client": {"token": {"hmac_secret_key": "s", "leeway": "5s",
      "hmac_previous_secret_key_valid_until": 1800000000}, "subscription_token": {"enabled": true,
      "hmac_secret_key": "t"}, "expired_close_delay": "1s", "allow_anonymous_connect_without_token": true}})");
  EXPECT_EQ(config.token.hmac_secret_key, "s");
  EXPECT_EQ(config.token.hmac_previous_secret_key_valid_until_s, 1'800'000'000);
  EXPECT_EQ(config.token_leeway_ms, 5'000);
  EXPECT_EQ(config.subscription_token.hmac_secret_key, "t");
  EXPECT_EQ(config.limits.expired_close_delay_ms, 1'000);
  EXPECT_TRUE(config.allows_anonymous_connect);
  EXPECT_TRUE(is_refused(R"({"client": {"token": {"ecdsa_public_key": "x"}}})",
                         {"client.token.ecdsa_public_key: ", "BEGIN PUBLIC KEY"}));
  EXPECT_TRUE(is_refused(R"({"client": {"token": {"jwks_public_endpoint": "keys"}}})",
                         {"client.token.jwks_public_endpoint: ", "https://"}));
  EXPECT_TRUE(is_refused(R"({"client": {"subscription_token": {"enabled": true}}})",
                         {"client.subscription_token.enabled: ", "has no key"}));
  EXPECT_TRUE(is_refused(R"({"client": {"subscription_token": {"hmac_secret_key": "s"}}})",
                         {"client.subscription_token.enabled: ", "set it to true"}));
  EXPECT_TRUE(is_refused(R"({"client": {"subscription_token": {"enabled": true, "hmac_secret_key": "s"}}})",
                         {"client.subscription_token.enabled: ", "client.token has no key"}));
  EXPECT_TRUE(is_refused(R"({"client": {"token": {"hmac_previous_secret_key": "s"}}})",
                         {"client.token.hmac_previous_secret_key: "}));
}

TEST(Config, WhatTheFamilyHasAndThisVersionHasNotIsSaidToBeMissing) {
  const std::vector<std::pair<const char*, std::vector<std::string>>> missing = {
      {R"({"client": {"token": {"audience_regex": "s"}}})", {"client.token.audience_regex: ", "audience"}},
      {R"({"client": {"proxy": {"connect": {"emulated_headers": ["a"]}}}})",
       {"client.proxy.connect.emulated_headers: ", "connect command"}},
      {R"({"channel": {"proxy": {"map_publish": {"endpoint": "http://a"}}}})",
       {"channel.proxy.map_publish.endpoint: "}},
      {R"({"client": {"recovery_max_publication_limit": 1}})", {"history_max_publication_limit"}},
      {R"({"sse": {"max_request_body_size": 1}})", {"sse.max_request_body_size: ", "sse.enabled"}},
      {R"({"http_stream": {"max_request_body_size": 1}})", {"http_stream.max_request_body_size: "}},
      {R"({"uni_grpc": {"enabled": true}})", {"uni_grpc.enabled: ", "gRPC"}},
      {R"({"uni_sse": {"max_request_body_size": 1}})",
       {"uni_sse.max_request_body_size: ", "uni_sse.enabled"}},
      {R"({"uni_sse": {"handler_prefix": "/events"}})", {"uni_sse.handler_prefix: ", "paths"}},
      {R"({"uni_websocket": {"join_push_messages": true}})", {"uni_websocket.join_push_messages: "}},
      {R"({"engine": {"type": "redis"}})", {"engine.type: ", "store.url"}},
      {R"({"broker": {"enabled": true}})", {"broker.enabled: "}},
      {R"({"admin": {"enabled": true}})", {"admin.enabled: "}},
      {R"({"prometheus": {"handler_prefix": "/m"}})", {"prometheus.handler_prefix: ", "metrics"}},
      {R"({"graphite": {"enabled": true}})", {"graphite.enabled: ", "Prometheus"}},
      {R"({"http_server": {"tls": {"enabled": true}}})", {"http_server.tls.enabled: ", "TLS"}},
      {R"({"grpc_api": {"enabled": true}})", {"grpc_api.enabled: ", "gRPC"}},
      {R"({"rpc": {"ping": {"enabled": true}}})", {"rpc.ping.enabled: "}},
      {R"({"proxies": [{"name": "a"}]})", {"proxies: "}},
      {R"({"websocket": {"compression_prepared_message_cache_size": 5}})",
       {"websocket.compression_prepared_message_cache_size: ", "needs no such cache"}},
      {R"({"log": {"file": "a.log"}})", {"log.file: ", "logging"}},
      {R"({"shared_poll": {"hmac_secret_key": "s"}})", {"shared_poll.hmac_secret_key: ", "stream"}},
      {R"({"map_broker": {"type": "redis"}})", {"map_broker.type: ", "stream"}},
  };
  for (const auto& [document, words] : missing) {
    EXPECT_TRUE(is_refused(document, words));
    EXPECT_EQ(refusal(document).find("did you mean"), std::string::npos) << document;
  }
  for (const char* option : {"subscribe_stream_proxy_enabled", "publish_proxy_name", "history_meta_ttl",
                             "channel_regex", "subscription_type", "shared_poll", "map",
                             "map_clients_presence_channel_prefix", "client_publish_debounce_interval"}) {
    const json options = {{option, true}};
    const json named = {{"name", "ab"}, {option, true}};
    EXPECT_TRUE(is_refused(json{{"channel", {{"without_namespace", options}}}}.dump(),
                           {"channel.without_namespace." + std::string(option) + ": "}));
    EXPECT_TRUE(is_refused(json{{"channel", {{"namespaces", {named}}}}}.dump(),
                           {"channel.namespaces[ab]." + std::string(option) + ": "}));
  }
}

TEST(Config, AValueOfAWrongTypeIsRefusedWithTheRemedy) {
  const std::vector<std::pair<const char*, std::vector<std::string>>> wrong = {
      {"[]", {"table"}},
      {"{", {"JSON"}},
      {R"({"http_server": {"port": "x"}})", {"http_server.port", "\"x\"", "whole number"}},
      {R"({"http_server": {"port": 65536}})", {"65535"}},
      {R"({"http_server": {"port": -1}})", {"minimum is 0"}},
      {R"({"http_server": 5})", {"[http_server]"}},
      {R"({"limits": 5})", {"[limits]"}},
      {R"({"http_server": {"address": ""}})", {"127.0.0.1"}},
      {R"({"channels": {"a": {"auto_cache_recover": true}}})", {"auto_cache_recover", "\"cache\""}},
      {R"({"client": {"insecure": 1}})", {"client.insecure", "true nor false"}},
      {R"({"client": {"allowed_origins": "*"}})", {"list"}},
      {R"({"client": {"allowed_origins": ["app.test"]}})",
       {"client.allowed_origins", "'app.test'", "https://"}},
      {R"({"client": {"allowed_origins": ["https://app.test/"]}})",
       {"'https://app.test/'", "without a path"}},
      {R"({"client": {"allowed_origins": ["*.app.test/x"]}})", {"without a path"}},
      {R"({"client": {"ping_interval": 25}})", {"client.ping_interval", "no unit", "\"25s\""}},
      {R"({"client": {"ping_interval": "often"}})", {"not a duration"}},
      {R"({"client": {"ping_interval": "25h"}})", {"24h"}},
      {R"({"client": {"stale_close_delay": "1ms"}})", {"minimum is 10ms"}},
      {R"({"limits": {"handshake_timeout_ms": "10s"}})", {"whole number"}},
      {R"({"limits": {"body_bytes": 18446744073709551615}})", {"too large"}},
      {R"({"client": {"pong_timeout": "30s"}})",
       {"client.pong_timeout", "30s", "client.ping_interval", "25s"}},
      {R"({"store": "memory"})", {"[store]"}},
      {R"({"store": {"url": "redis"}})", {"store.url", "sqlite:PATH"}},
      {R"({"store": {"url": "sqlite:"}})", {"store.url", "no path"}},
      {R"({"store": {"url": "sqlite://carillon.db"}})",
       {"store.url", "\"sqlite:carillon.db\"", "\"sqlite:/path/carillon.db\""}},
      {R"({"store": {"durability": "some"}})", {"store.durability", "\"normal\""}},
      {R"({"log": {"level": "loud"}})", {"log.level", "'loud'", "debug"}},
      {R"({"channels": {"": {}}})", {"empty"}},
      {R"({"channels": {"a": 1}})", {"table"}},
      {R"({"channel": {"namespaces": {}}})", {"[[channel.namespaces]]"}},
      {R"({"channel": {"namespaces": [{}]}})", {"channel.namespaces[0]", "name"}},
      {R"({"channel": {"namespaces": [{"name": "ab"}, {"name": "a:b"}]}})",
       {"channel.namespaces[1]", "\"a:b\""}},
      {R"({"channel": {"namespaces": [{"name": "a"}]}})", {"two or more"}},
  };
  for (const auto& [document, words] : wrong) EXPECT_TRUE(is_refused(document, words));
}

TEST(Config, ARedisIsCheckedAsAWholeAndItsPasswordIsNeverShown) {
  const auto is_wrong = [](const json& store, const std::vector<std::string>& words) {
    const std::string document = json{{"store", store}}.dump();
    EXPECT_EQ(refusal(document).find("hush"), std::string::npos) << refusal(document);
    return is_refused(document, words);
  };
  const std::string plain = "redis://ann:hush@redis.example:6379/1";
  const std::string sentinel = "rediss+sentinel://one,two/main";
  const auto sentence = [](const json& store) { return refusal(json{{"store", store}}.dump()); };
  EXPECT_EQ(sentence({{"url", plain}}), "");
  EXPECT_EQ(sentence({{"url", "redis://host"}, {"user", "ann"}, {"password", "hush"}}), "");
  EXPECT_EQ(sentence({{"url", "redis://host"}, {"password_file", "/run/secret"}, {"loss", "never"}}), "");
  EXPECT_EQ(sentence({{"url", sentinel},
                      {"sentinel_user", "eve"},
                      {"sentinel_password", "hush"},
                      {"ca_file", "ca.pem"},
                      {"certificate_file", "a.pem"},
                      {"key_file", "a.key"}}),
            "");
  for (const char* const option :
       {"user", "password", "password_file", "sentinel_user", "sentinel_password", "sentinel_password_file",
        "ca_file", "certificate_file", "key_file", "prefix"})
    EXPECT_TRUE(is_wrong({{option, "hush"}}, {"store." + std::string(option) + ": is of Redis"}));
  EXPECT_TRUE(is_wrong({{"url", "sqlite:a.db"}, {"loss", "never"}}, {"store.loss: is of Redis"}));
  EXPECT_TRUE(is_wrong({{"url", "redis://hush@host"}}, {"store.url: has a user without", ":PASSWORD@host"}));

  EXPECT_EQ(sentence({{"url", "memor"}}),
            "store.url: 'memor' is not a store; use \"memory\", \"sqlite:PATH\" or \"redis://host\"");
  EXPECT_TRUE(is_wrong({{"url", "valkey://:hush@host"}}, {"store.url: is not a store", "redis://host"}));
  EXPECT_TRUE(
      is_wrong({{"url", "redis://:hush/hush@host"}}, {"store.url: has a / in the user or password", "%2F"}));
  EXPECT_TRUE(is_wrong({{"url", "redis+nothing://:hush@host"}}, {"store.url: is no URL of Redis"}));
  EXPECT_TRUE(is_wrong({{"url", plain}, {"user", "eve"}}, {"store.user: ", "store.url has a user"}));
  EXPECT_TRUE(
      is_wrong({{"url", plain}, {"password", "hush"}}, {"store.password: ", "store.url has a password"}));
  EXPECT_TRUE(
      is_wrong({{"url", plain}, {"password_file", "hush"}}, {"store.password_file: ", "another place"}));
  EXPECT_TRUE(is_wrong({{"url", "redis://host"}, {"password", "hush"}, {"password_file", "hush"}},
                       {"store.password_file: ", "another place"}));
  EXPECT_TRUE(is_wrong({{"url", sentinel}, {"sentinel_password", "hush"}, {"sentinel_password_file", "hush"}},
                       {"store.sentinel_password_file: contradicts store.sentinel_password"}));
  for (const char* option : {"sentinel_user", "sentinel_password", "sentinel_password_file"})
    EXPECT_TRUE(is_wrong({{"url", plain}, {option, "hush"}},
                         {"store." + std::string(option) + ": store.url has no Sentinel"}));
  for (const char* option : {"ca_file", "certificate_file", "key_file"})
    EXPECT_TRUE(is_wrong({{"url", plain}, {option, "a.pem"}},
                         {"store." + std::string(option) + ": store.url is without TLS", "rediss"}));
  EXPECT_TRUE(is_wrong({{"url", "rediss://host"}, {"key_file", "a.key"}},
                       {"store.key_file: ", "store.certificate_file"}));
  EXPECT_TRUE(is_wrong({{"url", sentinel}, {"loss", "never"}}, {"store.loss: ", "Sentinel", "\"possible\""}));
  EXPECT_TRUE(is_wrong({{"loss", "some"}}, {"store.loss: 'some' is not known", "\"never\""}));
  EXPECT_TRUE(is_wrong({{"unavailable", "hang"}}, {"store.unavailable: 'hang' is not known", "\"wait\""}));
  for (const std::string& prefix :
       {std::string(), std::string("a:b"), std::string("a{b"), std::string(65, 'a')})
    EXPECT_TRUE(is_wrong({{"prefix", prefix}}, {"store.prefix: '" + prefix + "' is not a prefix"}));
  EXPECT_EQ(sentence({{"url", "redis://host"}, {"prefix", "hub-2_b.c"}}), "");
  EXPECT_TRUE(is_wrong({{"wait_ms", 99}}, {"store.wait_ms: 99 is too small; the minimum is 100"}));
  EXPECT_TRUE(is_wrong({{"url", "redis://host"}, {"wait_ms", 749}},
                       {"store.wait_ms: 749 ms", "store.retry_pause_ms", "at least 750", "\"fail\""}));
  EXPECT_EQ(sentence({{"url", "redis://host"}, {"wait_ms", 750}}), "");
  EXPECT_EQ(sentence({{"url", "redis://host"}, {"wait_ms", 100}, {"retry_pause_ms", 66}}), "");
  EXPECT_EQ(sentence({{"url", "redis://host"}, {"wait_ms", 100}, {"unavailable", "fail"}}), "");
  for (const char* option : {"wait_ms", "connect_timeout_ms", "command_timeout_ms", "retry_pause_ms"}) {
    EXPECT_TRUE(is_wrong({{option, 0}}, {"store." + std::string(option) + ": 0 is too small"}));
    EXPECT_TRUE(is_wrong({{option, 600'001}}, {"600001 is too large"}));
  }
}

TEST(Config, TheOptionsOfRedisReachTheStore) {
  char password[] = "/tmp/carillon-password-XXXXXX";
  const int file = ::mkstemp(password);
  ASSERT_EQ(::write(file, "from a file\r\nnot this", 21), 21);
  ::close(file);
  const json store{{"url", "rediss+sentinel://one:1,two/main/3"},
                   {"user", "ann"},
                   {"password_file", password},
                   {"sentinel_user", "eve"},
                   {"sentinel_password", "of Sentinels"},
                   {"ca_file", "ca.pem"},
                   {"certificate_file", "a.pem"},
                   {"key_file", "a.key"},
                   {"prefix", "hub"},
                   {"unavailable", "fail"},
                   {"waiting_appends", 1},
                   {"waiting_bytes", 2},
                   {"waiting_calls", 3},
                   {"wait_ms", 400},
                   {"connect_timeout_ms", 5},
                   {"command_timeout_ms", 60},
                   {"retry_pause_ms", 7}};
  const RedisOptions options = redis_options(parse_config(json{{"store", store}}.dump()));
  ::unlink(password);
  const RedisEndpoint& endpoint = options.endpoint;
  EXPECT_EQ(endpoint.sentinels, (std::vector<RedisAddress>{{"one", 1}, {"two", 26379}}));
  EXPECT_EQ(endpoint.sentinel_primary, "main");
  EXPECT_EQ(endpoint.database, 3);
  EXPECT_TRUE(endpoint.uses_tls);
  EXPECT_EQ(endpoint.login.user, "ann");
  EXPECT_EQ(endpoint.login.password, "from a file");
  EXPECT_EQ(endpoint.sentinel_login.user, "eve");
  EXPECT_EQ(endpoint.sentinel_login.password, "of Sentinels");
  EXPECT_EQ(endpoint.ca_file, "ca.pem");
  EXPECT_EQ(endpoint.certificate_file, "a.pem");
  EXPECT_EQ(endpoint.key_file, "a.key");
  EXPECT_EQ(options.prefix, "hub");
  EXPECT_EQ(options.while_unavailable, WhileUnavailable::fail);
  EXPECT_EQ(options.loss, RedisLoss::possible);
  EXPECT_EQ(options.waiting_appends, 1U);
  EXPECT_EQ(options.waiting_bytes, 2U);
  EXPECT_EQ(options.waiting_calls, 3U);
  EXPECT_EQ(options.wait_ms, 400);
  EXPECT_EQ(endpoint.connect_timeout_ms, 5);
  EXPECT_EQ(endpoint.command_timeout_ms, 60);
  EXPECT_EQ(endpoint.retry_pause_ms, 7);

  const auto login = [](const json& given) {
    const RedisOptions parsed = redis_options(parse_config(json{{"store", given}}.dump()));
    return parsed.endpoint.login.user + '|' + parsed.endpoint.login.password;
  };
  EXPECT_EQ(login({{"url", "redis://ann:one@host"}}), "ann|one");
  EXPECT_EQ(login({{"url", "redis://ann@host"}, {"password", "two"}}), "ann|two");
  EXPECT_EQ(redis_options(parse_config(R"({"store": {"url": "redis://host", "loss": "never"}})")).loss,
            RedisLoss::never);
  try {
    (void)login({{"url", "redis://host"}, {"password_file", "/hush"}});
    FAIL();
  } catch (const StoreRefused& refused) {
    EXPECT_EQ(std::string(refused.what()).find("store.password_file: the file cannot be read"), 0U);
    EXPECT_EQ(std::string(refused.what()).find("hush"), std::string::npos);
  }
}

TEST(Config, TheLevelOfTheLogHasTheNamesOfTheFamily) {
  for (const char* level : {"trace", "debug", "info", "warn", "warning", "error", "fatal", "none", "DEBUG"})
    EXPECT_EQ(refusal(json{{"log", {{"level", level}}}}.dump()), "") << level;
}

TEST(Config, HowAMapOrASharedPollWorksIsNotReadSinceNobodyCanSubscribe) {
  const char* const document = R"({"map_broker": {}, "shared_poll": {"hmac_secret_key": "s"},
    "proxies": [{"name": "backend", "endpoint": "http://localhost:3010/refresh", "timeout": "5s"}], "channel": {
    "without_namespace": {"presence": true},
    "namespaces": [
      {"name": "board", "subscription_type": "map", "map": {"mode": "persistent"}, "allow_tags_filter": true},
      {"name": "who", "subscription_type": "map_clients", "client_publish_debounce_interval": "50ms",
       "map_clients_presence_channel_prefix": "who:"},
      {"name": "poll", "subscription_type": "shared_poll",
       "shared_poll": {"proxy_name": "backend", "refresh_interval": "200ms"}},
      {"name": "chat", "subscription_type": "stream"}]}})";
  EXPECT_EQ(refusal(document), "");
  const json namespaces = normal(document)["channel"]["namespaces"];
  ASSERT_EQ(namespaces.size(), 4U);
  EXPECT_EQ(namespaces[0]["subscription_type"], "map");
  EXPECT_EQ(rules_of(document).options_for("who:a").subscription_type, SubscriptionType::map_clients);
  EXPECT_EQ(rules_of(document).options_for("chat:a").subscription_type, SubscriptionType::stream);
  for (
      const char* wrong : {
          R"({"channel": {"namespaces": [{"name": "ab", "subscription_type": "stream", "map": {"mode": "x"}}]}})",
          R"({"channel": {"namespaces": [{"name": "ab", "subscription_type": "maps"}]}})",
          R"({"channel": {"namespaces": [{"name": "ab", "subscription_type": "map", "maps": {}}]}})",
      })
    EXPECT_NE(refusal(wrong), "") << wrong;
  EXPECT_TRUE(is_refused(R"({"proxies": [{"name": "backend"}], "channel": {"namespaces": [
                             {"name": "poll", "subscription_type": "shared_poll"},
                             {"name": "chat", "subscribe_proxy_enabled": true, "subscribe_proxy_name": "backend"}]}})",
                         {"channel.namespaces[chat].subscribe_proxy_name: ", "one backend"}));
}

TEST(Config, WhatIsNotThereMayBeOffOrHaveTheOnlyValue) {
  for (
      const char* document : {
          R"({"admin": {"enabled": false}, "prometheus": {"enabled": false}, "uni_grpc": {"enabled": false}})",
          R"({"uni_sse": {"enabled": true, "handler_prefix": "/connection/uni_sse"}})",
          R"({"engine": {"type": "memory"}, "broker": {"enabled": false, "type": "memory"}})",
          R"({"health": {"enabled": true}, "usage_stats": {"disabled": true}})",
          R"({"websocket": {"disabled": false}})",
          R"({"client": {"proxy": {"connect": {"enabled": false, "http": {"tls": {"enabled": false},
              "status_to_code_transforms": []}, "grpc_metadata": [], "include_connection_meta": false}}}})",
          R"({"rpc": {"without_namespace": {"proxy_enabled": false, "proxy_name": "default"},
                      "ping": {"enabled": false}, "namespaces": []}, "proxies": []})",
          R"({"channel": {"private_prefix": "$", "namespace_boundary": ":", "user_boundary": "#",
                           "user_separator": ",", "publication_data_format": ""}})",
          R"({"channel": {"without_namespace": {"subscribe_proxy_enabled": false, "channel_regex": "",
                                                 "force_recovery_mode": "stream"}}})",
      })
    EXPECT_EQ(refusal(document), "") << document;
  EXPECT_TRUE(is_refused(R"({"health": {"enabled": false}})", {"health.enabled: ", "always"}));
  EXPECT_TRUE(is_refused(R"({"channel": {"private_prefix": "@"}})", {"channel.private_prefix: ", "'$'"}));
  EXPECT_TRUE(is_refused(R"({"channel": {"user_separator": ";"}})", {"channel.user_separator: ", "','"}));
  EXPECT_TRUE(is_refused(R"({"admin": {"enabled": false, "password": "p"}})", {"admin.password: "}));
}

TEST(Config, TypesOfDeltasAreAList) {
  const auto types_of = [](const char* value) {
    return parse_config(R"({"channel": {"without_namespace": {"allowed_delta_types": )" + std::string(value) +
                        "}}}")
        .channels.front()
        .options.allowed_delta_types;
  };
  EXPECT_EQ(types_of("[]"), 0U);
  EXPECT_EQ(types_of(R"(["fossil"])"), 1U);
  EXPECT_TRUE(is_refused(R"({"channel": {"without_namespace": {"allowed_delta_types": ["xdelta"]}}})",
                         {"allowed_delta_types: ", "xdelta", "\"fossil\""}));
  EXPECT_TRUE(is_refused(R"({"channel": {"without_namespace": {"allowed_delta_types": "fossil"}}})",
                         {"allowed_delta_types: ", "list"}));
  const ServerConfig config =
      parse_config(R"({"channel": {"without_namespace": {"allowed_delta_types": ["fossil"]}}})");
  EXPECT_EQ(json::parse(config_to_json(config))["channel"]["without_namespace"]["allowed_delta_types"],
            json::parse(R"(["fossil"])"));
}

TEST(Config, ProxiesHaveAnEndpointEach) {
  const char* document = R"({
    "client": {"proxy": {"connect": {"enabled": true, "endpoint": "http://a:3000/c", "timeout": "2s",
                                     "http_headers": ["Cookie"], "binary_encoding": true,
                                     "http": {"static_headers": {"X-Key": "k"}}}}},
    "channel": {"proxy": {"publish": {"endpoint": "http://a/p"}},
                "namespaces": [{"name": "chat", "publish_proxy_enabled": true}]},
    "rpc": {"proxy": {"endpoint": "http://a/r"}, "namespaces": [{"name": "room", "proxy_enabled": true},
                                                                 {"name": "off"}]}})";
  ASSERT_EQ(refusal(document), "");
  const ServerConfig config = parse_config(document);
  EXPECT_EQ(config.proxies.connect.timeout_ms, 2'000);
  EXPECT_EQ(config.proxies.connect.static_headers.at("X-Key"), "k");
  EXPECT_TRUE(config.proxies.connect.is_binary);
  EXPECT_EQ(config.proxies.publish.timeout_ms, 1'000);
  EXPECT_TRUE(config.proxies.carries_out("room:x"));
  for (const char* method : {"room", "x", "off:x", "other:x"})
    EXPECT_FALSE(config.proxies.carries_out(method)) << method;
  EXPECT_EQ(config_to_json(parse_config(config_to_json(config))), config_to_json(config));
  EXPECT_TRUE(is_refused(R"({"channel": {"without_namespace": {"subscribe_proxy_enabled": true}}})",
                         {"channel.proxy.subscribe.endpoint: ", "empty"}));
  EXPECT_TRUE(is_refused(R"({"rpc": {"proxy": {"endpoint": "https://a"}}})",
                         {"rpc.proxy.endpoint: ", "local proxy"}));
}

TEST(Config, AFileOfTheFamilyIsTakenAsItIs) {
  const char* document = R"({
    "client": {"insecure": true, "concurrency": 8, "allowed_origins": ["*"], "connection_limit": 100},
    "http_api": {"key": "api_key"},
    "http_stream": {"enabled": true},
    "sse": {"enabled": true},
    "admin": {"enabled": false},
    "engine": {"type": "memory"},
    "channel": {
      "history_meta_ttl": "24h",
      "without_namespace": {"presence": true, "join_leave": true, "force_push_join_leave": true,
                            "history_size": 100, "history_ttl": "300s", "force_recovery": true,
                            "allow_publish_for_subscriber": true, "allow_presence_for_subscriber": true,
                            "allow_history_for_subscriber": true},
      "namespaces": [
        {"name": "recovery", "history_size": 10, "history_ttl": "60s", "force_positioning": true,
         "force_recovery": true, "subscribe_proxy_enabled": false},
        {"name": "dm", "allow_user_limited_channels": true, "allow_subscribe_for_anonymous": false}]}})";
  EXPECT_EQ(refusal(document), "");
  const ChannelRules rules = rules_of(document);
  EXPECT_TRUE(rules.options_for("dm:x#1").allow_user_limited);
  EXPECT_EQ(rules.options_for("recovery:x").history_size, 10U);
  EXPECT_EQ(parse_config(document).limits.concurrency, 8);
}

TEST(Config, TheAbsentOptionsAreNotThoseThatWork) {
  std::set<std::string> working;
  for (const json& option : json::parse(config_schema())) working.insert(option["name"]);
  std::set<std::string> absent;
  for (const json& option : json::parse(config_absent())) {
    const std::string name = option["name"];
    EXPECT_TRUE(absent.insert(name).second) << name;
    EXPECT_FALSE(working.contains(name)) << name;
    EXPECT_FALSE(option["what"].get<std::string>().empty()) << name;
    if (const std::string only = option["only"]; !only.empty()) {
      EXPECT_TRUE(json::accept(only)) << name;
    }
  }
  EXPECT_TRUE(absent.contains("channel.without_namespace.channel_regex"));
}

TEST(Config, AllMistakesAreToldWithTheirPlaces) {
  const char* document = R"({
    "http_server": {"port": "x", "adress": "127.0.0.1"},
    "client": {"token": {"audience_regex": "s", "issuer_regex": "a"}, "pong_timeout": "30s", "insecure": 1},
    "channel": {"namespaces": [{"name": "ok"}, {"name": "x", "history_size": -1}, {"presence": "yes"}, 7]},
    "channels": {"a*": {"history_ttl": 5}, "": {}},
    "limits": 3})";
  using Keys = std::vector<std::string>;
  std::set<Keys> places;
  try {
    (void)parse_config(document);
    FAIL() << "it is accepted";
  } catch (const ConfigError& error) {
    std::string all;
    for (const ConfigMistake& mistake : error.mistakes()) {
      EXPECT_TRUE(places.insert(mistake.keys).second) << mistake.text;
      all += (all.empty() ? "" : "\n") + mistake.text;
    }
    EXPECT_EQ(error.what(), all);
  }
  EXPECT_EQ(places, (std::set<Keys>{{"http_server", "port"},
                                    {"http_server", "adress"},
                                    {"client", "token", "audience_regex"},
                                    {"client", "token", "issuer_regex"},
                                    {"client", "pong_timeout"},
                                    {"client", "insecure"},
                                    {"channel", "namespaces", "1", "name"},
                                    {"channel", "namespaces", "1", "history_size"},
                                    {"channel", "namespaces", "2"},
                                    {"channel", "namespaces", "2", "presence"},
                                    {"channel", "namespaces", "3"},
                                    {"channels", "a*", "history_ttl"},
                                    {"channels", ""},
                                    {"limits"}}));
}

TEST(Config, AMistakeIsNoReasonForAnother) {
  const auto count = [](const char* document) {
    try {
      (void)parse_config(document);
    } catch (const ConfigError& error) {
      return error.mistakes().size();
    }
    return std::size_t{0};
  };
  EXPECT_EQ(count(R"({"client": {"ping_interval": "1x", "pong_timeout": "30s"}})"), 1U);
  EXPECT_EQ(count(R"({"http_server": {"address": ""}, "client": {"insecure": true}})"), 1U);
  EXPECT_EQ(count(R"({"http_server": {"address": 5}, "client": {"insecure": true}})"), 1U);
}

TEST(Config, WhateverAnOriginMayMatchIsAllowed) {
  EXPECT_EQ(refusal(R"({"client": {"allowed_origins":
                        ["*", "null", "https://app.test", "http://localhost:*", "*.app.test", "*://app.test"]}})"),
            "");
}

TEST(Config, InsecureIsForThisMachineOnly) {
  EXPECT_TRUE(is_refused(R"({"http_server": {"address": "0.0.0.0"}, "client": {"insecure": true}})",
                         {"client.insecure", "0.0.0.0", "http_api.key"}));
  EXPECT_TRUE(is_refused(R"({"http_server": {"address": "::"}, "http_api": {"insecure": true}})",
                         {"http_api.insecure", "::"}));
  EXPECT_EQ(refusal(R"({"http_server": {"address": "::1"}, "client": {"insecure": true}})"), "");
}

TEST(Config, PersonalChannelsNeedTheirNamespaceAndAreNeededForSingleConnections) {
  const std::string personal = "subscribe_to_user_personal_channel";
  EXPECT_TRUE(is_refused(
      R"({"client": {"subscribe_to_user_personal_channel":
           {"enabled": true, "personal_channel_namespace": "people"}}})",
      {personal, "personal_channel_namespace", "'people'", "channel.namespaces"}));
  EXPECT_TRUE(is_refused(R"({"client": {"subscribe_to_user_personal_channel": {"single_connection": true}}})",
                         {personal, "single_connection", "enabled"}));
  EXPECT_EQ(refusal(R"({"channel": {"namespaces": [{"name": "people"}]},
                        "client": {"subscribe_to_user_personal_channel": {"enabled": true,
                          "personal_channel_namespace": "people", "single_connection": true}}})"),
            "");
  EXPECT_TRUE(is_refused(R"({"http_api": {"error_mode": "loud"}})", {"error_mode", "'loud'", "transport"}));
}

TEST(Config, TheNormalFormIsReadBackAsItself) {
  for (const char* document : {
           "{}",
           R"({"http_server": {"port": 0}, "client": {"insecure": true, "pong_timeout": "1500ms"},
               "limits": {"channels_per_connection": 5, "body_bytes": 7, "channel_lifetime_ms": 90000},
               "channels": {"a.b:*": {"history_ttl_ms": 1}, "*": {"history_size": 0}}})",
           R"({"channel": {"without_namespace": {"presence": false},
                           "namespaces": [{"name": "zz", "join_leave": true}, {"name": "aa"}]}})",
       }) {
    const json first = normal(document);
    EXPECT_EQ(normal(first.dump()), first);
  }
  const json shown = normal(R"({"limits": {"channels_per_connection": 5}})");
  EXPECT_EQ(shown["client"]["channel_limit"], 5);
  EXPECT_FALSE(shown["limits"].contains("channels_per_connection"));
  EXPECT_EQ(shown["client"]["ping_interval"], "25s");
  EXPECT_EQ(shown["channel"]["history_meta_ttl"], "720h");
}

TEST(Config, TheSchemaListsEveryOptionOnceWithItsDefault) {
  const json schema = json::parse(config_schema());
  std::set<std::string> names;
  const json defaults = normal("{}");
  for (const json& option : schema) {
    const std::string name = option["name"];
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_FALSE(option["doc"].get<std::string>().empty()) << name;
    if (option["type"] == "table" || name.starts_with("channel.without_namespace.")) continue;
    std::string pointer = "/" + name;
    std::replace(pointer.begin(), pointer.end(), '.', '/');
    EXPECT_EQ(defaults.at(json::json_pointer(pointer)), option["default"]) << name;
  }
  for (const char* name :
       {"http_server.port", "client.channel_limit", "limits.body_bytes", "http_api.key",
        "channel.without_namespace.history_ttl", "channel.namespaces", "channels.\"<pattern>\""})
    EXPECT_TRUE(names.contains(name)) << name;
}

TEST(LimitTable, HasARowForEveryLimitAndSensibleDefaults) {
  const Limits limits;
  std::set<std::string_view> names;
  for (const LimitRow& row : kLimitRows) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    EXPECT_GE(limits.*row.field, row.least) << row.name;
    EXPECT_FALSE(row.doc.empty());
  }
  EXPECT_EQ(kLimitRows.size() * sizeof(std::int64_t), sizeof(Limits)) << "a limit without a row";
}

TEST(Config, NoMistakeShowsWhatMayHoldASecret) {
  const std::vector<json> wrong{7,
                                false,
                                "hush:hush",
                                json::array({"hush"}),
                                {{"Name", "hush"}},
                                {{"Name", "hush\n"}},
                                {{"Name: hush", "x"}},
                                {{"Name", json::array({"hush"})}},
                                {{"Host", "hush"}}};
  std::size_t hidden = 0;
  for (const ConfigOption& option : config_options()) {
    if (!option.may_hide_a_secret()) continue;
    ++hidden;
    // Also in the place of a table on the way to it.
    for (std::string path = option.path;; path = path.substr(0, path.rfind('.'))) {
      for (const json& value : wrong) {
        const std::string said = refusal(document_with(path, value).dump());
        const bool is_file = path.ends_with("jwks_file") && value == "hush:hush";
        if (is_file) continue;  // no key, but the path of a file that is missing: the reader has to see it
        // Elsewhere it is the name of an unknown option, which the reader has to see as well.
        if (path != option.path && value.is_object() && value.contains("Name: hush")) continue;
        EXPECT_EQ(said.find("hush"), std::string::npos) << said;
        EXPECT_TRUE(value != 7 || said.find('7') == std::string::npos) << said;
        EXPECT_TRUE(value.is_string() || value.is_object() || said.find(path) != std::string::npos) << said;
      }
      if (path.find('.') == std::string::npos) break;
    }
  }
  EXPECT_GE(hidden, 24U) << "six backends with two each, two tables of tokens, the key of the API";
  EXPECT_EQ(refusal(R"({"client": {"token": {"jwks_file": "{\"keys\": [\"hush\"]}"}}})"),
            "client.token.jwks_file: is a key, not the path of a file with keys");
  EXPECT_TRUE(is_refused(R"({"client": {"token": {"leeway": "7x"}}})", {"\"7x\" is not a duration"}));
}

TEST(Config, EveryKeyThatCannotBeUsedIsNamed) {
  const std::string said = refusal(
      R"({"client": {"token": {"rsa_public_key": "x", "eddsa_public_key": "y", "jwks_file": "/nowhere"}},
          "http_server": {"port": 70000}})");
  for (const char* const part :
       {"client.token.rsa_public_key: ", "client.token.eddsa_public_key: ",
        "client.token.jwks_file: cannot be read: No such file", "http_server.port: 70000"})
    EXPECT_NE(said.find(part), std::string::npos) << said;
}

}  // namespace
}  // namespace carillon
