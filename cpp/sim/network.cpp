#include "sim/network.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace carillon::sim {

namespace {
constexpr Micros kUnacknowledgedUs = 4'000'000;
}

Network::~Network() {
  for (const std::weak_ptr<Wire>& each : all_) {
    if (const WireRef wire = each.lock()) {
      wire->up.clear();
      wire->down.clear();
    }
  }
}

WireRef Network::make(Peer& peer) {
  auto wire = std::make_shared<Wire>();
  wire->peer = &peer;
  wire->descriptor = next_descriptor_++;
  wires_.emplace(wire->descriptor, wire);
  all_.push_back(wire);
  return wire;
}

Micros Network::delay() {
  return chance_.percent(85) ? chance_.between(200, 3'000) : chance_.between(3'000, 60'000);
}

// ---- the client's side

void Network::send_up(const WireRef& wire, std::string_view bytes) {
  wire->up.put(time_, delay(), std::string(bytes), [wire](std::string&& arrived) {
    if (wire->is_reset) return;
    wire->inbox.append(arrived);
    wire->has_news = true;
    if (wire->notify) wire->notify();
  });
}

void Network::end_up(const WireRef& wire) {
  wire->peer = nullptr;
  wire->up.put(time_, delay(), {}, [wire](std::string&& /*nothing*/) {
    wire->has_ended = wire->has_news = true;
    if (wire->notify) wire->notify();
  });
}

void Network::vanish(const WireRef& wire) {
  wire->peer = nullptr;
  time_.after(kUnacknowledgedUs, [this, wire] { reset(wire); });
}

void Network::read_on(const WireRef& wire) {
  if (std::exchange(wire->is_reading, true)) return;
  const std::string bytes = std::exchange(wire->unread, {});
  hand_over(wire, bytes);
}

void Network::hand_over(const WireRef& wire, std::string_view bytes) {
  wire->room += bytes.size();
  if (wire->is_full && wire->notify) wire->notify();
  if (wire->peer != nullptr && !bytes.empty()) wire->peer->on_bytes(bytes);
  if (wire->peer != nullptr && wire->is_ended && wire->room == Wire::kWindow) {
    Peer& peer = *std::exchange(wire->peer, nullptr);
    peer.on_end();
  }
}

// ---- what happens to it

void Network::reset(const WireRef& wire) {
  if (std::exchange(wire->is_reset, true)) return;
  time_.after(chance_.between(50, 20'000), [wire] {
    wire->has_news = true;
    if (wire->notify) wire->notify();
  });
  time_.after(chance_.between(50, 20'000), [wire] {
    if (wire->peer == nullptr) return;
    Peer& peer = *std::exchange(wire->peer, nullptr);
    peer.on_end();
  });
}

// ---- the gateway's side

void Network::send_down(const WireRef& wire, std::string bytes) {
  wire->down.put(time_, delay(), std::move(bytes), [this, wire](std::string&& arrived) {
    if (wire->is_reset) return;
    if (wire->is_reading) return hand_over(wire, arrived);
    wire->unread.append(arrived);
  });
}

void Network::end_down(const WireRef& wire) {
  wire->down.put(time_, delay(), {}, [this, wire](std::string&& /*nothing*/) {
    wire->is_ended = true;
    if (wire->is_reading && !wire->is_reset) hand_over(wire, {});
  });
}

void Network::close(int descriptor) {
  const auto found = wires_.find(descriptor);
  const WireRef wire = found->second;
  wire->connection = nullptr;
  wire->notify = nullptr;
  if (--wire->holders > 0) return;  // and who watches it goes on to
  wires_.erase(found);
  end_down(wire);
}

// ---- an event loop

bool SimulatedSockets::has_events() const {
  return std::any_of(watched_.begin(), watched_.end(),
                     [this](int descriptor) { return network_.at(descriptor)->has_event(); });
}

bool SimulatedSockets::watch(Connection& connection) {
  const WireRef& wire = network_.at(connection.outlet.descriptor);
  wire->connection = &connection;
  wire->notify = notify_;
  wire->has_news = true;
  watched_.push_back(connection.outlet.descriptor);
  notify_();
  return true;
}

void SimulatedSockets::unwatch(const Connection& connection) {
  std::erase(watched_, connection.outlet.descriptor);
}

std::size_t SimulatedSockets::take_events(std::span<SocketEvent> events) {
  std::size_t found = 0;
  const std::size_t count = watched_.size();
  for (std::size_t i = 0; i < count && found < events.size(); ++i) {
    first_ = (first_ + 1) % count;
    Wire& wire = *network_.at(watched_[first_]);
    if (!wire.has_event() || wire.connection == nullptr) continue;
    wire.has_news = false;
    wire.is_full = wire.is_full && wire.room == 0;
    events[found++] = {.connection = wire.connection,
                       .is_readable = !wire.inbox.empty() || wire.has_ended,
                       .is_writable = wire.room > 0,
                       .is_hung_up = wire.has_ended,
                       .is_broken = wire.is_reset};
  }
  return found;
}

std::ptrdiff_t SimulatedSockets::receive(int descriptor, std::span<char> buffer) {
  Wire& wire = *network_.at(descriptor);
  if (wire.is_reset) return kBroken;
  if (wire.inbox.empty()) return wire.has_ended ? 0 : kNothing;
  const std::size_t count = std::min(buffer.size(), wire.inbox.size());
  std::copy_n(wire.inbox.begin(), count, buffer.begin());
  wire.inbox.erase(0, count);
  return static_cast<std::ptrdiff_t>(count);
}

void SimulatedSockets::end_sending(int descriptor) { network_.end_down(network_.at(descriptor)); }

void SimulatedSockets::close(int descriptor) {
  std::erase(watched_, descriptor);
  network_.close(descriptor);
}

std::uint32_t SimulatedSockets::kernel_bytes(int descriptor) {
  return static_cast<std::uint32_t>(Wire::kWindow - network_.at(descriptor)->room);
}

std::size_t SimulatedSockets::take(const WireRef& wire, std::string_view bytes) {
  const std::size_t taken = std::min(bytes.size(), wire->room);
  wire->room -= taken;
  if (taken < bytes.size()) wire->is_full = true;
  if (taken > 0) network_.send_down(wire, std::string(bytes.substr(0, taken)));
  return taken;
}

std::int64_t SimulatedSockets::send(const Outlet& outlet, std::string_view bytes) {
  const WireRef& wire = network_.at(outlet.descriptor);
  if (wire->is_reset) return -EPIPE;
  const std::size_t taken = take(wire, bytes);
  if (taken == 0 && !bytes.empty()) return -EAGAIN;
  return static_cast<std::int64_t>(taken);
}

void SimulatedSockets::flush(TurnOutput& output, Millis now_ms, FlushReport& report) {
  for (const Slice& first : output.slices()) {
    if (first.outlet == nullptr) continue;
    const WireRef& wire = network_.at(first.outlet->descriptor);
    if (wire->is_reset) {
      account_short(output, first, -EPIPE, now_ms, report);
      continue;
    }
    std::string bytes;
    for (const Slice* slice = &first; slice != nullptr; slice = slice->next) bytes.append(slice->bytes());
    const std::size_t taken = take(wire, bytes);
    if (taken == bytes.size()) {
      account_whole(first, report);
    } else {
      account_short(output, first, static_cast<std::int64_t>(taken), now_ms, report);
    }
  }
}

}  // namespace carillon::sim
