#include "gateway/listener.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "gateway/fork_guard.hpp"

namespace {
std::atomic<int> accept_error{0};  // 0: none, the system is asked
std::atomic<int> accepts{0};
}  // namespace

/// In place of the C library's, for the listener as well.
extern "C" int accept4(int listening, sockaddr* address, socklen_t* size, int flags) {
  ++accepts;
  errno = accept_error;
  return errno != 0 ? -1 : static_cast<int>(::syscall(SYS_accept4, listening, address, size, flags));
}

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

template <typename Condition>
bool becomes(Condition condition) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!condition() && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return condition();
}

/// A listener on a free port, and the next connection that it accepts.
struct Gate {
  explicit Gate(Listener::Options options = {})
      : listener(options, admission,
                 {.accepted = [this](int descriptor) { accepted.set_value(descriptor); },
                  .to_refuse = [this](int descriptor) { refused.push_back(descriptor); },
                  .turned_away = [this] { ++turned_away; },
                  .failed = [](const char* what) { ADD_FAILURE() << what; }}) {
    listener.start();
  }
  ~Gate() {
    listener.stop();
    for (const int descriptor : refused) ::close(descriptor);
  }
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;
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
  std::vector<int> refused;  // only of the listener's thread, until it has stopped
  std::atomic<int> turned_away{0};
  Admission admission{Limits{}};
  Listener listener;
};

TEST(Listener, AcceptedSocketsNeitherBlockNorWaitNorKeepThePeerForEver) {
  Gate gate({.kernel_backlog_bytes = 65'536, .stall_timeout_ms = 7'000});
  const Socket client;
  const Socket accepted = gate.accept(client);
  EXPECT_NE(::fcntl(accepted.descriptor(), F_GETFL) & O_NONBLOCK, 0);
  for (const int each : {accepted.descriptor(), gate.listener.descriptor()}) {
    EXPECT_NE(::fcntl(each, F_GETFD) & FD_CLOEXEC, 0) << "a child would keep it open";
  }
  EXPECT_NE(accepted.option(IPPROTO_TCP, TCP_NODELAY), 0);
  EXPECT_EQ(accepted.option(IPPROTO_TCP, TCP_USER_TIMEOUT), 7'000);
  EXPECT_EQ(accepted.option(IPPROTO_TCP, TCP_NOTSENT_LOWAT), 65'536);
}

TEST(Listener, WithoutDescriptorsWhoComesIsTurnedAwayAndCounted) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "UndefinedBehaviorSanitizer tries addresses by a pipe, which takes descriptors";
#endif
  Gate gate;
  std::vector<Socket> silent(40);
  const Socket speaking;
  const Socket last;
  {
    const NoDescriptors none;
    for (const Socket& each : silent) each.connect(gate.listener.port());
    // The reserve is for those who say something: half of it is all that silent ones get.
    for (std::size_t i = 20; i < silent.size(); ++i) EXPECT_TRUE(silent[i].is_ended());
    speaking.connect(gate.listener.port());
    ASSERT_EQ(::send(speaking.descriptor(), "GET", 3, 0), 3);
    EXPECT_TRUE(becomes([&] { return gate.admission.handshakes() == 0 && gate.listener.backlog() == 0; }));
  }
  const Socket accepted = gate.accept(last);
  EXPECT_GE(accepted.descriptor(), 0) << "it goes on when there are some";
  gate.listener.stop();
  EXPECT_EQ(gate.turned_away + static_cast<int>(gate.refused.size()), 41);
  EXPECT_EQ(gate.refused.size(), 9U);
}

/// A listener with limits, and all that it has accepted.
struct Crowd {
  explicit Crowd(const Limits& limits)
      : admission(limits),
        listener({}, admission,
                 {.accepted =
                      [this](int descriptor) {
                        ends.emplace_back(descriptor);
                        ++accepted;
                      },
                  .to_refuse = [](int descriptor) { ::close(descriptor); },
                  .turned_away = [] {},
                  .failed = [](const char* what) { ADD_FAILURE() << what; }}) {
    listener.start();
  }
  ~Crowd() { listener.stop(); }
  Crowd(const Crowd&) = delete;
  Crowd& operator=(const Crowd&) = delete;
  void connect(int count) {
    for (int i = 0; i < count; ++i) clients.emplace_back().connect(listener.port());
  }

  std::vector<Socket> clients;
  std::vector<Socket> ends;
  std::atomic<int> accepted{0};
  Admission admission;
  Listener listener;
};

TEST(Listener, WhoIsOverTheHandshakesWaitsInTheBacklogUntilOneIsOver) {
  Limits limits;
  limits.handshakes = 5;
  Crowd crowd(limits);
  crowd.connect(12);
  EXPECT_TRUE(becomes([&] { return crowd.accepted == 5 && crowd.admission.pauses() > 0; }));
  EXPECT_EQ(crowd.listener.backlog(), 7U) << "told, and not refused";
  crowd.admission.end_handshake();
  crowd.admission.end_handshake();
  EXPECT_TRUE(becomes([&] { return crowd.accepted == 7; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(crowd.accepted, 7);
  EXPECT_EQ(crowd.admission.handshakes(), 5U);
  EXPECT_EQ(crowd.listener.backlog(), 5U);
}

TEST(Listener, WhoIsOverTheRateWaitsInTheBacklogForItsTurn) {
  Limits limits;
  limits.accepts_per_s = 100;
  limits.accept_burst = 10;
  Crowd crowd(limits);
  const auto began = std::chrono::steady_clock::now();
  crowd.connect(40);
  EXPECT_TRUE(becomes([&] { return crowd.accepted >= 10; }));
  EXPECT_TRUE(becomes([&] { return crowd.accepted == 40; }));
  EXPECT_GE(std::chrono::steady_clock::now() - began, std::chrono::milliseconds(290)) << "30 at 100 a second";
  EXPECT_GT(crowd.admission.pauses(), 0U);
}

TEST(Listener, WhoIsWithinTheLimitsDoesNotWait) {
  Crowd crowd(Limits{});
  crowd.connect(500);
  EXPECT_TRUE(becomes([&] { return crowd.accepted == 500; }));
  EXPECT_EQ(crowd.admission.pauses(), 0U);
}

TEST(Admission, ARateIsKeptWhateverComesAndABurstAfterAQuietTime) {
  Limits limits;
  limits.accepts_per_s = 1'000;
  limits.accept_burst = 50;
  limits.handshakes = 0;
  Admission admission(limits);
  Admission::Clock::time_point now{std::chrono::hours(1)};
  int let_in = 0;
  const auto come = [&](std::chrono::milliseconds time) {
    for (const auto until = now + time; now < until; now += std::chrono::microseconds(100)) {
      if (!admission.begin_handshake(now)) ++let_in;
    }
  };
  come(std::chrono::milliseconds(1'000));
  EXPECT_NEAR(let_in, 1'050, 1);
  come(std::chrono::milliseconds(1'000));
  EXPECT_NEAR(let_in, 2'050, 1);
  now += std::chrono::minutes(1);
  come(std::chrono::milliseconds(1));
  EXPECT_NEAR(let_in, 2'060, 1) << "ten came";
}

TEST(Admission, WhoDidNotComeAfterAllTookNothing) {
  Limits limits;
  limits.accepts_per_s = 1;
  limits.accept_burst = 1;
  limits.handshakes = 1;
  Admission admission(limits);
  const Admission::Clock::time_point now{std::chrono::hours(1)};
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(admission.begin_handshake(now));
    admission.give_back();
  }
  EXPECT_FALSE(admission.begin_handshake(now));
  EXPECT_TRUE(admission.begin_handshake(now)) << "a handshake is under way";
  admission.end_handshake();
  EXPECT_EQ(admission.begin_handshake(now), std::chrono::seconds(1)) << "and the rate is used up";
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

TEST(Listener, AStopEndsThePortAlsoWhereACopyOfItsSocketIsLeft) {
  Gate gate;
  const Socket copy(::fcntl(gate.listener.descriptor(), F_DUPFD_CLOEXEC, 0));  // as another process has it
  const std::uint16_t port = gate.listener.port();
  gate.listener.stop();
  const Socket client;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(client.descriptor(), reinterpret_cast<const sockaddr*>(&address), sizeof address), -1);
  EXPECT_EQ(errno, ECONNREFUSED);
  EXPECT_NO_THROW(Gate({.port = port}));
}

/// A listening socket under a given number, with one connection in its backlog.
struct Namesake {
  explicit Namesake(int number) {
    sockaddr_in address{};
    socklen_t size = sizeof address;
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(other.descriptor(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(other.descriptor(), 1), 0);
    EXPECT_EQ(::getsockname(other.descriptor(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    client.connect(ntohs(address.sin_port));
    if (other.descriptor() != number) copy.emplace(::dup2(other.descriptor(), number));
  }
  Socket other;
  Socket client;
  std::optional<Socket> copy;
};

TEST(Listener, OnceItIsClosedItHasNoBacklogWhoeverHasTheNumberOfItsSocket) {
  Gate gate;
  const int number = gate.listener.descriptor();
  gate.listener.stop();
  const Namesake namesake(number);
  EXPECT_EQ(gate.listener.backlog(), 0U);

  Gate given_away;
  const int given_number = given_away.listener.descriptor();
  const auto point = std::make_shared<HoldPoint>();
  given_away.listener.hold(point);
  ASSERT_TRUE(point->wait_stopped(HoldPoint::Clock::now() + std::chrono::seconds(5)));
  point->release(HoldPoint::Next::give_away);
  ASSERT_TRUE(becomes([&] { return ::fcntl(given_number, F_GETFD) < 0; }));
  const Namesake other(given_number);
  EXPECT_EQ(given_away.listener.backlog(), 0U);
}

TEST(Listener, AForkedChildHasNeitherItsSocketNorTheConnections) {
  Gate gate;
  const Socket client;
  const Socket accepted = gate.accept(client);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto is_open = [](int descriptor) { return ::fcntl(descriptor, F_GETFD) >= 0; };
    ::_exit((is_open(gate.listener.descriptor()) ? 1 : 0) + (is_open(accepted.descriptor()) ? 2 : 0) +
            (is_open(client.descriptor()) ? 0 : 4));
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0) << "1: the listener's, 2: the connection, 4: not somebody else's";
  ASSERT_EQ(::send(accepted.descriptor(), "x", 1, 0), 1) << "the parent has all of them";
}

TEST(Listener, AForkedChildCanListenItself) {
  Gate gate;
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(10);  // in place of an end that may never come
    {
      const ForkGuard guard;
    }
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(Listener, AForkedChildKeepsWhatHasTakenTheNumberOfAClosedConnection) {
  Gate gate;
  const Socket client;
  Socket accepted = gate.accept(client);
  const int number = accepted.descriptor();
  accepted.close();
  ASSERT_EQ(::dup2(client.descriptor(), number), number);
  const Socket other(number);
  const pid_t child = ::fork();
  if (child == 0) ::_exit(::fcntl(number, F_GETFD) >= 0 ? 0 : 1);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(Listener, ItPausesWhenAcceptingFailsHoweverItFails) {
  constexpr int kPauses = 4;
  constexpr int kAcceptsPerEvent = 256;
  for (const int error : {EPERM, EINVAL, EPROTO, ENOTSOCK, EOPNOTSUPP, ECONNABORTED, EINTR}) {
    Gate gate;
    // Of a newcomer who has gone again nothing follows for the next one.
    const int at_once = error == ECONNABORTED || error == EINTR ? kAcceptsPerEvent : 1;
    const auto began = std::chrono::steady_clock::now();
    accepts = 0;
    accept_error = error;
    const Socket client;
    auto accepted = gate.accepted.get_future();
    client.connect(gate.listener.port());
    EXPECT_TRUE(becomes([&] { return accepts > kPauses * at_once; }));
    EXPECT_GE(std::chrono::steady_clock::now() - began, kPauses * std::chrono::milliseconds(10)) << error;
    accept_error = 0;
    ASSERT_EQ(accepted.wait_for(std::chrono::seconds(10)), std::future_status::ready);
    const Socket near_end(accepted.get());
    // One more counts for the moment of the attempt that finds nobody.
    EXPECT_TRUE(becomes([&] { return gate.admission.handshakes() == 1; }))
        << "of those that failed none counts";
  }
}

TEST(Listener, APortThatIsTakenIsTold) {
  const Gate gate;
  EXPECT_THROW(Gate({.port = gate.listener.port()}), std::system_error);
}

}  // namespace
}  // namespace carillon
