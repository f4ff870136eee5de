#include "gateway/gateway.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>
#include <shared_mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>

#include "gateway/uring_flush.hpp"

namespace carillon {

namespace {

/// Descriptors that the process keeps for other things than connections.
constexpr std::size_t kReservedDescriptors = 64;
/// Connections over the limit that are still read, to be refused in their own protocol.
constexpr std::size_t kRefusalsAtOnce = 32;

/// After the last client has gone, answers to others still leave.
constexpr auto kLastWords = std::chrono::milliseconds(500);

std::size_t descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1'024;
  return static_cast<std::size_t>(std::min<rlim_t>(limit.rlim_cur, 100'000'000));
}

std::size_t connections_by_descriptors() {
  const std::size_t soft = descriptor_limit();
  return soft > 2 * kReservedDescriptors ? soft - kReservedDescriptors - kRefusalsAtOnce : soft / 2;
}

}  // namespace

Gateway::Gateway(GatewayShared& shared, const GatewayOptions& options) : shared_(shared), options_(options) {
  TurnLimits turn_limits;
  turn_limits.deliveries_per_turn = static_cast<std::size_t>(shared.limits.deliveries_per_turn);
  turn_limits.deliveries_per_visit = static_cast<std::size_t>(shared.limits.deliveries_per_visit);
  turn_limits.batch_bytes = static_cast<std::size_t>(shared.limits.batch_bytes);
  std::vector<Shard*> hub_shards;
  for (std::size_t i = 0; i < options.threads; ++i) {
    const auto failed = [this, name = "shard " + std::to_string(i)](GatewayShard& shard, const char* what) {
      fail(name, what, shard.connections());
      if (shared_.on_shard_failed) shared_.on_shard_failed(shard.shard());
    };
    shards_.push_back(
        std::make_unique<GatewayShard>(static_cast<std::uint32_t>(i), shared, turn_limits, failed));
    hub_shards.push_back(&shards_.back()->shard());
  }
  shared.hub.set_shards(std::move(hub_shards));
}

Gateway::~Gateway() {
  stop();
  if (has_restored_) {
    for (const auto& shard : shards_) shard->discard();
  }
}

void Gateway::start() {
  choose_flush();
  add_listener(options_.host, options_.port, {});
  run();
}

void Gateway::choose_flush() {
  if (options_.flush != FlushChoice::send) {
    std::string why_not;
    has_uring_ = UringFlush::make(why_not) != nullptr;
    if (!has_uring_ && options_.flush == FlushChoice::io_uring) {
      throw std::system_error(
          std::make_error_code(std::errc::not_supported),
          "flush: \"io_uring\" cannot be had (" + why_not + "); use \"auto\" or \"send\"");
    }
  }
}

Entrance& Gateway::add_listener(const std::string& host, std::uint16_t port, Descriptor listening) {
  const Listener::Options options{host, port, shared_.limits.kernel_backlog_bytes,
                                  shared_.limits.stall_timeout_ms};
  const std::lock_guard lock(listeners_mutex_);
  if (has_first_entrance_) entrances_.push_back(std::make_unique<Entrance>(entrances_.size() + 1));
  Entrance& entrance = has_first_entrance_ ? *entrances_.back() : shared_.entrance;
  const auto count_turned_away = [this] {
    shared_.turned_away.fetch_add(1, std::memory_order_relaxed);
    shared_.without_descriptor.fetch_add(1, std::memory_order_relaxed);
  };
  Listener::Handlers handlers{
      .accepted = [this, &entrance](int descriptor) { accepted(descriptor, entrance); },
      .to_refuse =
          [this, &entrance, count_turned_away](int descriptor) {
            count_turned_away();
            shared_.admission.enter_to_be_refused();
            adopt(descriptor, entrance, true);
          },
      .turned_away = count_turned_away,
      .failed = [this](const char* what) { fail("the listener", what, 0); }};
  std::unique_ptr<Listener> listener =
      listening.is_open()
          ? std::make_unique<Listener>(options, std::move(listening), shared_.admission, std::move(handlers))
          : std::make_unique<Listener>(options, shared_.admission, std::move(handlers));
  entrance.host = host;
  entrance.port = listener->port();
  entrance.is_draining = false;
  has_first_entrance_ = true;
  listeners_.push_back({entrance, std::move(listener)});
  return entrance;
}

Listener* Gateway::listener_of(std::size_t number) const {
  const auto found = std::find_if(listeners_.begin(), listeners_.end(), [number](const Opened& opened) {
    return opened.entrance.number == number;
  });
  return found == listeners_.end() ? nullptr : found->listener.get();
}

std::size_t Gateway::listen(const std::string& host, std::uint16_t port) {
  const Entrance& entrance = add_listener(host, port, {});
  const std::lock_guard lock(listeners_mutex_);
  if (Listener* listener = listener_of(entrance.number)) listener->start();
  return entrance.number;
}

void Gateway::close_listener(std::size_t number) {
  std::unique_ptr<Listener> listener;
  {
    const std::lock_guard lock(listeners_mutex_);
    const auto found = std::find_if(listeners_.begin(), listeners_.end(), [number](const Opened& opened) {
      return opened.entrance.number == number;
    });
    if (found == listeners_.end()) return;
    listener = std::move(found->listener);
    std::vector<Opened> others;
    for (Opened& opened : listeners_) {
      if (opened.listener) others.push_back({opened.entrance, std::move(opened.listener)});
    }
    listeners_.swap(others);
  }
  listener->stop();  // without the mutex: it may be about to fail, which wants it
}

std::vector<ListenerInfo> Gateway::listeners() const {
  const std::lock_guard lock(listeners_mutex_);
  std::vector<ListenerInfo> infos;
  for (const auto& [entrance, listener] : listeners_) {
    infos.push_back({entrance.number, entrance.host, entrance.port, entrance.is_draining.load(),
                     entrance.connections.load(), listener->backlog()});
  }
  return infos;
}

void Gateway::run() {
  has_restored_ = false;
  port_ = shared_.entrance.port;
  connections_max_ = shared_.limits.connections > 0 ? static_cast<std::size_t>(shared_.limits.connections)
                                                    : connections_by_descriptors();
  for (const auto& shard : shards_) shard->start(has_uring_);
  const std::lock_guard lock(listeners_mutex_);
  for (const Opened& opened : listeners_) opened.listener->start();
  is_running_ = true;
}

bool Gateway::hold(Millis answers_ms, HoldPoint::Time until) {
  const std::lock_guard lock(listeners_mutex_);
  hold_points_.clear();
  const auto add_point = [this] { return hold_points_.emplace_back(std::make_shared<HoldPoint>()); };
  // The listeners first: what they have accepted is on its way to a shard, which then has it before it stops.
  for (const Opened& opened : listeners_) opened.listener->hold(add_point());
  const auto wait_for_all = [this, until] {
    return std::all_of(hold_points_.begin(), hold_points_.end(),
                       [until](const auto& point) { return point->wait_stopped(until); });
  };
  bool is_held = wait_for_all();
  if (is_held) {
    // None reads any more, but none stops either before all have their answers: an inbox that one waits for
    // may be another one's to write. Since nothing is read, who is at rest has no more work for others.
    std::vector<std::shared_ptr<HoldPoint>> points;
    for (const auto& shard : shards_) shard->hold(points.emplace_back(add_point()), answers_ms);
    const auto answers_until =
        std::min(until, HoldPoint::Clock::now() + std::chrono::milliseconds(answers_ms));
    for (const auto& point : points) std::ignore = point->wait_rest(answers_until);
    for (std::size_t i = 0; i < points.size(); ++i) {
      points[i]->let_stop();
      shards_[i]->stop_soon();
    }
    is_held = wait_for_all();
  }
  if (!is_held) resume();
  return is_held;
}

void Gateway::release(HoldPoint::Next next) {
  for (const auto& point : std::exchange(hold_points_, {})) point->release(next);
}

bool Gateway::can_be_given_away() const {
  const std::lock_guard lock(listeners_mutex_);
  return !listeners_.empty() && &listeners_.front().entrance == &shared_.entrance &&
         std::none_of(listeners_.begin(), listeners_.end(),
                      [](const Opened& opened) { return opened.entrance.is_draining.load(); });
}

GatewayState Gateway::save(std::vector<int>& descriptors, std::vector<std::string>& left_behind) {
  const std::lock_guard lock(listeners_mutex_);
  GatewayState state;
  state.host = listeners_.front().entrance.host;
  state.port = port_;
  descriptors.push_back(listeners_.front().listener->descriptor());
  std::vector<std::size_t> places(entrances_.size() + 1);  // by number
  for (std::size_t i = 1; i < listeners_.size(); ++i) {
    places[listeners_[i].entrance.number] = i;
    state.further.push_back({listeners_[i].entrance.host, listeners_[i].entrance.port});
  }
  for (const auto& shard : shards_) shard->save(state, descriptors, left_behind);
  for (ConnectionState& connection : state.connections) connection.listener = places[connection.listener];
  for (std::size_t i = 1; i < listeners_.size(); ++i)
    descriptors.push_back(listeners_[i].listener->descriptor());
  return state;
}

void Gateway::restore(const GatewayState& state, std::vector<Descriptor> descriptors) {
  choose_flush();
  std::vector<Entrance*> entrances{&add_listener(options_.host, state.port, std::move(descriptors.front()))};
  for (std::size_t i = 0; i < state.further.size(); ++i) {
    entrances.push_back(&add_listener(state.further[i].host, state.further[i].port,
                                      std::move(descriptors[1 + state.connections.size() + i])));
  }
  has_restored_ = true;
  for (std::size_t s = 0; s < shards_.size(); ++s) {
    shards_[s]->shard().bind_to_this_thread();
    for (std::size_t i = s; i < state.connections.size(); i += shards_.size()) {
      const ConnectionState& connection = state.connections[i];
      shards_[s]->restore(connection, std::move(descriptors[i + 1]), *entrances.at(connection.listener));
    }
    Shard::unbind_this_thread();
  }
}

void Gateway::accepted(int descriptor, Entrance& entrance) {
  const std::size_t open = connections();
  shared_.accepted.fetch_add(1, std::memory_order_relaxed);
  if (open >= connections_max_ + kRefusalsAtOnce) {
    ::close(descriptor);
    shared_.admission.leave();
    shared_.turned_away.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  adopt(descriptor, entrance, open >= connections_max_);
}

void Gateway::adopt(int descriptor, Entrance& entrance, bool is_over_limit) {
  const std::size_t shard = next_shard_.fetch_add(1, std::memory_order_relaxed) % shards_.size();
  shards_[shard]->adopt(descriptor, is_over_limit, entrance);
}

void Gateway::stop() {
  if (!is_running_) return;
  is_running_ = false;
  is_stopping_ = true;
  const std::lock_guard drained(drain_mutex_);
  for (const ListenerInfo& each : listeners()) close_listener(each.number);
  for (const auto& shard : shards_) shard->stop();
}

std::size_t Gateway::clients() const {
  std::size_t sum = 0;
  for (const auto& shard : shards_) {
    const SessionCounters& counters = shard->counters();
    sum += counters.websocket + counters.sse + counters.polls;
  }
  return sum;
}

bool Gateway::wait_until(HoldPoint::Time until, const std::function<bool()>& is_done) const {
  while (!is_done() && !is_stopping_ && HoldPoint::Clock::now() < until)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return is_done();
}

bool Gateway::drain(Millis deadline_ms, Millis pace_ms) {
  shared_.is_draining.store(true);  // ends the drain of one listener, which would hold this one up
  const std::lock_guard lock(drain_mutex_);
  if (is_stopping_) return clients() == 0;
  const std::size_t asked = clients();
  if (asked == 0 && has_told_drain_) return true;
  tell_draining("", asked, pace_ms, deadline_ms);
  const auto until = HoldPoint::Clock::now() + std::chrono::milliseconds(deadline_ms);
  // The listeners go on: who comes now is told to come back elsewhere, and /health that this server is
  // leaving.
  std::vector<const Entrance*> entrances;
  {
    const std::lock_guard listeners_lock(listeners_mutex_);
    for (const Opened& opened : listeners_) {
      entrances.push_back(&opened.entrance);
      opened.entrance.is_draining = true;
      for (const auto& shard : shards_) shard->drain(opened.entrance, pace_ms);
    }
  }
  const auto all_asked = HoldPoint::Clock::now() + std::chrono::milliseconds(pace_ms + TimerWheel::kTickMs);
  const bool have_left = wait_until(until, [&] {
    // A poller is no client between two polls; who never says what it wants is none, and not waited for.
    if (clients() == 0 && HoldPoint::Clock::now() > all_asked) return true;
    return std::all_of(entrances.begin(), entrances.end(),
                       [](const Entrance* entrance) { return entrance->asked.load() == 0; });
  });
  std::size_t still_asked = 0;  // who has left and come back to ask is a client again, and is not cut off
  for (const Entrance* entrance : entrances) still_asked += entrance->asked.load();
  const std::size_t cut_off = std::min({clients(), asked, still_asked});
  for (const ListenerInfo& each : listeners()) close_listener(each.number);
  wait_until(std::min(until, HoldPoint::Clock::now() + kLastWords), [this] { return connections() == 0; });
  has_told_drain_ = true;
  tell_drain("", asked, cut_off);
  return have_left;
}

bool Gateway::drain_listener(std::size_t number, Millis deadline_ms, Millis pace_ms) {
  const std::shared_lock lock(drain_mutex_);  // several at a time
  Entrance* entrance = nullptr;
  {
    const std::lock_guard listeners_lock(listeners_mutex_);
    for (const Opened& opened : listeners_) {
      if (opened.entrance.number == number) entrance = &opened.entrance;
    }
  }
  if (entrance == nullptr) throw std::out_of_range("listener: it is closed already, or never was");
  const auto until = HoldPoint::Clock::now() + std::chrono::milliseconds(deadline_ms);
  const std::size_t asked = entrance->connections;
  const std::string where = entrance->host + ":" + std::to_string(entrance->port);
  tell_draining(where, asked, pace_ms, deadline_ms);
  entrance->is_draining = true;
  for (const auto& shard : shards_) shard->drain(*entrance, pace_ms);
  const auto have_left = [entrance] { return entrance->asked.load() == 0; };
  wait_until(until, [&] { return have_left() || shared_.is_draining; });
  if (is_stopping_ || shared_.is_draining) return have_left();
  const std::size_t cut_off = std::min(entrance->asked.load(), asked);
  close_listener(number);
  for (const auto& shard : shards_) shard->cut_off(*entrance);
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
    text += where.empty() ? ", still here and cut off when the server stops: " : ", cut off: ";
    text += std::to_string(cut_off);
  }
  tell({cut_off > 0 ? LogLevel::warning : LogLevel::info,
        "drain",
        std::move(text),
        {{"asked", static_cast<std::int64_t>(asked)},
         {"left", static_cast<std::int64_t>(left)},
         {"cut_off", static_cast<std::int64_t>(cut_off)}}});
}

bool Gateway::cut(const std::string& client) {
  std::mutex mutex;
  std::condition_variable all_done;
  std::size_t missing = shards_.size();
  bool is_found = false;
  for (const auto& shard : shards_) {
    shard->cut(client, [&](bool is_here) {
      const std::lock_guard lock(mutex);
      is_found = is_found || is_here;
      --missing;
      all_done.notify_one();
    });
  }
  std::unique_lock lock(mutex);
  all_done.wait(lock, [&] { return missing == 0; });
  return is_found;
}

void Gateway::for_each_session(const std::function<void(Session&)>& visit) {
  std::mutex mutex;
  std::condition_variable all_done;
  std::size_t missing = shards_.size();
  for (const auto& shard : shards_) {
    shard->for_each_session(visit, [&] {
      const std::lock_guard lock(mutex);
      --missing;
      all_done.notify_one();
    });
  }
  std::unique_lock lock(mutex);
  all_done.wait(lock, [&] { return missing == 0; });
}

void Gateway::tell(OperatorNote note) const {
  if (shared_.operator_log != nullptr) shared_.operator_log->tell(std::move(note));
}

void Gateway::tell_held_back(Millis now_ms) {
  using Kind = TurnAwayReport::News::Kind;
  const Kind kind = held_back_report_.look(shared_.admission.pauses(), now_ms).kind;
  if (kind == Kind::none) return;
  std::size_t waiting = 0;
  for (const ListenerInfo& each : listeners()) waiting += each.backlog;
  const std::size_t handshakes = shared_.admission.handshakes();
  const Limits& limits = shared_.limits;
  std::string text = kind == Kind::over ? std::string("connections are accepted as they come again")
                                        : "connections wait to be accepted: " + std::to_string(waiting) +
                                              ", and " + std::to_string(handshakes) +
                                              " handshakes are under way; limits.handshakes is " +
                                              std::to_string(limits.handshakes) + ", limits.accepts_per_s " +
                                              std::to_string(limits.accepts_per_s);
  tell({LogLevel::info,
        kind == Kind::over ? "admission_over" : "admission",
        std::move(text),
        {{"backlog", static_cast<std::int64_t>(waiting)},
         {"handshakes", static_cast<std::int64_t>(handshakes)}}});
}

void Gateway::keep_house(Millis now_ms) {
  tell_held_back(now_ms);
  using Kind = TurnAwayReport::News::Kind;
  const auto [kind, count] = turn_away_report_.look(shared_.turned_away.load(), now_ms);
  if (kind == Kind::none) return;
  const std::uint64_t without_descriptor = shared_.without_descriptor.load();
  const bool is_out_of_descriptors =
      std::exchange(told_without_descriptor_, without_descriptor) != without_descriptor;
  const std::size_t limit = is_out_of_descriptors ? descriptor_limit() : connections_max_;
  const auto number = [](auto value) { return static_cast<std::int64_t>(value); };
  std::vector<std::pair<std::string_view, std::int64_t>> numbers{
      {"connections", number(connections())}, {"limit", number(limit)}, {"turned_away", number(count)}};
  const std::string now = "; now " + std::to_string(connections()) + " connections";
  const std::string more = count == 0 ? "" : "; " + std::to_string(count) + " more had been turned away";
  if (kind == Kind::over) {
    return tell(
        {LogLevel::info, "accepting", "connections are accepted again" + now + more, std::move(numbers)});
  }
  const std::string turned_away =
      " (limit " + std::to_string(limit) + "): " + std::to_string(count) + " turned away" + now + "; ";
  tell({LogLevel::warning, "turned_away",
        is_out_of_descriptors
            ? "out of descriptors" + turned_away + "raise ulimit -n (LimitNOFILE of systemd)"
            : "out of places" + turned_away +
                  (shared_.limits.connections > 0 ? "raise limits.connections" : "raise ulimit -n"),
        std::move(numbers)});
}

void Gateway::fail(std::string_view thread, const char* what, std::size_t connections) {
  // First what needs no memory: the thread may have died for want of it.
  {
    const std::lock_guard lock(listeners_mutex_);
    for (const Opened& opened : listeners_) {
      opened.entrance.is_draining = true;
      opened.listener->stop_soon();
    }
  }
  shared_.is_draining = true;  // /health says so on connections that are open, and they take no new clients
  try {
    std::string text = "a thread of the server died (" + std::string(thread) + "): " + what;
    if (connections > 0) text += "; its " + std::to_string(connections) + " connections were closed";
    {
      const std::lock_guard lock(failure_mutex_);
      if (failure_.empty()) failure_ = text;
    }
    text += "; nobody new is accepted: restart the server";
    if (std::string_view(what).find("bad_alloc") != std::string_view::npos) {
      text += ", with more memory or a lower limits.history_bytes_total";
    }
    tell({LogLevel::error, "failure", std::move(text)});
  } catch (const std::bad_alloc&) {
    const std::lock_guard lock(failure_mutex_);
    if (failure_.empty()) failure_ = "out of memory";  // so short that it needs none
  }
  has_failed_ = true;
}

std::string Gateway::failure() const {
  const std::lock_guard lock(failure_mutex_);
  return failure_;
}

}  // namespace carillon
