#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "env/clock.hpp"
#include "store/redis/redis_carrier.hpp"
#include "store/redis/redis_heard.hpp"
#include "store/redis/redis_keys.hpp"
#include "store/redis/redis_options.hpp"
#include "store/store.hpp"

namespace carillon {

/// What gateways tell each other: messages, and orders to all of them. An order is published and kept for
/// RedisOptions::orders_ms, and a gateway whose link was lost reads what it has missed, behind its new
/// subscription. Each has a number that ascends in its gateway, by which it is heard once; orders are heard
/// in the order in which Redis got them.
///
/// A message in Redis: "GATEWAY NUMBER\ntext". An order: "GATEWAY NUMBER ID\ntext", where ID is that of the
/// kept one, or - if it is not kept.
///
/// All on the machine's thread.
class RedisTold {
 public:
  /// Maxima of one page of kept orders.
  static constexpr std::size_t kPage = 100;
  static constexpr std::size_t kPageBytes = 1UL << 20U;
  /// Orders that wait until those before them have been read. Beyond it they are heard ahead of them.
  static constexpr std::size_t kHeld = 1'000;
  /// Kept orders that could not be read are asked for again after this time, until they are no longer kept.
  static constexpr Millis kAgainMs = 1'000;

  RedisTold(const RedisOptions& options, const RedisKeys& keys, std::string gateway, RedisCarrier& machine,
            const Clock& clock)
      : options_(options), keys_(keys), gateway_(std::move(gateway)), machine_(machine), clock_(clock) {}

  void set_listener(GatewayListener* listener) { listener_ = listener; }

  /// Empty: all other gateways.
  void tell(std::string_view to_gateway, std::string_view message,
            std::function<void(StoreError, std::size_t)> done);
  void order(std::string_view message, std::function<void(StoreError, std::size_t)> done);

  /// Messages may have been lost, and all is subscribed to again: reads the orders since the last one.
  void catch_up();
  void hear(std::string_view message);
  void tick();
  void close() { is_closed_ = true; }

 private:
  struct Order {
    std::string id;  // empty: not known; -: it was not kept
    std::string sender;
    std::uint64_t number = 0;
    std::string text;
  };

  [[nodiscard]] std::string numbered(std::uint64_t& last);
  void ask();
  void on_page(StoreError error, const RedisReply& reply);
  void release_held();
  void hear_order(const Order& order);

  const RedisOptions& options_;
  const RedisKeys& keys_;
  const std::string gateway_;
  RedisCarrier& machine_;
  const Clock& clock_;
  GatewayListener* listener_ = nullptr;
  bool is_closed_ = false;
  std::uint64_t last_number_ = 0;
  std::uint64_t last_order_number_ =
      0;  // a sequence of its own: a kept one is not behind because of messages
  RedisHeard heard_;
  RedisHeard heard_orders_;  // their own: one that was kept may come behind many later messages
  std::string last_order_;  // id of the last order that was heard; empty: none, and nothing has been read yet
  // While orders may have been missed:
  std::optional<std::string> missed_since_;  // the last one before them
  Millis missed_ms_ = 0;                     // when it was last in doubt
  Millis again_ms_ = 0;                      // when to ask again; 0: not by time
  bool is_asked_ = false;                    // a page is under way
  bool is_in_doubt_ = false;                 // since it was asked for
  std::deque<Order> held_;                   // while it is under way
};

}  // namespace carillon
