#include "session/fake_sockets.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "session/session_clients.hpp"

namespace carillon::testing {

bool FakeSockets::has_events() const {
  return std::any_of(watched_.begin(), watched_.end(),
                     [this](int descriptor) { return network_.sockets.at(descriptor).has_event(); });
}

bool FakeSockets::watch(Connection& connection) {
  FakeSocket& socket = network_.sockets.at(connection.outlet.descriptor);
  socket.connection = &connection;
  socket.has_news = true;
  watched_.push_back(connection.outlet.descriptor);
  return true;
}

void FakeSockets::unwatch(const Connection& connection) {
  network_.sockets.at(connection.outlet.descriptor).connection = nullptr;
  std::erase(watched_, connection.outlet.descriptor);
}

std::size_t FakeSockets::take_events(std::span<SocketEvent> events) {
  std::size_t found = 0;
  const std::size_t count = watched_.size();
  for (std::size_t i = 0; i < count && found < events.size(); ++i) {
    first_ = (first_ + 1) % count;
    FakeSocket& socket = network_.sockets.at(watched_[first_]);
    if (!socket.has_event()) continue;
    if (socket.connection == nullptr) {
      ADD_FAILURE() << "an event of a connection that is gone";
      socket.has_news = socket.is_full = false;
      continue;
    }
    socket.has_news = false;
    socket.is_full = socket.is_full && socket.kernel.room == 0;
    events[found++] = {.connection = socket.connection,
                       .is_readable = !socket.inbox.empty() || socket.has_ended,
                       .is_writable = socket.kernel.room > 0,
                       .is_hung_up = socket.has_ended,
                       .is_broken = socket.is_reset};
  }
  return found;
}

std::ptrdiff_t FakeSockets::receive(int descriptor, std::span<char> buffer) {
  FakeSocket& socket = network_.sockets.at(descriptor);
  if (socket.is_reset) return kBroken;
  if (socket.inbox.empty()) return socket.has_ended ? 0 : kNothing;
  const std::size_t count = std::min(buffer.size(), socket.inbox.size());
  std::copy_n(socket.inbox.begin(), count, buffer.begin());
  socket.inbox.erase(0, count);
  return static_cast<std::ptrdiff_t>(count);
}

void FakeSockets::end_sending(int descriptor) {
  FakeSocket& socket = network_.sockets.at(descriptor);
  if (socket.client == nullptr) return;
  socket.client->is_ended = true;
  if (!socket.client->ends_with_server) return;
  socket.has_ended = socket.has_news = true;
}

void FakeSockets::close(int descriptor) {
  const auto found = network_.sockets.find(descriptor);
  FakeSocket& socket = found->second;
  socket.connection = nullptr;
  if (socket.client != nullptr) socket.client->connection = nullptr;
  if (--socket.holders > 0) return;  // and who watches it goes on to: so does epoll
  std::erase(watched_, descriptor);
  if (socket.client != nullptr) {
    socket.client->is_ended = true;
    socket.client->socket = nullptr;
  }
  network_.sockets.erase(found);
}

std::size_t FakeSockets::take(FakeSocket& socket, std::size_t offered) {
  Kernel& kernel = socket.kernel;
  std::size_t taken = std::min(offered, kernel.room);
  if (kernel.most != Kernel::kAll)
    taken = std::min(taken, static_cast<std::size_t>(network_.below(kernel.most + 1)));
  if (kernel.room != Kernel::kAll) kernel.room -= taken;
  if (taken < offered) socket.is_full = true;
  return taken;
}

std::int64_t FakeSockets::send(const Outlet& outlet, std::string_view bytes) {
  FakeSocket& socket = network_.sockets.at(outlet.descriptor);
  if (socket.kernel.is_broken || socket.is_reset) return -EPIPE;
  const std::size_t taken = take(socket, bytes.size());
  if (socket.client != nullptr) socket.client->on_bytes(bytes.substr(0, taken));
  if (taken == 0 && !bytes.empty()) return -EAGAIN;
  return static_cast<std::int64_t>(taken);
}

void FakeSockets::flush(TurnOutput& output, Millis now_ms, FlushReport& report) {
  for (const Slice& first : output.slices()) {
    if (first.outlet == nullptr) continue;
    FakeSocket& socket = network_.sockets.at(first.outlet->descriptor);
    std::string bytes;
    std::vector<std::pair<std::size_t, std::size_t>> losses;
    for (const Slice* slice = &first; slice != nullptr; slice = slice->next) {
      if (network_.loses && slice->cursor != nullptr && network_.loses(*slice))
        losses.emplace_back(bytes.size(), slice->bytes().size());
      bytes.append(slice->bytes());
    }
    if (socket.kernel.is_broken || socket.is_reset) {
      account_short(output, first, -EPIPE, now_ms, report);
      continue;
    }
    const std::size_t taken = take(socket, bytes.size());
    std::string arrived = bytes.substr(0, taken);
    for (auto it = losses.rbegin(); it != losses.rend(); ++it) {
      if (it->first + it->second > taken) continue;
      arrived.erase(it->first, it->second);
      ++network_.lost;
    }
    if (socket.client != nullptr) socket.client->on_bytes(arrived);
    if (taken == bytes.size()) {
      account_whole(first, report);
    } else {
      account_short(output, first, static_cast<std::int64_t>(taken), now_ms, report);
    }
  }
}

}  // namespace carillon::testing
