#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "loop/connection.hpp"
#include "loop/flush.hpp"
#include "loop/sockets.hpp"
#include "sim/chance.hpp"
#include "sim/pipe.hpp"
#include "sim/process.hpp"
#include "sim/virtual_time.hpp"

// TCP between clients and gateways: bytes arrive in order and late, or not at all once a connection has
// broken.

namespace carillon::sim {

/// A client's end of a connection.
class Peer {
 public:
  virtual ~Peer() = default;
  virtual void on_bytes(std::string_view bytes) = 0;
  /// The gateway has closed, or the connection has broken.
  virtual void on_end() = 0;
};

/// One connection. What the kernels of both sides hold is here; bytes under way outlive both ends.
struct Wire {
  static constexpr std::size_t kWindow = 4'096;  ///< bytes that are under way to the client, or unread there

  Peer* peer = nullptr;  ///< null: the client has gone
  int descriptor = -1;
  Connection* connection = nullptr;  ///< that watches it at the gateway
  std::function<void()> notify;      ///< the gateway has an event to take; none: nobody watches it
  int holders = 0;                   ///< processes that have it open
  bool is_reset = false;
  // Towards the gateway.
  std::string inbox;       ///< has arrived, and is not read
  bool has_ended = false;  ///< and nothing more comes
  Pipe<std::string> up;
  // Towards the client.
  std::size_t room = kWindow;
  std::string unread;  ///< has arrived while the client does not read
  bool is_reading = true;
  bool is_ended = false;  ///< the gateway sends nothing more
  Pipe<std::string> down;
  // Events that are due at the gateway.
  bool has_news = false;
  bool is_full = false;  ///< one is due once there is room again

  [[nodiscard]] bool has_event() const { return has_news || (is_full && room > 0); }
};
using WireRef = std::shared_ptr<Wire>;

/// All connections of a world.
class Network {
 public:
  Network(VirtualTime& time, std::uint64_t seed) : time_(time), chance_(seed, "network") {}
  /// What is under way holds its connection, and that what is under way: this ends it.
  ~Network();
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  /// A connection that nobody holds at the gateway's side yet.
  [[nodiscard]] WireRef make(Peer& peer);
  [[nodiscard]] const WireRef& at(int descriptor) const { return wires_.at(descriptor); }

  // ---- the client's side
  void send_up(const WireRef& wire, std::string_view bytes);
  /// The client closes: its end follows what it has sent.
  void end_up(const WireRef& wire);
  /// The client is gone, and tells nobody: the gateway's kernel gives up when nothing is acknowledged for
  /// long.
  void vanish(const WireRef& wire);
  static void stop_reading(const WireRef& wire) { wire->is_reading = false; }
  void read_on(const WireRef& wire);

  // ---- what happens to it
  /// Both sides find out, soon.
  void reset(const WireRef& wire);
  void cut_off(const WireRef& wire, Micros us) {
    wire->up.cut_off_until(time_.now_us() + us);
    wire->down.cut_off_until(time_.now_us() + us);
  }

  // ---- the gateway's side
  void send_down(const WireRef& wire, std::string bytes);
  void end_down(const WireRef& wire);
  void close(int descriptor);

 private:
  void hand_over(const WireRef& wire, std::string_view bytes);
  [[nodiscard]] Micros delay();

  VirtualTime& time_;
  Chance chance_;
  std::map<int, WireRef> wires_;
  std::vector<std::weak_ptr<Wire>> all_;  // also those that the gateways have closed
  int next_descriptor_ = 100;
};

/// One event loop's view of the network.
class SimulatedSockets final : public Sockets, public Flush {
 public:
  explicit SimulatedSockets(Network& network, std::function<void()> notify)
      : network_(network), notify_(std::move(notify)) {}
  [[nodiscard]] bool has_events() const;

  [[nodiscard]] bool watch(Connection& connection) override;
  void unwatch(const Connection& connection) override;
  std::size_t take_events(std::span<SocketEvent> events) override;
  std::ptrdiff_t receive(int descriptor, std::span<char> buffer) override;
  void end_sending(int descriptor) override;
  void close(int descriptor) override;
  [[nodiscard]] bool has_timed_out(int /*descriptor*/) override { return false; }
  [[nodiscard]] bool is_silent(int /*descriptor*/) override { return false; }
  [[nodiscard]] std::uint32_t kernel_bytes(int descriptor) override;
  [[nodiscard]] std::string peer(int /*descriptor*/) override { return "192.0.2.1:1024"; }
  void flush(TurnOutput& output, Millis now_ms, FlushReport& report) override;

 protected:
  std::int64_t send(const Outlet& outlet, std::string_view bytes) override;

 private:
  [[nodiscard]] std::size_t take(const WireRef& wire, std::string_view bytes);

  Network& network_;
  const std::function<void()> notify_;
  std::vector<int> watched_;
  std::size_t first_ = 0;  // of those, to be looked at next
};

}  // namespace carillon::sim
