#include "gateway/listener.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <utility>

namespace carillon {
namespace {

/// A socket that closes itself. Reading waits five seconds at most.
class Socket {
 public:
  explicit Socket(int descriptor = ::socket(AF_INET, SOCK_STREAM, 0)) : descriptor_(descriptor) {
    const timeval limit{5, 0};
    ::setsockopt(descriptor_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  }
  ~Socket() { close(); }
  Socket(Socket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  Socket& operator=(Socket&&) = delete;

  void connect(std::uint16_t port) const {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  /// Has the far end closed, or reset, the connection?
  [[nodiscard]] bool is_ended() const {
    char byte = 0;
    const ssize_t count = ::recv(descriptor_, &byte, 1, 0);
    return count == 0 || (count < 0 && errno == ECONNRESET);
  }
  [[nodiscard]] int option(int level, int name) const {
    int value = 0;
    socklen_t size = sizeof value;
    EXPECT_EQ(::getsockopt(descriptor_, level, name, &value, &size), 0);
    return value;
  }
  [[nodiscard]] int descriptor() const { return descriptor_; }
  void close() {
    if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
  }

 private:
  int descriptor_;
};

/// While it lives, no descriptor can be had any more.
class NoDescriptors {
 public:
  NoDescriptors() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const int lowest_free = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    ::close(lowest_free);
    const rlimit none{static_cast<rlim_t>(lowest_free), before_.rlim_max};
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  }
  ~NoDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  NoDescriptors(const NoDescriptors&) = delete;
  NoDescriptors& operator=(const NoDescriptors&) = delete;

 private:
  rlimit before_{};
};

/// A listener on a free port, and the next connection that it accepts.
struct Gate {
  explicit Gate(Listener::Options options = {})
      : listener(
            options, [this](int descriptor) { accepted.set_value(descriptor); }, [this] { ++turned_away; },
            [](const char* what) { ADD_FAILURE() << what; }) {
    listener.start();
  }
  /// Connects, and takes the accepted end.
  Socket accept(const Socket& client) {
    client.connect(listener.port());
    auto future = accepted.get_future();
    if (future.wait_for(std::chrono::seconds(5)) != std::future_status::ready) {
      ADD_FAILURE() << "not accepted";
      return Socket(-1);
    }
    Socket far_end(future.get());
    accepted = {};
    return far_end;
  }
  std::promise<int> accepted;
  std::atomic<int> turned_away{0};
  Listener listener;
};

TEST(Listener, AcceptedSocketsNeitherBlockNorWaitNorKeepThePeerForEver) {
  Gate gate({.kernel_backlog_bytes = 65'536, .stall_timeout_ms = 7'000});
  const Socket client;
  const Socket accepted = gate.accept(client);
  EXPECT_NE(::fcntl(accepted.descriptor(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(::fcntl(accepted.descriptor(), F_GETFD) & FD_CLOEXEC, 0) << "a child would keep it open";
  EXPECT_NE(accepted.option(IPPROTO_TCP, TCP_NODELAY), 0);
  EXPECT_EQ(accepted.option(IPPROTO_TCP, TCP_USER_TIMEOUT), 7'000);
  EXPECT_EQ(accepted.option(IPPROTO_TCP, TCP_NOTSENT_LOWAT), 65'536);
}

TEST(Listener, WithoutDescriptorsWhoComesIsTurnedAwayAndCounted) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "UndefinedBehaviorSanitizer tries addresses by a pipe, which takes descriptors";
#endif
  Gate gate;
  Socket first;
  Socket second;
  const Socket third;
  {
    const NoDescriptors none;
    first.connect(gate.listener.port());
    EXPECT_TRUE(first.is_ended());
    second.connect(gate.listener.port());
    EXPECT_TRUE(second.is_ended()) << "it can be done again";
  }
  const Socket accepted = gate.accept(third);
  EXPECT_GE(accepted.descriptor(), 0) << "it goes on when there are some";
  EXPECT_EQ(gate.turned_away, 2);
}

TEST(Listener, APortIsFreeAgainAtOnceForASuccessor) {
  std::uint16_t port = 0;
  Socket client;
  {
    Gate gate;
    port = gate.listener.port();
    Socket accepted = gate.accept(client);
    accepted.close();  // the side that closes first keeps the address for a minute
    EXPECT_TRUE(client.is_ended());
  }
  EXPECT_NO_THROW(Gate({.port = port}));
}

TEST(Listener, APortThatIsTakenIsTold) {
  const Gate gate;
  EXPECT_THROW(Gate({.port = gate.listener.port()}), std::system_error);
}

}  // namespace
}  // namespace carillon
