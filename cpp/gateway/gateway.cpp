#include "gateway/gateway.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
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
  listener_ = make_listener({});
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

std::unique_ptr<Listener> Gateway::make_listener(Descriptor listening) {
  const Listener::Options options{options_.host, options_.port, shared_.limits.kernel_backlog_bytes,
                                  shared_.limits.stall_timeout_ms};
  const auto on_accepted = [this](int descriptor) { accepted(descriptor); };
  const auto on_turned_away = [this] {
    shared_.turned_away.fetch_add(1, std::memory_order_relaxed);
    without_descriptor_.fetch_add(1, std::memory_order_relaxed);
  };
  const auto on_failed = [this](const char* what) { fail("the listener", what, 0); };
  if (!listening.is_open())
    return std::make_unique<Listener>(options, on_accepted, on_turned_away, on_failed);
  return std::make_unique<Listener>(options, std::move(listening), on_accepted, on_turned_away, on_failed);
}

void Gateway::run() {
  has_restored_ = false;
  port_ = listener_->port();
  connections_max_ = shared_.limits.connections > 0 ? static_cast<std::size_t>(shared_.limits.connections)
                                                    : connections_by_descriptors();
  for (const auto& shard : shards_) shard->start(has_uring_);
  listener_->start();
  is_running_ = true;
}

bool Gateway::hold(Millis answers_ms, HoldPoint::Time until) {
  hold_points_.clear();
  for (std::size_t i = 0; i <= shards_.size(); ++i) hold_points_.push_back(std::make_shared<HoldPoint>());
  // The listener first: what it has accepted is on its way to a shard, which then has it before it stops.
  listener_->hold(hold_points_.front());
  bool is_held = hold_points_.front()->wait_stopped(until);
  for (std::size_t i = 0; is_held && i < shards_.size(); ++i)
    shards_[i]->hold(hold_points_[i + 1], answers_ms);
  for (std::size_t i = 0; is_held && i < shards_.size(); ++i)
    is_held = hold_points_[i + 1]->wait_stopped(until);
  if (!is_held) resume();
  return is_held;
}

void Gateway::release(HoldPoint::Next next) {
  for (const auto& point : std::exchange(hold_points_, {})) point->release(next);
}

GatewayState Gateway::save(std::vector<int>& descriptors, std::vector<std::string>& left_behind) {
  GatewayState state;
  state.host = options_.host;
  state.port = port_;
  descriptors.push_back(listener_->descriptor());
  for (const auto& shard : shards_) shard->save(state, descriptors, left_behind);
  return state;
}

void Gateway::restore(const GatewayState& state, std::vector<Descriptor> descriptors) {
  choose_flush();
  listener_ = make_listener(std::move(descriptors.front()));
  has_restored_ = true;
  for (std::size_t s = 0; s < shards_.size(); ++s) {
    shards_[s]->shard().bind_to_this_thread();
    for (std::size_t i = s; i < state.connections.size(); i += shards_.size()) {
      shards_[s]->restore(state.connections[i], std::move(descriptors[i + 1]));
    }
    Shard::unbind_this_thread();
  }
}

void Gateway::accepted(int descriptor) {
  const std::size_t open = connections();
  shared_.accepted.fetch_add(1, std::memory_order_relaxed);
  if (open >= connections_max_ + kRefusalsAtOnce) {
    ::close(descriptor);
    shared_.turned_away.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  const std::size_t shard = next_shard_.fetch_add(1, std::memory_order_relaxed) % shards_.size();
  shards_[shard]->adopt(descriptor, open >= connections_max_);
}

void Gateway::stop() {
  if (!is_running_) return;
  is_running_ = false;
  is_stopping_ = true;
  const std::lock_guard drained(drain_mutex_);
  listener_->stop();
  for (const auto& shard : shards_) shard->stop();
  listener_.reset();  // no thread is left that could stop it
}

std::size_t Gateway::clients() const {
  std::size_t sum = 0;
  for (const auto& shard : shards_) {
    const SessionCounters& counters = shard->counters();
    sum += counters.websocket + counters.sse + counters.polls;
  }
  return sum;
}

bool Gateway::drain(Millis deadline_ms) {
  using Time = std::chrono::steady_clock;
  const std::lock_guard lock(drain_mutex_);
  if (is_stopping_) return clients() == 0;
  const auto wait_until = [this](Time::time_point until, const auto& is_done) {
    while (!is_done() && !is_stopping_ && Time::now() < until)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return is_done();
  };
  shared_.is_draining.store(true);
  const std::size_t asked = clients();
  const auto until = Time::now() + std::chrono::milliseconds(deadline_ms);
  for (const auto& shard : shards_) shard->drain(deadline_ms / 2);
  // The listener goes on: who comes now is told to come back elsewhere, and /health that this server is
  // leaving.
  const bool have_left = wait_until(until, [this] { return clients() == 0; });
  if (listener_) listener_->stop();
  const std::size_t cut_off = std::min(clients(), asked);
  wait_until(std::min(until, Time::now() + kLastWords), [this] { return connections() == 0; });
  tell_drain(asked, cut_off);
  return have_left;
}

void Gateway::tell_drain(std::size_t asked, std::size_t cut_off) const {
  const std::size_t left = asked - cut_off;
  std::string text = "clients asked to leave: " + std::to_string(asked) + ", left: " + std::to_string(left);
  if (cut_off > 0) text += ", still here and cut off when the server stops: " + std::to_string(cut_off);
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

void Gateway::keep_house(Millis now_ms) {
  using Kind = TurnAwayReport::News::Kind;
  const auto [kind, count] = turn_away_report_.look(shared_.turned_away.load(), now_ms);
  if (kind == Kind::none) return;
  const std::uint64_t without_descriptor = without_descriptor_.load();
  const bool is_out_of_descriptors =
      std::exchange(told_without_descriptor_, without_descriptor) != without_descriptor;
  const std::size_t limit = is_out_of_descriptors ? descriptor_limit() : connections_max_;
  const auto number = [](auto value) { return static_cast<std::int64_t>(value); };
  std::vector<std::pair<std::string_view, std::int64_t>> numbers{
      {"connections", number(connections())}, {"limit", number(limit)}, {"turned_away", number(count)}};
  const std::string those = std::to_string(connections()) + " connections, limit " + std::to_string(limit);
  const std::string more = count == 0 ? "" : "; " + std::to_string(count) + " more had been turned away";
  if (kind == Kind::over) {
    return tell({LogLevel::info, "accepting",
                 "connections are accepted again: " + std::to_string(connections()) + " connections" + more,
                 std::move(numbers)});
  }
  const std::string turned_away = ": " + std::to_string(count) + " turned away; ";
  tell({LogLevel::warning, "turned_away",
        is_out_of_descriptors
            ? "out of descriptors: " + those + turned_away + "raise ulimit -n (LimitNOFILE of systemd)"
            : "out of places: " + those + turned_away +
                  (shared_.limits.connections > 0 ? "raise limits.connections" : "raise ulimit -n"),
        std::move(numbers)});
}

void Gateway::fail(std::string_view thread, const char* what, std::size_t connections) {
  // First what needs no memory: the thread may have died for want of it.
  listener_->stop_soon();
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
