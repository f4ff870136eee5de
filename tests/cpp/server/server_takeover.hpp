#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gateway/handover.hpp"
#include "server/server.hpp"
#include "server/snapshot.hpp"
#include "server/takeover.hpp"

namespace carillon {

/// The formats that this version reads, as a successor names them.
inline const std::string kFormats =
    std::to_string(kOldestSnapshotFormat) + " " + std::to_string(kSnapshotFormat);

/// Servers of one process that take over from each other: the newest one, and those before it.
struct ServerTakeover : testing::Test {
  ServerTakeover() {
    directory = std::filesystem::temp_directory_path() / ("carillon-test-" + std::to_string(::getpid()));
    std::filesystem::create_directories(directory);
  }
  ~ServerTakeover() override {
    for (const auto& server : servers) server->stop();
    std::filesystem::remove_all(directory);
  }

  [[nodiscard]] std::string socket() const { return (directory / "takeover.sock").string(); }

  std::unique_ptr<Server> make(std::size_t threads, nlohmann::json more = nlohmann::json::object()) {
    nlohmann::json config = {
        {"http_server", {{"port", port}}},
        {"threads", threads},
        {"client", {{"insecure", true}}},
        // Whatever is under way is answered, however slow the machine is.
        {"takeover", {{"socket", socket()}, {"timeout_ms", 30'000}, {"answer_timeout_ms", 15'000}}},
        {"channels", {{"*", {{"history_size", 100'000}, {"history_bytes", 100'000'000}}}}}};
    config.merge_patch(more);
    return std::make_unique<Server>(parse_config(config.dump()), std::map<std::string, StaticPage>{}, "test");
  }
  Server& start(std::size_t threads, nlohmann::json more = nlohmann::json::object()) {
    servers.push_back(make(threads, std::move(more)));
    servers.back()->start();
    port = servers.back()->port();
    servers.back()->offer_takeover();
    current = servers.back().get();
    return *servers.back();
  }
  /// A new server takes over; the old one has then ended.
  TakeoverReport take_over(std::size_t threads) {
    Server& before = *servers.back();
    servers.push_back(make(threads));
    TakeoverReport report = servers.back()->take_over();
    current = servers.back().get();
    servers.back()->offer_takeover();
    while (!before.given_away()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    report.left_behind = before.given_away()->left_behind;  // which the old server alone knows
    before.stop();
    return report;
  }
  /// Once, whichever server is there at the moment.
  Position publish(int number) {
    const std::string key = std::to_string(number);
    while (true) {
      AppendResult answer;
      answer.error = StoreError::unavailable;
      try {
        current.load()->publish("room", {.data = "{\"n\":" + key + "}"}, {.idempotency_key = key},
                                [&](const AppendResult& result) { answer = result; });
      } catch (const ServerStopped&) {
        answer.error = StoreError::unavailable;
      }
      if (answer.error == StoreError::none) return answer.position;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  HandoverChannel ask(const std::string& text = kFormats + " test") {
    HandoverChannel channel = HandoverChannel::connect(socket());
    channel.send(1, text, {}, std::chrono::steady_clock::now() + std::chrono::milliseconds(1'000));
    return channel;
  }

  /// The message with the descriptors, behind the entries that go ahead.
  static HandoverMessage snapshot_of(HandoverChannel& channel) {
    HandoverMessage message;
    do message = channel.receive(std::chrono::steady_clock::now() + std::chrono::seconds(5));
    while (message.descriptors.empty());
    return message;
  }

  std::filesystem::path directory;
  std::uint16_t port = 0;
  std::vector<std::unique_ptr<Server>> servers;
  std::atomic<Server*> current{nullptr};
};

}  // namespace carillon
