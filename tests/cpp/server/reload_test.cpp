// Another configuration for a server that runs: what differs, what is refused, and that it comes as a whole.
#include "server/reload.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <shared_mutex>
#include <string>
#include <thread>
#include <vector>

#include "server/blocking_client.hpp"
#include "server/config_options.hpp"
#include "server/server.hpp"

namespace carillon {
namespace {

using nlohmann::json;
using ReloadTime = std::chrono::steady_clock;

json changes_of(const std::string& before, const std::string& after) {
  return json::parse(to_json(difference_of(parse_config(before), parse_config(after)).changes));
}

json changed(const std::string& option, const json& before, const json& after) {
  return {{"option", option}, {"old", before}, {"new", after}};
}

TEST(ReloadDifference, HasEachOptionThatDiffersWithBothValues) {
  EXPECT_EQ(changes_of("{}", "{}"), json::array());
  EXPECT_EQ(changes_of(R"({"limits": {"poll_bytes": 5000}, "client": {"allowed_origins": ["https://a"]}})",
                       R"({"limits": {"poll_bytes": 6000}, "client": {"stale_close_delay": "20s"}})"),
            json::array({changed("client.allowed_origins", {"https://a"}, json::array()),
                         changed("client.stale_close_delay", "10s", "20s"),
                         changed("limits.poll_bytes", 5000, 6000)}));
}

TEST(ReloadDifference, HasTheOptionsOfChannelsByTheirTable) {
  EXPECT_EQ(
      changes_of(
          R"({"channels": {"old*": {"history_size": 5}, "news": {"history_size": 1}},
              "channel": {"namespaces": [{"name": "chat", "presence": true}, {"name": "talk"}]}})",
          R"({"channels": {"news": {"history_size": 2}},
              "channel": {"namespaces": [{"name": "talk"}, {"name": "chat", "presence": false},
                                         {"name": "dm", "history_ttl": "60s"}],
                          "without_namespace": {"allow_subscribe_for_client": true}}})"),
      json::array({changed("channel.namespaces[chat].presence", true, false),
                   changed("channels.\"news\".history_size", 1, 2),
                   changed("channels.\"old*\"", {{"history_size", 5}}, nullptr),
                   changed("channel.namespaces[dm]", nullptr, {{"history_ttl", "60s"}, {"presence", false}}),
                   changed("channel.without_namespace", nullptr,
                           {{"allow_subscribe_for_client", true}, {"presence", false}})}));
}

TEST(ReloadDifference, NeverHasASecret) {
  const std::string before = R"({"http_api": {"key": "secret-1"}, "client": {"token": {
      "hmac_secret_key": "secret-2", "hmac_previous_secret_key": "secret-3"}}})";
  const std::string after = R"({"http_api": {"key": "secret-4"}, "client": {"token": {
      "hmac_secret_key": "secret-5"}}})";
  const json changes = changes_of(before, after);
  EXPECT_EQ(changes, json::array({changed("http_api.key", "(set)", "(changed)"),
                                  changed("client.token.hmac_secret_key", "(set)", "(changed)"),
                                  changed("client.token.hmac_previous_secret_key", "(set)", "")}));
  EXPECT_EQ(changes.dump().find("secret-"), std::string::npos);
}

TEST(ReloadDifference, AUrlIsShownWithoutItsPassword) {
  EXPECT_EQ(changes_of(R"({"store": {"url": "redis://ann:secret-1@one"}})",
                       R"({"store": {"url": "redis://ann:secret-2@two"}})"),
            json::array({changed("store.url", "redis://ann:***@one", "redis://ann:***@two")}));
  EXPECT_EQ(changes_of(R"({"store": {"url": "redis://ann:secret-1@one"}})",
                       R"({"store": {"url": "redis://ann:secret-2@one"}})"),
            json::array({changed("store.url", "(set)", "(changed)")}));
  EXPECT_EQ(changes_of(R"({"store": {"url": "redis://one"}})",
                       R"({"store": {"url": "redis://one", "password": "secret-2"}})"),
            json::array({changed("store.password", "", "(set)")}));
}

TEST(ReloadDifference, AMistakeAboutASecretDoesNotShowIt) {
  try {
    (void)parse_config(
        R"({"http_api": {"key": 123456}, "client": {"token": {"hmac_secret_key": ["abcdef"]}}})");
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.mistakes().size(), 2U);
    EXPECT_EQ(std::string(error.what()).find("123456"), std::string::npos);
    EXPECT_EQ(std::string(error.what()).find("abcdef"), std::string::npos);
  }
}

TEST(ReloadDifference, EveryOptionIsReloadedOrRefusedByNameWithBothValuesAndTheRemedy) {
  std::size_t refused = 0;
  for (const ConfigOption& option : config_options()) {
    ServerConfig other;
    visit_place(other, option.place, [&]<typename T>(T& value) {
      if constexpr (std::is_same_v<T, std::string>)
        value = "other";
      else if constexpr (std::is_same_v<T, bool>)
        value = !value;
      else if constexpr (std::is_same_v<T, std::int64_t>)
        value += 1'000;
      else if constexpr (std::is_same_v<T, std::vector<std::string>>)
        value = {"other"};
      else
        value = {{"other", "value"}};
    });
    const ConfigDifference difference = difference_of({}, other);
    ASSERT_EQ(difference.changes.size(), 1U) << option.path;
    EXPECT_EQ(difference.changes[0].option, option.path);
    EXPECT_EQ(difference.options, std::vector{&option});
    const bool grants_everything = option.path.ends_with(".insecure");
    EXPECT_EQ(difference.refusals.empty(), is_reloaded(option) && !grants_everything) << option.path;
    if (difference.refusals.empty()) continue;
    ++refused;
    const std::string& text = difference.refusals[0];
    EXPECT_EQ(text.rfind(option.path + ": is " + difference.changes[0].before + " and cannot become " +
                             difference.changes[0].after,
                         0),
              0U)
        << text;
    // What a new process cannot have either is no reason to start one that takes over.
    const bool stays = option.path == "http_server.address" || option.path == "http_server.port" ||
                       option.path == "takeover.socket";
    EXPECT_EQ(text.find("carillon serve --takeover") == std::string::npos, stays) << text;
    EXPECT_EQ(text.find("start the server anew") != std::string::npos, stays) << text;
  }
  EXPECT_GT(refused, 10U);
}

TEST(ReloadDifference, InsecureModeCanBeLeftButNotEntered) {
  ServerConfig insecure;
  insecure.insecure = insecure.api_insecure = true;
  EXPECT_TRUE(difference_of(insecure, {}).refusals.empty());
  EXPECT_EQ(difference_of({}, insecure).refusals.size(), 2U);
}

// ---- requests

struct TakesReloads final : ReloadQueue {
  bool push_reload(std::uint64_t request) override {
    requests.push_back(request);
    return is_open;
  }
  std::vector<std::uint64_t> requests;
  bool is_open = true;
};

struct ReloadRequestsTest : testing::Test {
  ReloadRequestsTest() { reloads.set_queue(queue); }
  void begin() {
    reloads.begin([this](const HttpResponse& response) {
      statuses.push_back(response.status);
      bodies.push_back(json::parse(response.body));
    });
  }
  std::shared_ptr<TakesReloads> queue = std::make_shared<TakesReloads>();
  ReloadRequests reloads;
  std::vector<int> statuses;
  std::vector<json> bodies;
};

TEST_F(ReloadRequestsTest, OneIsAnsweredAndASecondOneAtTheSameTimeIsRefused) {
  begin();
  begin();
  EXPECT_EQ(statuses, std::vector{409});
  EXPECT_EQ(bodies[0]["error"]["code"], 108);
  ASSERT_EQ(queue->requests.size(), 1U);
  EXPECT_TRUE(reloads.succeed(queue->requests[0], R"([{"option":"a","old":1,"new":2}])"));
  EXPECT_EQ(statuses.back(), 200);
  EXPECT_EQ(bodies.back(), json::parse(R"({"result":{"changes":[{"option":"a","old":1,"new":2}]}})"));
  EXPECT_FALSE(reloads.succeed(queue->requests[0], "[]")) << "it has its answer";
  begin();
  ASSERT_EQ(queue->requests.size(), 2U);
  EXPECT_FALSE(reloads.succeed(queue->requests[0], "[]")) << "of an earlier one";
  EXPECT_TRUE(reloads.fail(queue->requests[1], 400, {"a: wrong", "b: wrong"}));
  EXPECT_EQ(statuses.back(), 400);
  EXPECT_EQ(bodies.back()["error"]["message"], "a: wrong\nb: wrong");
  EXPECT_EQ(bodies.back()["error"]["mistakes"], json({"a: wrong", "b: wrong"}));
}

TEST_F(ReloadRequestsTest, WithoutAnApplicationItIsNotAvailable) {
  queue->is_open = false;
  begin();
  EXPECT_EQ(statuses, std::vector{503});
  reloads.set_queue(nullptr);
  begin();
  EXPECT_EQ(statuses.back(), 503);
}

// ---- a server

std::string config_of(std::int64_t size, const json& more = json::object()) {
  json document = {{"http_server", {{"port", 0}}},
                   {"threads", 3},
                   {"client", {{"insecure", true}}},
                   {"limits", {{"poll_publications", size}}},
                   {"channels", {{"room", {{"history_size", size}, {"history_bytes", 100'000'000}}}}}};
  document.merge_patch(more);
  return document.dump();
}

TEST(ReloadServer, ARefusalChangesNothing) {
  Server server(parse_config(config_of(1'000)), {}, "test");
  EXPECT_THROW(server.reload(parse_config(config_of(2'000))), ServerStopped);
  server.start();
  EXPECT_THROW(server.reload(parse_config(config_of(2'000, {{"threads", 2}}))), ReloadRefused);
  EXPECT_EQ(server.config().limits.poll_publications, 1'000);
  EXPECT_EQ(server.hub().options_for("room").history_size, 1'000U);
  EXPECT_EQ(json::parse(server.reload(parse_config(config_of(2'000)))).size(), 2U);
  EXPECT_EQ(server.hub().options_for("room").history_size, 2'000U);
  EXPECT_EQ(server.reload(parse_config(config_of(2'000))), "[]");
  server.drain(0, 0);
  EXPECT_THROW(server.reload(parse_config(config_of(3'000))), ReloadRefused)
      << "its clients were asked to go";
  server.stop();
  EXPECT_THROW(server.reload(parse_config(config_of(3'000))), ServerStopped);
}

TEST(ReloadServer, OneThatFindsNoMomentChangesNothing) {
  const json quick = {{"takeover", {{"timeout_ms", 100}}}};
  Server server(parse_config(config_of(1'000, quick)), {}, "test");
  server.start();
  {
    const std::shared_lock entered(server.gate());  // a call that does not come back
    std::thread([&] {
      EXPECT_THROW(server.reload(parse_config(config_of(2'000, quick))), ReloadRefused);
    }).join();
  }
  EXPECT_EQ(server.config().limits.poll_publications, 1'000);
  EXPECT_EQ(server.hub().options_for("room").history_size, 1'000U);
  EXPECT_EQ(json::parse(server.reload(parse_config(config_of(2'000, quick)))).size(), 2U);
}

TEST(ReloadServer, ComesAsAWholeWhilePublishersAndClientsGoOn) {
  constexpr std::int64_t kSizes[] = {90'000, 100'000};
  Server server(parse_config(config_of(kSizes[0])), {}, "test");
  server.start();
  const auto publish = [&](const std::function<void(const AppendResult&)>& done) {
    const std::shared_lock entered(server.gate());
    server.publish("room", {.data = "1"}, {}, done);
  };
  std::string epoch;
  publish([&](const AppendResult& result) { epoch = result.position.epoch.text(); });

  const char* seconds = std::getenv("CARILLON_STRESS_SECONDS");
  const auto until =
      ReloadTime::now() + std::chrono::milliseconds(seconds != nullptr ? std::atoi(seconds) * 250 : 2'000);
  std::atomic<int> published{1};
  std::atomic<int> reloads{0};
  const auto goes_on = [&] { return ReloadTime::now() < until || reloads < 5; };
  std::atomic<bool> is_over{false};
  std::vector<std::thread> publishers;
  for (int i = 0; i < 3; ++i) {
    publishers.emplace_back([&] {
      while (goes_on() && published < 60'000) {
        ++published;
        publish([](const AppendResult&) {});
        {
          const std::shared_lock entered(server.gate());
          const std::int64_t limit = server.config().limits.poll_publications;
          EXPECT_EQ(server.hub().options_for("room").history_size, static_cast<std::size_t>(limit));
        }
        std::this_thread::sleep_for(std::chrono::microseconds(300));
      }
    });
  }
  std::vector<std::thread> others;
  others.emplace_back([&] {  // over the HTTP API: on the threads of the shards
    BlockingClient client(server.port());
    while (goes_on()) {
      EXPECT_NE(client.call("publish", R"({"channel":"other","data":1})").find("result"), std::string::npos);
      EXPECT_EQ(client.problem(), "");
    }
  });
  others.emplace_back([&] {
    for (int round = 0; goes_on(); ++round) {
      const json changes = json::parse(server.reload(parse_config(config_of(kSizes[(round + 1) % 2]))));
      EXPECT_EQ(changes.size(), 2U);
      ++reloads;
    }
  });
  std::vector<std::string> problems(3);
  for (std::size_t i = 0; i < problems.size(); ++i) {
    others.emplace_back([&, i] {
      BlockingClient client(server.port());
      client.open_websocket("room", epoch, 0);
      std::uint64_t last = 0;
      const auto patience = until + std::chrono::seconds(30);
      while (problems[i].empty() && ReloadTime::now() < patience) {
        for (const std::uint64_t offset : client.read_websocket()) {
          if (offset != last + 1)
            problems[i] = "after " + std::to_string(last) + ": " + std::to_string(offset);
          last = offset;
        }
        if (!client.problem().empty()) problems[i] = client.problem();
        if (is_over && last == static_cast<std::uint64_t>(published)) return;
      }
      if (problems[i].empty()) problems[i] = "ended at " + std::to_string(last);
    });
  }
  for (std::thread& thread : publishers) thread.join();
  is_over = true;
  for (std::thread& thread : others) thread.join();
  for (const std::string& problem : problems) EXPECT_EQ(problem, "");
  server.stop();
  EXPECT_TRUE(json::parse(server.ledger())["is_balanced"].get<bool>());
}

TEST(ReloadServer, StopsWhileReloadsAreUnderWay) {
  for (int round = 0; round < 5; ++round) {
    Server server(parse_config(config_of(1'000)), {}, "test");
    server.start();
    std::thread reloader([&] {
      try {
        for (std::int64_t size = 1'001;; ++size) server.reload(parse_config(config_of(size)));
      } catch (const ServerStopped&) {
      } catch (const ReloadRefused&) {
      }
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    server.stop();
    reloader.join();
  }
}

}  // namespace
}  // namespace carillon
