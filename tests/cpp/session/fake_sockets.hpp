#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "loop/connection.hpp"
#include "loop/flush.hpp"
#include "loop/sockets.hpp"

// Sockets without an operating system: per connection a kernel that takes as little as a test wants. What it
// took has arrived at the client, and what the client wrote waits here until the event loop reads it.

namespace carillon::testing {

class Client;

/// What the operating system does for one connection.
struct Kernel {
  static constexpr std::size_t kAll = static_cast<std::size_t>(-1);
  std::size_t room = kAll;  ///< takes so many bytes, then no more until there is room again
  std::size_t most = kAll;  ///< takes a random number of bytes in [0, most] per call
  bool is_broken = false;   ///< the next send fails
  std::uint32_t held = 0;   ///< bytes of memory, for whoever measures it
};

struct FakeSocket {
  Kernel kernel;
  Client* client = nullptr;          ///< null: what is sent goes nowhere
  Connection* connection = nullptr;  ///< that watches it
  std::size_t loop = 0;
  int holders = 1;         ///< processes that have it open
  std::string inbox;       ///< written by the client, not yet read
  bool has_ended = false;  ///< the client writes nothing more
  bool is_reset = false;
  bool has_news = false;  ///< an event is due
  bool is_full = false;   ///< and one is due once there is room again

  [[nodiscard]] bool has_event() const { return has_news || (is_full && kernel.room > 0); }
};

/// All sockets of a world, by descriptor.
struct FakeNetwork {
  std::map<int, FakeSocket> sockets;
  int next_descriptor = 100;
  std::function<std::uint64_t(std::uint64_t)> below;  ///< chance: a number in [0, bound)
  /// Called for every slice with entries that leaves whole; true: the bytes are lost on the way, yet claimed
  /// as sent.
  std::function<bool(const Slice&)> loses;
  std::size_t lost = 0;  ///< how often
};

/// One event loop's view of the network.
class FakeSockets final : public Sockets, public Flush {
 public:
  explicit FakeSockets(FakeNetwork& network) : network_(network) {}
  [[nodiscard]] bool has_events() const;

  [[nodiscard]] bool watch(Connection& connection) override;
  void unwatch(const Connection& connection) override;
  std::size_t take_events(std::span<SocketEvent> events) override;
  std::ptrdiff_t receive(int descriptor, std::span<char> buffer) override;
  void end_sending(int descriptor) override;
  void close(int descriptor) override;
  [[nodiscard]] bool has_timed_out(int /*descriptor*/) override { return false; }
  [[nodiscard]] bool is_silent(int /*descriptor*/) override { return false; }
  [[nodiscard]] std::uint32_t kernel_bytes(int descriptor) override {
    return network_.sockets.at(descriptor).kernel.held;
  }
  [[nodiscard]] std::string peer(int /*descriptor*/) override { return "192.0.2.1:1024"; }

  void flush(TurnOutput& output, Millis now_ms, FlushReport& report) override;

 protected:
  std::int64_t send(const Outlet& outlet, std::string_view bytes) override;

 private:
  [[nodiscard]] std::size_t take(FakeSocket& socket, std::size_t offered);

  FakeNetwork& network_;
  std::vector<int> watched_;
  std::size_t first_ = 0;  // of those, to be looked at next
};

}  // namespace carillon::testing
