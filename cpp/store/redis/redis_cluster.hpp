#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "env/clock.hpp"
#include "env/random.hpp"
#include "store/redis/redis_carrier.hpp"
#include "store/redis/redis_link.hpp"
#include "store/redis/redis_options.hpp"
#include "store/redis/redis_slots.hpp"

namespace carillon {

/// Carries calls out at the primaries of a Redis Cluster: each has a RedisMachine and one link. Without I/O,
/// as these. It knows which node has which slot, asks again where that may have changed, and believes what a
/// node says about a slot. What is announced in a slot's channels is subscribed to at the slot's node, and
/// again wherever the slot goes; the channels that are not of a slot are at the node that would have a key of
/// their name, so that a PUBLISH there counts all who hear it.
///
/// It is ready as soon as all primaries were, once. From then on a node that is away holds up the calls of
/// its slots, and no others.
///
/// All on one thread. Links are made in tick() and in what links call, and destroyed in tick() and close().
class RedisCluster final : public RedisCarrier {
 public:
  /// The slots are asked for so often, with jitter of its half, although nothing seems to have changed.
  static constexpr Millis kMapMs = 10'000;
  /// A node that does not tell the slots within this time is left, and another one asked.
  static constexpr Millis kQuestionMs = 2'000;
  /// Behind so many redirections of a call there is a pause.
  static constexpr std::uint16_t kRedirections = 4;
  /// The link to a node without slots is kept for so long: a slot may be about to go there.
  static constexpr Millis kLingerMs = 10'000;

  using MakeLink =
      std::function<std::unique_ptr<RedisLink>(const RedisAddress& node, RedisLinkEvents& events)>;

  /// `on_event`: a turn has to follow.
  RedisCluster(const RedisOptions& options, const Clock& clock, RandomSource& random, MakeLink make_link,
               std::function<void()> on_event);
  ~RedisCluster() override;

  void set_listener(RedisMachineListener* listener) override { listener_ = listener; }
  void call(RedisCall call) override;
  /// Names are remembered, also while nothing is ready.
  void tell(RedisCommand command) override;
  void flush() override;
  void tick() override;
  void close() override;
  [[nodiscard]] bool is_ready() const override;
  [[nodiscard]] bool is_ready_for(std::string_view key) const override;
  [[nodiscard]] std::size_t waiting() const override;
  [[nodiscard]] const std::string& trouble() const override;

 private:
  class Node;
  class Question;
  using Names = std::set<std::string, std::less<>>;

  [[nodiscard]] Node& node_at(const RedisAddress& address);
  void route(RedisPendingRef pending);
  void wait(RedisPendingRef pending, Millis pause_ms);
  void route_waiting();
  void move_slot(std::uint16_t slot, Node* node);
  void subscribe(Node& node, std::uint16_t slot);
  void become_ready();

  void on_node_ready(Node& node);
  void on_node_lost();
  void on_elsewhere(const Node& node, RedisPendingRef pending, const std::string& error);
  void on_subscription_refused(Node& node, const std::string& error);
  void on_subscription_ended(const Node& node, const std::string& name);
  void on_message(std::string_view channel, std::string_view message);

  void want_map();
  void ask_map();
  void on_map(const std::vector<RedisSlotRange>& ranges);
  void on_question_in_vain(const std::string& reason);
  [[nodiscard]] std::vector<RedisAddress> whom_to_ask(std::size_t& ready) const;
  [[nodiscard]] bool are_all_ready() const;
  [[nodiscard]] Millis pause();

  const RedisOptions& options_;
  const Clock& clock_;
  RandomSource& random_;
  const MakeLink make_link_;
  const std::function<void()> on_event_;
  const std::string moving_;  // the Redis channel of what is announced while its slot moves
  RedisMachineListener* listener_ = nullptr;
  bool is_closed_ = false;
  bool was_ready_ = false;
  bool has_doubt_ = false;  // the listener has not been told

  std::map<std::string, std::unique_ptr<Node>> nodes_;      // by address
  std::vector<Node*> slots_;                                // null: nobody is known to have it
  std::unordered_map<std::uint16_t, Names> subscriptions_;  // by slot
  std::set<std::uint16_t> lost_;          // slots of which subscriptions have ended in this turn
  std::vector<RedisPendingRef> waiting_;  // for a node, or until not_before_ms

  std::unique_ptr<Question> question_;
  std::optional<RedisAddress> knows_;  // who is to be asked next, because it has named a node
  Millis map_due_ms_ = 0;
  Millis map_asked_ms_ = 0;
  std::size_t questions_ = 0;
  std::size_t in_vain_ = 0;  // questions, one after another
  std::string said_;         // instead of an answer
  std::string map_trouble_;
};

}  // namespace carillon
