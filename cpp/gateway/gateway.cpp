#include "gateway/gateway.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>
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
/// Connections over the limit that are still read, to be refused in their own protocol. As many again may be
/// on their way to a shard, which makes room for them.
constexpr std::size_t kRefusalsAtOnce = 32;

std::size_t descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1'024;
  return static_cast<std::size_t>(std::min<rlim_t>(limit.rlim_cur, 100'000'000));
}

TurnLimits turn_limits_of(const Limits& limits) {
  TurnLimits turn_limits;
  turn_limits.deliveries_per_turn = static_cast<std::size_t>(limits.deliveries_per_turn);
  turn_limits.deliveries_per_visit = static_cast<std::size_t>(limits.deliveries_per_visit);
  turn_limits.batch_bytes = static_cast<std::size_t>(limits.batch_bytes);
  return turn_limits;
}

std::size_t connections_by_descriptors() {
  const std::size_t soft = descriptor_limit();
  return soft > 2 * kReservedDescriptors ? soft - kReservedDescriptors - kRefusalsAtOnce : soft / 2;
}

std::size_t connections_max_of(const Limits& limits) {
  return limits.connections > 0 ? static_cast<std::size_t>(limits.connections) : connections_by_descriptors();
}

}  // namespace

Gateway::Gateway(GatewayShared& shared, const GatewayOptions& options) : shared_(shared), options_(options) {
  const TurnLimits turn_limits = turn_limits_of(shared.limits);
  shared.loops = options.threads;
  shared.refusals_per_loop = std::max<std::size_t>(1, kRefusalsAtOnce / options.threads);
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
  try {
    add_internal_listener();
  } catch (...) {  // nobody is to wait at the first one, which accepts nothing yet
    const auto lock = lock_listeners();
    listeners_.clear();
    has_first_endpoint_ = false;
    throw;
  }
  run();
}

void Gateway::add_internal_listener() {
  if (options_.internal_port == 0) return;
  try {
    add_listener(options_.internal_host, options_.internal_port, {}, true);
  } catch (const std::system_error& error) {
    throw std::system_error(error.code(), "http_server.internal_port: " + options_.internal_host + ":" +
                                              std::to_string(options_.internal_port));
  }
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

Endpoint& Gateway::add_listener(const std::string& host, std::uint16_t port, Descriptor listening,
                                bool is_internal) {
  const Listener::Options options{host, port, shared_.limits.kernel_backlog_bytes,
                                  shared_.limits.stall_timeout_ms};
  auto further = has_first_endpoint_ ? std::make_unique<Endpoint>() : nullptr;
  Endpoint& endpoint = further ? *further : shared_.endpoint;
  Listener::Handlers handlers{
      .accepted = [this, &endpoint](int descriptor) { accepted(descriptor, endpoint); },
      .to_refuse =
          [this, &endpoint](int descriptor) {  // it is counted as refused when it is
            shared_.without_descriptor.fetch_add(1, std::memory_order_relaxed);
            to_refuse_.fetch_add(1, std::memory_order_relaxed);
            shared_.admission.begin_refusal();
            adopt(descriptor, endpoint, true);
          },
      .turned_away =
          [this, &endpoint] {
            shared_.without_descriptor.fetch_add(1, std::memory_order_relaxed);
            shared_.turned_away.fetch_add(1, std::memory_order_relaxed);
            if (!endpoint.is_internal) shared_.closed_unread.fetch_add(1, std::memory_order_relaxed);
          },
      .failed = [this](const char* what) { fail("the listener", what, 0); }};
  std::unique_ptr<Listener> listener =  // without the mutex: a host name may take long to look up
      listening.is_open()
          ? std::make_unique<Listener>(options, std::move(listening), shared_.admission, std::move(handlers))
          : std::make_unique<Listener>(options, shared_.admission, std::move(handlers));
  endpoint.host = host;
  endpoint.port = listener->port();
  endpoint.is_internal = is_internal;
  endpoint.is_draining = false;
  const auto lock = lock_listeners();
  if (is_stopping_) {
    throw std::system_error(std::make_error_code(std::errc::operation_canceled), "the server stops");
  }
  has_first_endpoint_ = true;
  if (further) {
    endpoint.number = endpoints_.size() + 1;
    endpoints_.push_back(std::move(further));
  }
  const auto at = listeners_.emplace(endpoint.number, std::move(listener)).first;
  if (is_running_) at->second->start();
  return endpoint;
}

Endpoint& Gateway::endpoint(std::size_t number) const {
  return number == 0 ? shared_.endpoint : *endpoints_[number - 1];
}

std::size_t Gateway::listen(const std::string& host, std::uint16_t port) {
  return add_listener(host, port, {}).number;
}

void Gateway::close_listener(std::size_t number) {
  std::unique_ptr<Listener> listener;
  {
    const auto lock = lock_listeners();
    auto node = listeners_.extract(number);
    if (node.empty()) return;
    listener = std::move(node.mapped());
  }
  listener->stop();  // without the mutex: it may be about to fail, which wants it
}

std::vector<ListenerInfo> Gateway::listeners() const {
  const std::lock_guard lock(listeners_mutex_);
  std::vector<ListenerInfo> infos;
  for (const auto& [number, listener] : listeners_) {
    const Endpoint& at = endpoint(number);
    infos.push_back(
        {number, at.host, at.port, at.is_draining.load(), at.connections.load(), listener->backlog()});
  }
  return infos;
}

void Gateway::run() {
  has_restored_ = false;
  port_ = shared_.endpoint.port;
  connections_max_ = connections_max_of(shared_.limits);
  const std::lock_guard lock(listeners_mutex_);
  is_running_ = true;  // before the first request is read: it may be to drain
  for (const auto& shard : shards_) shard->start(has_uring_);
  for (const auto& [number, listener] : listeners_) listener->start();
}

void Gateway::reload_limits() {
  connections_max_ = connections_max_of(shared_.limits);
  shared_.admission.set_limits(shared_.limits);
  for (const auto& shard : shards_) shard->shard().set_limits(turn_limits_of(shared_.limits));
}

void Gateway::accepted(int descriptor, Endpoint& endpoint) {
  // Operators are not refused because clients have taken all of theirs.
  const std::size_t open = endpoint.is_internal ? endpoint.connections.load() : connections();
  shared_.accepted.fetch_add(1, std::memory_order_relaxed);
  if (!endpoint.is_internal && open < connections_max_)
    shared_.within_limits.fetch_add(1, std::memory_order_relaxed);
  if (open >= connections_max_ + 2 * kRefusalsAtOnce) {
    if (!endpoint.is_internal) shared_.closed_unread.fetch_add(1, std::memory_order_relaxed);
    ::close(descriptor);
    shared_.admission.end_handshake();
    shared_.turned_away.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  adopt(descriptor, endpoint, open >= connections_max_);
}

void Gateway::adopt(int descriptor, Endpoint& endpoint, bool is_over_limit) {
  const std::size_t shard = next_shard_.fetch_add(1, std::memory_order_relaxed) % shards_.size();
  shards_[shard]->adopt(descriptor, is_over_limit, endpoint);
}

void Gateway::stop() {
  {
    const std::lock_guard lock(listeners_mutex_);
    if (!std::exchange(is_running_, false)) return;
    is_stopping_ = true;
  }
  wait_for_drains();
  for (const ListenerInfo& each : listeners()) close_listener(each.number);
  for (const auto& shard : shards_) shard->stop();
}

std::size_t Gateway::clients() const {
  std::size_t sum = 0;
  for (const auto& shard : shards_) {
    const SessionCounters& counters = shard->counters();
    sum +=
        counters.websocket + counters.sse + counters.polls + counters.emulated() + counters.unidirectional();
  }
  return sum;
}

std::size_t Gateway::answers_due() const {
  std::size_t sum = 0;
  for (const auto& shard : shards_) sum += shard->counters().answers_due;
  return sum;
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

void Gateway::tell_accept_pauses(Millis now_ms) {
  using Kind = TurnAwayReport::News::Kind;
  const Kind kind = accept_pause_report_.look(shared_.admission.pauses(), now_ms).kind;
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

void Gateway::tell_unsent_closed(Millis now_ms) {
  const std::uint64_t count = unsent_report_.look(shared_.unsent.closed(), now_ms).count;
  if (count == 0) return;
  tell({LogLevel::warning,
        "unsent_closed",
        "replies that clients do not read took more than limits.unsent_bytes_total (" +
            std::to_string(shared_.limits.unsent_bytes_total) + " bytes): " + std::to_string(count) +
            " clients were closed (code 3008 in the access log); raise the limit, or look for clients that "
            "ask and do not read",
        {{"closed", static_cast<std::int64_t>(count)}, {"limit", shared_.limits.unsent_bytes_total}}});
}

void Gateway::keep_house(Millis now_ms) {
  tell_accept_pauses(now_ms);
  tell_unsent_closed(now_ms);
  using Kind = TurnAwayReport::News::Kind;
  const auto [kind, count] = turn_away_report_.look(shared_.turned_away.load() + to_refuse_.load(), now_ms);
  if (kind == Kind::none) return;
  const std::uint64_t without_descriptor = shared_.without_descriptor.load();
  const bool is_out_of_descriptors =
      std::exchange(told_without_descriptor_, without_descriptor) != without_descriptor;
  const std::size_t limit = is_out_of_descriptors ? descriptor_limit() : connections_max();
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
    for (const auto& [number, listener] : listeners_) {
      endpoint(number).is_draining = true;
      listener->stop_soon();
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
