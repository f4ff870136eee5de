#pragma once

#include "loop/sockets.hpp"

namespace carillon {

/// Sockets of the system, watched by an epoll set that the creator owns.
class EpollSockets final : public Sockets {
 public:
  explicit EpollSockets(int epoll_set) : epoll_set_(epoll_set) {}

  [[nodiscard]] bool watch(Connection& connection) override;
  void unwatch(const Connection& connection) override;
  std::size_t take_events(std::span<SocketEvent> events) override;
  std::ptrdiff_t receive(int descriptor, std::span<char> buffer) override;
  void end_sending(int descriptor) override;
  void close(int descriptor) override;
  [[nodiscard]] bool has_timed_out(int descriptor) override;
  [[nodiscard]] bool is_silent(int descriptor) override;
  [[nodiscard]] std::uint32_t kernel_bytes(int descriptor) override;
  [[nodiscard]] std::string peer(int descriptor) override;

 private:
  const int epoll_set_;
};

}  // namespace carillon
