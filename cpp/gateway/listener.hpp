#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "env/descriptor.hpp"
#include "gateway/hold_point.hpp"
#include "loop/admission.hpp"

namespace carillon {

/// Accepts connections on one listening socket, in a thread of its own.
class Listener {
 public:
  struct Options {
    std::string host = "127.0.0.1";
    std::uint16_t port = 0;                 ///< 0: the system picks one
    std::int64_t kernel_backlog_bytes = 0;  ///< maximum number of unsent bytes per connection in the kernel
    std::int64_t stall_timeout_ms = 0;  ///< the peer counts as gone if it acknowledges nothing for this time
  };
  struct Handlers {
    std::function<void(int descriptor)> accepted;
    /// Accepted with a descriptor of the reserve, because no other was left: refuse it and close it soon.
    std::function<void(int descriptor)> to_refuse;
    std::function<void()> turned_away;             ///< the same, but it had sent nothing and was closed
    std::function<void(const char* what)> failed;  ///< an exception has ended the thread
  };

  /// Binds and listens; throws std::system_error.
  Listener(const Options& options, Admission& admission, Handlers handlers);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  /// Uses a socket that listens already; throws std::system_error.
  Listener(const Options& options, Descriptor listening, Admission& admission, Handlers handlers);

  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] int descriptor() const;
  /// Number of connections in the kernel's accept queue. Any thread.
  [[nodiscard]] std::size_t backlog() const;
  void start();
  /// Accepts nothing more and closes the socket.
  void stop();
  /// The same, but does not wait for it. Any thread.
  void stop_soon();
  /// Accepts nothing until the point is released; connections wait in the accept queue. Any thread.
  void hold(std::shared_ptr<HoldPoint> point);

 private:
  struct Io;
  void set_options();
  void wait();
  void pause(Admission::Clock::duration duration);
  void accept_waiting();
  /// Those that are connected already: they may have sent a request.
  void accept_last();
  void fill_reserve();
  void refuse_waiting();

  const Options options_;
  Admission& admission_;
  const Handlers handlers_;
  std::unique_ptr<Io> io_;
  std::vector<Descriptor> reserve_;  // given up to refuse connections when descriptors run out
  std::atomic<int> listening_{-1};   // for backlog(); -1: closed
  std::atomic<bool> is_closing_{false};
  std::uint16_t port_ = 0;
};

}  // namespace carillon
