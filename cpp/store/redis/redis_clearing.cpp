#include "store/redis/redis_clearing.hpp"

#include <utility>

namespace carillon {

void RedisClearing::on_beat() {
  if (!gateway_.empty() || gateways_.dead().empty()) return;
  auto next = gateways_.dead().upper_bound(last_gateway_);
  if (next == gateways_.dead().end()) next = gateways_.dead().begin();
  gateway_ = last_gateway_ = *next;
  go_on();
}

void RedisClearing::go_on() {
  RedisCall call;
  call.script = RedisScript::gateway_clear;
  call.is_write = true;
  for (const char kind : {'l', 'c', 'w'}) call.keys.push_back(keys_.of_gateway(kind, gateway_));
  call.words.add(gateways_.process()).add(kLeaseMs).add(kChannelsAtOnce);
  call.done = [this](StoreError error, const RedisReply& reply) {
    if (error == StoreError::none && reply[0].text == "work") return clear_channels(reply[1], reply[2]);
    const std::string gateway = std::exchange(gateway_, {});
    if (error != StoreError::none || reply[0].text != "done") return;
    gateways_.forget(gateway);
    on_beat();
  };
  machine_.call(std::move(call));
}

void RedisClearing::clear_channels(const RedisReply& presence, const RedisReply& walks) {
  struct Round {
    std::size_t missing = 1;
    bool has_failed = false;
  };
  auto round = std::make_shared<Round>();
  round->missing += presence.items.size() + walks.items.size();
  const auto count = [this, round](StoreError error) {
    round->has_failed = round->has_failed || error != StoreError::none;
    if (--round->missing > 0) return;
    if (!round->has_failed) return go_on();
    gateway_.clear();  // again with another sign of life
  };
  for (const RedisReply& item : presence.items) {
    presence_.clear(item.text, gateway_, [this, channel = item.text, count](StoreError error) {
      if (error == StoreError::none) take_out('c', channel);
      count(error);
    });
  }
  for (const RedisReply& item : walks.items) {
    members_.finish(item.text, [this, channel = item.text, count](StoreError error) {
      if (error == StoreError::none) take_out('w', channel);
      count(error);
    });
  }
  count(StoreError::none);
}

void RedisClearing::take_out(char list, const std::string& channel) {
  RedisCall call;
  call.words = RedisCommand{"SREM", keys_.of_gateway(list, gateway_), channel};
  call.is_write = true;
  call.is_for_this_link = true;
  call.done = [](StoreError /*error*/, const RedisReply& /*reply*/) {};
  machine_.call(std::move(call));
}

}  // namespace carillon
