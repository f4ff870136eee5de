// A gateway's part in a takeover: everything is held still, written down, and then goes on here or elsewhere.
#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "gateway/gateway.hpp"
#include "gateway/handover.hpp"

namespace carillon {

std::string Gateway::why_not_given_away() const {
  const std::lock_guard lock(listeners_mutex_);
  return why_not_held();
}

std::string Gateway::why_not_held() const {
  if (has_failed_) return "one of its threads has died: restart it (" + failure() + ")";
  if (shared_.is_draining) {
    return "its clients are being asked to leave: start without --takeover when it has ended (in Python: "
           "start())";
  }
  if (listeners_.contains(0) && !is_drain_under_way()) return {};
  return "one of its listeners is being drained, or the first one is closed: try again after the drain, or "
         "let its clients leave (SIGTERM) and start the new version then";
}

void Gateway::hold(Millis answers_ms, HoldPoint::Time until) {
  std::vector<Listener*> listeners;
  {
    const auto lock = lock_listeners();
    if (const std::string why_not = why_not_held(); !why_not.empty()) throw HandoverRefused(why_not);
    is_held_ = true;  // from here on no listener comes or goes, and no drain begins to ask
    for (const auto& [number, listener] : listeners_) listeners.push_back(listener.get());
  }
  // No lock is held from here on: a shard that needs it to end its turn would never stop.
  bool has_stopped = false;
  std::string why_not;
  try {
    has_stopped = stop_all(listeners, answers_ms, until);
    const std::lock_guard lock(listeners_mutex_);
    why_not = why_not_held();  // a drain that was asked for meanwhile waits: the clients are asked here
  } catch (...) {
    resume();
    throw;
  }
  if (has_stopped && why_not.empty()) return;
  resume();
  if (!why_not.empty()) throw HandoverRefused(why_not);
  throw HandoverError("the threads did not become idle in time (takeover.timeout_ms)");
}

bool Gateway::stop_all(const std::vector<Listener*>& listeners, Millis answers_ms, HoldPoint::Time until) {
  const auto add_point = [this] { return hold_points_.emplace_back(std::make_shared<HoldPoint>()); };
  const auto wait_for_all = [this, until] {
    return std::all_of(hold_points_.begin(), hold_points_.end(),
                       [until](const auto& point) { return point->wait_stopped(until); });
  };
  hold_points_.clear();
  // The listeners first: what they have accepted is on its way to a shard, which then has it before it stops.
  for (Listener* listener : listeners) listener->hold(add_point());
  if (!wait_for_all()) return false;
  // None reads any more, but none stops either before all have their answers: an inbox that one waits for
  // may be another one's to write. Since nothing is read, a thread that is idle has no more work for others.
  std::vector<std::shared_ptr<HoldPoint>> points;
  for (const auto& shard : shards_) shard->hold(points.emplace_back(add_point()), answers_ms);
  const auto answers_until = std::min(until, HoldPoint::Clock::now() + std::chrono::milliseconds(answers_ms));
  for (const auto& point : points) std::ignore = point->wait_idle(answers_until);
  for (std::size_t i = 0; i < points.size(); ++i) {
    points[i]->let_stop();
    shards_[i]->stop_soon();
  }
  return wait_for_all();
}

void Gateway::give_away() {
  for (const auto& point : std::exchange(hold_points_, {})) point->release(HoldPoint::Next::give_away);
  for_each_session([](Session&) {});  // each shard has let go of what was saved: a drain asks those who stay
  end_hold();
}

void Gateway::resume() {
  for (const auto& point : std::exchange(hold_points_, {})) point->release(HoldPoint::Next::go_on);
  end_hold();
}

void Gateway::end_hold() {
  const std::lock_guard lock(listeners_mutex_);
  is_held_ = false;
  released_.notify_all();
}

std::unique_lock<std::mutex> Gateway::lock_listeners() {
  std::unique_lock lock(listeners_mutex_);
  released_.wait(lock, [this] { return !is_held_; });
  return lock;
}

GatewayState Gateway::save(std::vector<int>& descriptors, std::vector<std::string>& left_behind) {
  const std::lock_guard lock(listeners_mutex_);
  GatewayState state;
  state.host = shared_.endpoint.host;
  state.port = port_;
  state.node = shared_.node;
  descriptors.push_back(listeners_.at(0)->descriptor());
  std::vector<std::size_t> places(endpoints_.size() + 1);  // by number
  for (const auto& [number, listener] : listeners_) {
    if (number == 0) continue;
    const Endpoint& further = endpoint(number);
    state.further.push_back({further.host, further.port, further.is_internal});
    places[number] = state.further.size();
  }
  for (const auto& shard : shards_) shard->save(state, descriptors, left_behind);
  for (ConnectionState& connection : state.connections) connection.listener = places[connection.listener];
  for (const auto& [number, listener] : listeners_)
    if (number != 0) descriptors.push_back(listener->descriptor());
  return state;
}

void Gateway::restore(const GatewayState& state, std::vector<Descriptor> descriptors) {
  choose_flush();
  if (!state.node.empty()) shared_.node = state.node;
  std::vector<Endpoint*> endpoints{&add_listener(options_.host, state.port, std::move(descriptors.front()))};
  bool has_internal = false;
  for (std::size_t i = 0; i < state.further.size(); ++i) {
    const ListenerState& further = state.further[i];
    Descriptor& listening = descriptors[1 + state.connections.size() + i];
    if (further.is_internal &&
        (further.host != options_.internal_host || further.port != options_.internal_port)) {
      // This process has another one, or none. What is connected there may go on asking where keys are asked
      // for.
      endpoints.push_back(endpoints.front());
      listening.reset();
      continue;
    }
    has_internal = has_internal || further.is_internal;
    endpoints.push_back(&add_listener(further.host, further.port, std::move(listening), further.is_internal));
  }
  if (!has_internal) add_internal_listener();
  has_restored_ = true;
  for (std::size_t s = 0; s < shards_.size(); ++s) {
    shards_[s]->shard().bind_to_this_thread();
    for (std::size_t i = s; i < state.connections.size(); i += shards_.size()) {
      const ConnectionState& connection = state.connections[i];
      shards_[s]->restore(connection, std::move(descriptors[i + 1]), *endpoints.at(connection.listener));
    }
    Shard::unbind_this_thread();
  }
}

}  // namespace carillon
