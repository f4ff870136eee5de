#include "store/redis/redis_told.hpp"

#include <algorithm>
#include <utility>

#include "store/redis/redis_words.hpp"

namespace carillon {

namespace {

constexpr std::string_view kNotKept = "-";

/// Of two ids of a stream: "MS-NUMBER".
bool is_older(std::string_view id, std::string_view other) {
  const auto parts = [](std::string_view text) {
    const std::uint64_t ms = number_of(take_word(text, '-'));
    return std::pair(ms, number_of(text));
  };
  return parts(id) < parts(other);
}

std::size_t others_of(std::int64_t hearers, bool is_own_among_them) {
  return static_cast<std::size_t>(std::max<std::int64_t>(hearers - (is_own_among_them ? 1 : 0), 0));
}

}  // namespace

std::string RedisTold::numbered(std::uint64_t& last) { return gateway_ + ' ' + std::to_string(++last); }

void RedisTold::tell(std::string_view to_gateway, std::string_view message,
                     std::function<void(StoreError, std::size_t)> done) {
  const std::string channel = keys_.told(to_gateway);
  // A message that waits for a link would only use memory: its asker has given up by then.
  if (!machine_.is_ready_for(channel)) return done(StoreError::unavailable, 0);
  RedisCall call;
  call.words = RedisCommand{"PUBLISH", channel};
  call.words.add(numbered(last_number_) + '\n' + std::string(message));
  call.is_write = true;
  call.is_for_this_link = true;
  const bool is_own = to_gateway.empty() || to_gateway == gateway_;  // who tells all hears it as well
  call.done = [is_own, done = std::move(done)](StoreError error, const RedisReply& reply) {
    done(error, others_of(reply.number(), is_own));
  };
  machine_.call(std::move(call));
}

void RedisTold::order(std::string_view message, std::function<void(StoreError, std::size_t)> done) {
  RedisCall call;
  call.script = RedisScript::order;
  // Stream and Redis channel have one name, so that both are at the same node of a cluster.
  call.keys = {keys_.told("")};
  call.words.add(keys_.told("")).add(numbered(last_order_number_)).add(message);
  call.words.add(options_.orders_ms).add(options_.orders).add(options_.orders_bytes);
  call.is_write = true;
  call.done = [done = std::move(done)](StoreError error, const RedisReply& reply) {
    done(error, others_of(reply[1].number(), true));
  };
  machine_.call(std::move(call));
}

// ---- hearing

void RedisTold::hear(std::string_view message) {
  if (listener_ == nullptr || is_closed_) return;
  std::string_view head = take_word(message, '\n');
  const std::string_view sender = take_word(head, ' ');
  const std::uint64_t number = number_of(take_word(head, ' '));
  const std::string_view id = take_word(head, ' ');
  if (!id.empty()) {
    Order order{std::string(id), std::string(sender), number, std::string(message)};
    // From two nodes of a cluster, when the slot has moved between them, they may come in another order.
    const bool is_early =
        order.sender != gateway_ && heard_orders_.is_behind_a_gap(order.sender, order.number);
    if (!is_asked_ && !is_early) return hear_order(order);
    held_.push_back(std::move(order));
    if (!is_asked_) catch_up();
    if (held_.size() > kHeld) release_held();
    return;
  }
  if (sender != gateway_ && heard_.is_new(sender, number)) listener_->on_told(sender, message);
}

void RedisTold::hear_order(const Order& order) {
  if (!order.id.empty() && order.id != kNotKept) last_order_ = order.id;
  if (order.sender != gateway_ && heard_orders_.is_new(order.sender, order.number))
    listener_->on_told(order.sender, order.text);
}

void RedisTold::release_held() {
  for (const Order& each : std::exchange(held_, {})) hear_order(each);
}

// ---- orders that were missed

void RedisTold::catch_up() {
  if (listener_ == nullptr || is_closed_) return;
  missed_ms_ = clock_.now_ms();
  if (!missed_since_) missed_since_ = last_order_;
  if (is_asked_) {
    is_in_doubt_ = true;  // what is under way may have been read before the new subscription
  } else {
    ask();
  }
}

void RedisTold::ask() {
  is_asked_ = true;
  is_in_doubt_ = false;
  again_ms_ = 0;
  RedisCall call;
  call.script = RedisScript::orders_since;
  call.keys = {keys_.told("")};
  call.words.add(*missed_since_).add(options_.orders_ms).add(kPage).add(kPageBytes);
  call.done = [this](StoreError error, const RedisReply& reply) { on_page(error, reply); };
  machine_.call(std::move(call));
}

void RedisTold::on_page(StoreError error, const RedisReply& reply) {
  is_asked_ = false;
  if (is_closed_) return;
  if (error != StoreError::none) {
    release_held();
    // Without a link: the next one brings a doubt. With one it may be a moment's trouble, or a missing right.
    if (clock_.now_ms() - missed_ms_ < options_.orders_ms) {
      again_ms_ = clock_.now_ms() + kAgainMs;
    } else {
      missed_since_.reset();
    }
    return;
  }
  for (std::size_t i = 3; i + 1 < reply.items.size(); i += 2) {
    std::string_view head = reply[i].text;
    const std::string_view sender = take_word(head, ' ');
    hear_order({{}, std::string(sender), number_of(take_word(head, ' ')), reply[i + 1].text});
  }
  last_order_ = reply[1].text;
  missed_since_ = last_order_;
  if (reply[2].text == "1" || is_in_doubt_) return ask();
  missed_since_.reset();
  release_held();
  // Some of those that waited were in the page.
  if (is_older(last_order_, reply[1].text)) last_order_ = reply[1].text;
}

void RedisTold::tick() {
  if (again_ms_ == 0 || is_asked_ || is_closed_ || !machine_.is_ready() || clock_.now_ms() < again_ms_)
    return;
  ask();
}

}  // namespace carillon
