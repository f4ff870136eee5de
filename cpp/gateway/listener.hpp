#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <system_error>

#include "gateway/descriptor.hpp"
#include "gateway/hold_point.hpp"

namespace carillon {

/// Accepts connections on one listening socket, in a thread of its own.
class Listener {
 public:
  struct Options {
    std::string host = "127.0.0.1";
    std::uint16_t port = 0;                 ///< 0: the system picks one
    std::int64_t kernel_backlog_bytes = 0;  ///< unsent bytes that the kernel takes for a connection
    std::int64_t stall_timeout_ms = 0;      ///< unacknowledged for so long: the peer is gone
  };
  using Accepted = std::function<void(int descriptor)>;
  using TurnedAway = std::function<void()>;              ///< one was closed unheard: no descriptor was left
  using Failed = std::function<void(const char* what)>;  ///< an exception has ended the thread

  /// Binds and listens; throws std::system_error.
  Listener(const Options& options, Accepted accepted, TurnedAway turned_away, Failed failed);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  /// Goes on with a socket that listens already; throws std::system_error.
  Listener(const Options& options, Descriptor listening, Accepted accepted, TurnedAway turned_away,
           Failed failed);

  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] int descriptor() const;
  void start();
  /// Accepts nothing more and closes the socket.
  void stop();
  /// The same, but does not wait for it. Any thread.
  void stop_soon();
  /// Accepts nothing until the point is released; what comes waits in the backlog. Any thread.
  void hold(std::shared_ptr<HoldPoint> point);

 private:
  struct Io;
  void set_options();
  void wait();
  void accept_waiting();
  void turn_away_waiting();

  const Options options_;
  const Accepted accepted_;
  const TurnedAway turned_away_;
  const Failed failed_;
  std::unique_ptr<Io> io_;
  std::uint16_t port_ = 0;
};

}  // namespace carillon
