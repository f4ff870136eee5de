// Drains: the clients of one listener, or of all, are asked to disconnect, and waited for.
#include <algorithm>
#include <chrono>
#include <functional>
#include <future>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gateway/gateway.hpp"
#include "gateway/thread_name.hpp"

namespace carillon {

namespace {

/// After the last client has gone, answers to others still leave.
constexpr auto kLastWords = std::chrono::milliseconds(500);

bool is_ready(const std::shared_future<bool>& result) {
  return result.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

}  // namespace

std::shared_future<bool> Gateway::begin_drain(std::optional<std::size_t> number, Millis deadline_ms,
                                              Millis pace_ms) {
  const std::lock_guard lock(listeners_mutex_);
  if (number && !listeners_.contains(*number)) {
    throw std::out_of_range("listener: it is closed already, or never was");
  }
  if (!is_running_) {
    std::promise<bool> nobody_is_asked;
    nobody_is_asked.set_value(clients() == 0);
    return nobody_is_asked.get_future().share();
  }
  std::erase_if(drains_, [](const Drain& each) { return is_ready(each.result); });
  for (const Drain& each : drains_) {
    if (!each.listener || each.listener == number) return each.result;
  }
  std::vector<std::shared_future<bool>> earlier;  // of one listener each
  if (!number) {
    shared_.is_draining = true;  // ends those
    for (const Drain& each : drains_) earlier.push_back(each.result);
  }
  drains_.push_back(
      {number,
       std::async(std::launch::async, [this, number, deadline_ms, pace_ms, earlier = std::move(earlier)] {
         name_this_thread("carillon-drain");
         for (const auto& each : earlier) each.wait();
         return number ? drain_listener(*number, deadline_ms, pace_ms) : drain_all(deadline_ms, pace_ms);
       }).share()});
  return drains_.back().result;
}

bool Gateway::is_drain_under_way() const {
  return std::any_of(drains_.begin(), drains_.end(),
                     [](const Drain& each) { return !is_ready(each.result); });
}

void Gateway::wait_for_drains() {
  std::vector<Drain> drains;
  {
    const std::lock_guard lock(listeners_mutex_);
    drains = drains_;
  }
  for (const Drain& each : drains) each.result.wait();
}

bool Gateway::wait_until(HoldPoint::Time until, const std::function<bool()>& is_done) const {
  while (!is_done() && !is_stopping_ && HoldPoint::Clock::now() < until)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return is_done();
}

bool Gateway::drain_all(Millis deadline_ms, Millis pace_ms) {
  // The listeners go on: who comes now is told to come back elsewhere, and /health that this server is
  // leaving.
  std::unique_lock lock = lock_listeners();
  if (is_stopping_) return clients() == 0;
  const std::size_t asked = clients();
  if (asked == 0 && has_told_drain_) return true;
  tell_draining("", asked, pace_ms, deadline_ms);
  const auto until = HoldPoint::Clock::now() + std::chrono::milliseconds(deadline_ms);
  std::vector<const Endpoint*> endpoints;
  for (const auto& [number, listener] : listeners_) {
    Endpoint& at = endpoint(number);
    endpoints.push_back(&at);
    at.is_draining = true;
    for (const auto& shard : shards_) shard->drain(at, pace_ms);
  }
  lock.unlock();
  const auto all_asked = HoldPoint::Clock::now() + std::chrono::milliseconds(pace_ms + TimerWheel::kTickMs);
  const bool have_gone = wait_until(until, [&] {
    // A poller is no client between two polls; who never says what it wants is none, and not waited for.
    if (clients() == 0 && HoldPoint::Clock::now() > all_asked) return true;
    return std::all_of(endpoints.begin(), endpoints.end(),
                       [](const Endpoint* endpoint) { return endpoint->asked.load() == 0; });
  });
  std::size_t still_asked = 0;  // who has left and come back to ask is a client again, and is not cut off
  for (const Endpoint* endpoint : endpoints) still_asked += endpoint->asked.load();
  const std::size_t cut_off = std::min({clients(), asked, still_asked});
  for (const ListenerInfo& each : listeners()) close_listener(each.number);
  // Nobody new comes. What an application publishes may wait for the store: it is to hear what became of it.
  wait_until(until, [this] { return answers_due() == 0; });
  wait_until(std::min(until, HoldPoint::Clock::now() + kLastWords), [this] { return connections() == 0; });
  has_told_drain_ = true;
  tell_drain("", asked, cut_off);
  return have_gone;
}

bool Gateway::drain_listener(std::size_t number, Millis deadline_ms, Millis pace_ms) {
  std::unique_lock lock = lock_listeners();
  if (!listeners_.contains(number)) return true;
  Endpoint& at = endpoint(number);
  const auto until = HoldPoint::Clock::now() + std::chrono::milliseconds(deadline_ms);
  const std::size_t asked = at.connections;
  const std::string where = at.host + ":" + std::to_string(at.port);
  tell_draining(where, asked, pace_ms, deadline_ms);
  at.is_draining = true;
  for (const auto& shard : shards_) shard->drain(at, pace_ms);
  lock.unlock();
  const auto have_gone = [&at] { return at.asked.load() == 0; };
  wait_until(until, [&] { return have_gone() || shared_.is_draining; });
  if (is_stopping_ || shared_.is_draining) return have_gone();
  const std::size_t cut_off = std::min(at.asked.load(), asked);
  close_listener(number);
  for (const auto& shard : shards_) shard->cut_off(at);
  tell_drain(where, asked, cut_off);
  return cut_off == 0;
}

void Gateway::tell_draining(const std::string& where, std::size_t asked, Millis pace_ms,
                            Millis deadline_ms) const {
  const std::string who = where.empty() ? "clients" : "connections of " + where;
  tell({LogLevel::info,
        "draining",
        "asking " + who + " to leave: " + std::to_string(asked) + ", within " + std::to_string(pace_ms) +
            " ms; they have " + std::to_string(deadline_ms) + " ms in all",
        {{"asked", static_cast<std::int64_t>(asked)}, {"pace_ms", pace_ms}, {"deadline_ms", deadline_ms}}});
}

void Gateway::tell_drain(const std::string& where, std::size_t asked, std::size_t cut_off) const {
  const std::size_t left = asked - cut_off;
  std::string text = where.empty() ? "clients" : "connections of " + where;
  text += " asked to leave: " + std::to_string(asked) + ", left: " + std::to_string(left);
  if (cut_off > 0) {
    text += where.empty() ? ", will be disconnected when the server stops: " : ", disconnected: ";
    text += std::to_string(cut_off);
  }
  tell({cut_off > 0 ? LogLevel::warning : LogLevel::info,
        "drain",
        std::move(text),
        {{"asked", static_cast<std::int64_t>(asked)},
         {"left", static_cast<std::int64_t>(left)},
         {"cut_off", static_cast<std::int64_t>(cut_off)}}});
}

}  // namespace carillon
