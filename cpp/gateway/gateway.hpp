#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/gateway_shard.hpp"
#include "gateway/listener.hpp"
#include "gateway/turn_away_report.hpp"

namespace carillon {

/// How the output of a turn is sent.
enum class FlushChoice : std::uint8_t { automatic, io_uring, send };

struct GatewayOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 8000;
  std::size_t threads = 1;
  FlushChoice flush = FlushChoice::automatic;
  std::string internal_host = {};   ///< see Endpoint::is_internal
  std::uint16_t internal_port = 0;  ///< 0: there is no such address
};

/// The present state of a listener.
struct ListenerInfo {
  std::size_t number = 0;  ///< 0: that of the configuration
  std::string host;
  std::uint16_t port = 0;
  bool is_draining = false;
  std::size_t connections = 0;
  std::size_t backlog = 0;  ///< connections in the kernel's accept queue
};

/// The sockets of a server: listeners, and shards that carry the connections.
class Gateway {
 public:
  Gateway(GatewayShared& shared, const GatewayOptions& options);
  ~Gateway();
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  /// Throws std::system_error if the address, or a flush requested by name, is not available.
  void start();
  void stop();

  // A takeover, in the process that has the connections: hold(), save(), then resume() or give_away(). In
  // between, listeners are neither added nor removed, and a drain waits before it asks clients.

  /// The reason why a takeover is not possible now: a drain, a failure, no first listener. Empty: it is.
  [[nodiscard]] std::string why_not_given_away() const;
  /// Stops every thread at the end of a turn: nothing is accepted, read or written any more. Sessions wait up
  /// to `answers_ms` for pending answers. Throws HandoverRefused (a drain was requested in time) or
  /// HandoverError (the threads have not stopped by `until`); all threads then continue.
  void hold(Millis answers_ms, HoldPoint::Time until);
  /// Saves everything that can be moved. Clients that wait for an answer stay, and are listed in
  /// `left_behind`.
  [[nodiscard]] GatewayState save(std::vector<int>& descriptors, std::vector<std::string>& left_behind);
  /// All threads continue.
  void resume();
  /// Another process has the saved connections: closes their descriptors without a close handshake, and
  /// accepts nothing more.
  void give_away();

  /// Why the threads cannot be held still for a change now: a drain, a takeover, a failure. Empty: they can.
  [[nodiscard]] std::string why_not_still() const;
  /// Runs `change` while the threads of all shards stand still, each between two tasks, and nothing of a turn
  /// is on their stacks. Listeners go on; what they accept waits. Returns why it was not run: as
  /// why_not_still(), or the threads did not stop by `until`. Empty: it was. Not from a shard's thread.
  [[nodiscard]] std::string while_still(HoldPoint::Time until, const std::function<void()>& change);
  /// Reads the limits again of which it, or a shard, has copies. While the threads stand still.
  void reload_limits();

  // In the process that takes over: restore() and run() instead of start().

  /// Throws std::system_error.
  void restore(const GatewayState& state, std::vector<Descriptor> descriptors);
  /// Starts reading, writing and accepting.
  void run();

  /// Asks every client to disconnect, each at a random moment within `pace_ms`, and waits for them until
  /// `deadline_ms` ends, on a thread of its own; new clients are asked to reconnect elsewhere. Then accepts
  /// nothing more, and logs the outcome. The result: have all clients left?
  ///
  /// With the number of a listener, drains that one alone, and disconnects clients that have not left; throws
  /// std::out_of_range if it is not open. A drain already under way there, or everywhere, is joined. Any
  /// thread; returns at once. No takeover is possible until the drain has ended.
  std::shared_future<bool> begin_drain(std::optional<std::size_t> number, Millis deadline_ms, Millis pace_ms);

  /// Listens at one more address while running; returns its number. Throws std::system_error.
  std::size_t listen(const std::string& host, std::uint16_t port);
  /// The open listeners. Never waits long, so shards may call it.
  [[nodiscard]] std::vector<ListenerInfo> listeners() const;

  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] std::size_t connections() const { return shared_.connections.load(); }
  /// Connections that are clients now: WebSockets, streams, waiting polls.
  [[nodiscard]] std::size_t clients() const;
  /// Requests to the HTTP API that are not answered yet.
  [[nodiscard]] std::size_t answers_due() const;
  [[nodiscard]] const std::vector<std::unique_ptr<GatewayShard>>& shards() const { return shards_; }
  /// Closes the client's connection at once; false: no such client. Not from a shard's thread.
  bool cut(const std::string& client);
  /// Runs `visit` for each session on its shard's thread, and waits for all of them. A failed shard has no
  /// sessions. Not from a shard's thread.
  void for_each_session(const std::function<void(Session&)>& visit);
  /// Tells the operator when connections are turned away, or closed for what they do not read. From time to
  /// time, from one thread.
  void keep_house(Millis now_ms);
  /// A thread with this number of connections has died: accepts no new clients, and logs it. Any thread.
  void fail(std::string_view thread, const char* what, std::size_t connections);
  [[nodiscard]] bool has_failed() const { return has_failed_; }
  /// The first failure, or empty.
  [[nodiscard]] std::string failure() const;
  /// The flush in use, "io_uring" or "send". After start() has returned.
  [[nodiscard]] std::string_view flush_name() const { return has_uring_ ? "io_uring" : "send"; }
  [[nodiscard]] std::size_t connections_max() const { return connections_max_.load(); }

 private:
  void choose_flush();
  /// `listening`: a socket that listens already, or none.
  Endpoint& add_listener(const std::string& host, std::uint16_t port, Descriptor listening,
                         bool is_internal = false);
  void add_internal_listener();
  /// With the mutex held.
  [[nodiscard]] Endpoint& endpoint(std::size_t number) const;
  void close_listener(std::size_t number);
  void tell_accept_pauses(Millis now_ms);
  void tell_unsent_closed(Millis now_ms);
  /// With the mutex held.
  [[nodiscard]] std::string why_not_held() const;
  [[nodiscard]] std::string why_not_paused() const;
  [[nodiscard]] bool is_drain_under_way() const;
  [[nodiscard]] bool stop_all(const std::vector<Listener*>& listeners, Millis answers_ms,
                              HoldPoint::Time until);
  void end_hold();
  /// The lock to change the listeners, once no takeover holds them.
  [[nodiscard]] std::unique_lock<std::mutex> lock_listeners();
  bool drain_all(Millis deadline_ms, Millis pace_ms);
  bool drain_listener(std::size_t number, Millis deadline_ms, Millis pace_ms);
  void wait_for_drains();
  void accepted(int descriptor, Endpoint& endpoint);
  void adopt(int descriptor, Endpoint& endpoint, bool is_over_limit);
  void tell(OperatorNote note) const;
  /// Waits until it is done, until this time, or until the gateway stops. Is it done?
  bool wait_until(HoldPoint::Time until, const std::function<bool()>& is_done) const;
  void tell_draining(const std::string& where, std::size_t asked, Millis pace_ms, Millis deadline_ms) const;
  void tell_drain(const std::string& where, std::size_t asked, std::size_t cut_off) const;

  GatewayShared& shared_;
  const GatewayOptions options_;
  std::vector<std::unique_ptr<Endpoint>> endpoints_;  // of all further listeners since the start
  std::vector<std::unique_ptr<GatewayShard>> shards_;
  struct Drain {
    std::optional<std::size_t> listener;  // nothing: of all
    std::shared_future<bool> result;
  };
  mutable std::mutex
      listeners_mutex_;  // held briefly: threads of shards take it, so no thread may wait while it holds it
  std::map<std::size_t, std::unique_ptr<Listener>>
      listeners_;              // those that are open, by their endpoint's number
  std::vector<Drain> drains_;  // under way, or just over
  bool is_held_ = false;       // by a takeover or a change: listeners_ stays, and drains wait
  std::condition_variable released_;
  bool has_first_endpoint_ = false;
  std::atomic<std::size_t> next_shard_{0};
  std::uint16_t port_ = 0;
  std::atomic<std::size_t> connections_max_{0};
  bool is_running_ = false;  // guarded by listeners_mutex_
  std::atomic<bool> has_uring_{false};
  bool has_restored_ = false;  // connections that do not run yet
  bool has_told_drain_ = false;
  std::atomic<bool> is_stopping_{false};  // ends a drain early
  std::atomic<bool> has_failed_{false};
  mutable std::mutex failure_mutex_;
  std::string failure_;
  std::uint64_t told_without_descriptor_ = 0;
  // Accepted only to be refused, because descriptors had run out; since the start.
  std::atomic<std::uint64_t> to_refuse_{0};
  TurnAwayReport turn_away_report_;
  TurnAwayReport unsent_report_;
  TurnAwayReport accept_pause_report_;
  std::vector<std::shared_ptr<HoldPoint>> hold_points_;  // of the listeners, then of each shard
};

}  // namespace carillon
