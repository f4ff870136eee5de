#include "gateway/epoll_sockets.hpp"

#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <cerrno>

#include "loop/connection.hpp"

namespace carillon {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {
constexpr std::size_t kEventsPerCall = 64;
}

bool EpollSockets::watch(Connection& connection) {
  // Edge-triggered for both directions from the start: a connection that clogs needs no further call.
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.ptr = &connection;
  return ::epoll_ctl(epoll_set_, EPOLL_CTL_ADD, connection.outlet.descriptor, &event) == 0;
}

void EpollSockets::unwatch(const Connection& connection) {
  ::epoll_ctl(epoll_set_, EPOLL_CTL_DEL, connection.outlet.descriptor, nullptr);
}

std::size_t EpollSockets::take_events(std::span<SocketEvent> events) {
  std::array<epoll_event, kEventsPerCall> found;
  const auto room = static_cast<int>(std::min(found.size(), events.size()));
  const int count = ::epoll_wait(epoll_set_, found.data(), room, 0);
  if (count <= 0) return 0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
    const std::uint32_t bits = found[i].events;
    events[i] = {.connection = static_cast<Connection*>(found[i].data.ptr),
                 .is_readable = (bits & EPOLLIN) != 0,
                 .is_writable = (bits & EPOLLOUT) != 0,
                 .is_hung_up = (bits & EPOLLRDHUP) != 0,
                 .is_broken = (bits & (EPOLLERR | EPOLLHUP)) != 0};
  }
  return static_cast<std::size_t>(count);
}

std::ptrdiff_t EpollSockets::receive(int descriptor, std::span<char> buffer) {
  const ssize_t count = ::recv(descriptor, buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (count >= 0) return count;
  return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? kNothing : kBroken;
}

void EpollSockets::end_sending(int descriptor) { ::shutdown(descriptor, SHUT_WR); }

void EpollSockets::close(int descriptor) { ::close(descriptor); }

bool EpollSockets::has_timed_out(int descriptor) {
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &size);
  return error == ETIMEDOUT;  // TCP_USER_TIMEOUT
}

bool EpollSockets::is_silent(int descriptor) {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return false;
  return info.tcpi_last_ack_recv > info.tcpi_last_data_sent;
}

std::uint32_t EpollSockets::kernel_bytes(int descriptor) {
  std::array<std::uint32_t, SK_MEMINFO_VARS> memory{};
  socklen_t size = sizeof memory;
  ::getsockopt(descriptor, SOL_SOCKET, SO_MEMINFO, memory.data(), &size);
  return memory[SK_MEMINFO_WMEM_QUEUED];
}

std::string EpollSockets::peer(int descriptor) {
  tcp::endpoint endpoint;
  auto size = static_cast<socklen_t>(endpoint.capacity());
  bool is_known = ::getpeername(descriptor, endpoint.data(), &size) == 0;
  // A connection that was reset has no peer any more, but Linux remembers; it wants the exact size.
  for (const std::size_t exact : {sizeof(sockaddr_in6), sizeof(sockaddr_in)}) {
    if (is_known) break;
    size = static_cast<socklen_t>(exact);
    is_known = ::getsockopt(descriptor, SOL_SOCKET, SO_PEERNAME, endpoint.data(), &size) == 0;
  }
  if (!is_known) return {};
  endpoint.resize(size);
  const std::string port = ":" + std::to_string(endpoint.port());
  const asio::ip::address address = endpoint.address();
  return (address.is_v6() ? "[" + address.to_string() + "]" : address.to_string()) + port;
}

}  // namespace carillon
