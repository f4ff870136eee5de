#include "gateway/gateway_shard.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <future>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "gateway/beast_http.hpp"
#include "gateway/fork_guard.hpp"
#include "session/access.hpp"
#include "session/origin.hpp"
#include "store/memory_store.hpp"

namespace carillon {
namespace {

constexpr std::string_view kStream = "GET /sse?channel=c HTTP/1.1\r\nHost: localhost\r\n\r\n";

class NoPages final : public HttpHandler {
 public:
  [[nodiscard]] std::optional<HttpResponse> refusal_of(const HttpRequest& /*head*/,
                                                       const HttpTarget& /*target*/,
                                                       bool /*is_internal*/) const override {
    return std::nullopt;
  }
  void handle(const HttpRequest& /*request*/, BodyBudget::Share /*body_memory*/, const HttpTarget& /*target*/,
              Respond respond) override {
    respond({.status = 404});
  }
};

/// A forked process that lives until this ends. It finds out something first.
class Child {
 public:
  explicit Child(const std::function<bool()>& question) {
    EXPECT_EQ(::pipe2(to_child_, O_CLOEXEC), 0);
    EXPECT_EQ(::pipe2(from_child_, O_CLOEXEC), 0);
    process_ = ::fork();
    if (process_ != 0) return;
    ::close(to_child_[1]);
    char byte = question() ? 'y' : 'n';
    if (::write(from_child_[1], &byte, 1) != 1) ::_exit(1);
    ::_exit(::read(to_child_[0], &byte, 1) == 0 ? 0 : 1);
  }
  ~Child() {
    for (const int end : {to_child_[0], to_child_[1], from_child_[0], from_child_[1]}) ::close(end);
    ::waitpid(process_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  /// What it found.
  bool answer() {
    char byte = 0;
    EXPECT_EQ(::read(from_child_[0], &byte, 1), 1);
    return byte == 'y';
  }

 private:
  int to_child_[2] = {-1, -1};
  int from_child_[2] = {-1, -1};
  pid_t process_ = -1;
};

/// A shard on its thread, without io_uring and (where the machine has it) with it. Its connections are socket
/// pairs: what TCP does by itself does not help it here.
struct GatewayShardTest : testing::TestWithParam<bool> {
  GatewayShardTest() {
    hub.set_shards({&gateway_shard.shard()});
    gateway_shard.start(GetParam());
  }
  ~GatewayShardTest() override {
    gateway_shard.stop();
    hub.set_shards({});
    for (const int far_end : far_ends) ::close(far_end);
  }
  /// A client that sends a request and then reads nothing; `leaves` ends its side with it.
  void connect(std::string_view request, bool leaves = false) {
    int ends[2];
    {
      ForkGuard guard;
      ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
      if (is_guarded) guard.add(ends[0]);  // as a listener does
    }
    near_ends.push_back(ends[0]);
    far_ends.push_back(ends[1]);
    const timeval limit{10, 0};
    ::setsockopt(ends[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ASSERT_EQ(::send(ends[1], request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
    if (leaves) ::shutdown(ends[1], SHUT_WR);
    shared.admission.begin_refusal();
    gateway_shard.adopt(ends[0], false, shared.endpoint);
  }
  /// Whatever the sockets had to tell before has been read then.
  void wait_for_a_turn() {
    std::promise<void> done;
    gateway_shard.for_each_session([](Session&) {}, [&done] { done.set_value(); });
    done.get_future().wait();
  }
  /// Has the shard closed its side?
  static bool is_ended(int far_end) {
    pollfd watched{far_end, POLLRDHUP, 0};
    return ::poll(&watched, 1, 0) == 1;
  }
  template <typename Condition>
  static bool becomes(Condition condition) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!condition() && std::chrono::steady_clock::now() < until) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return condition();
  }

  SystemClock clock;
  SystemRandom random;
  MemoryStore store{clock, random, {}};
  ChannelRules rules;
  Hub hub{clock, random, store, rules, HubLimits{}};
  RulesAccess access{rules, true};
  OriginPolicy origins{{}, true};
  NoPages pages;
  BeastHttp http;
  Limits limits;
  Heartbeat heartbeat;
  GatewayShared shared{{.hub = hub,
                        .access = access,
                        .origins = origins,
                        .handler = pages,
                        .http = http,
                        .random = random,
                        .limits = limits,
                        .heartbeat = heartbeat,
                        .version = "test"}};
  GatewayShard gateway_shard{0, shared, {}, [](GatewayShard&, const char* what) { ADD_FAILURE() << what; }};
  std::vector<int> far_ends;
  std::vector<int> near_ends;  // the shard's
  bool is_guarded = true;      // a forked child has none of them
};

TEST_P(GatewayShardTest, WhoTakesNothingForTooLongIsDroppedAsSlow) {
  limits.stall_timeout_ms = 200;  // before anything is connected
  connect(kStream);
  ASSERT_TRUE(becomes([this] { return hub.subscriptions() == 1; })) << "its stream is counted before that";
  hub.publish("c", {.data = std::string(1'000'000, ' ')}, {}, [](const AppendResult&) {});
  EXPECT_TRUE(becomes([this] { return shared.connections == 0; }));
  EXPECT_EQ(gateway_shard.counters().slow, 1U);
  EXPECT_TRUE(becomes([this] { return gateway_shard.counters().sse == 0; })) << "once its turn is over";
}

TEST_P(GatewayShardTest, AnEndThatComesWithTheRequestIsSeen) {
  connect(kStream, true);
  EXPECT_TRUE(becomes([this] { return gateway_shard.counters().requests == 1 && shared.connections == 0; }));
}

TEST_P(GatewayShardTest, AStopTakesItsConnectionsOffEveryCount) {
  for (int i = 0; i < 3; ++i) connect(kStream);
  connect("GET");  // a handshake that is not over
  ASSERT_TRUE(becomes([this] { return gateway_shard.counters().sse == 3; }));
  EXPECT_EQ(shared.admission.handshakes(), 1U);
  gateway_shard.drain(shared.endpoint, 60'000);
  ASSERT_TRUE(becomes([this] { return shared.endpoint.asked == 4; }));
  gateway_shard.stop();
  EXPECT_EQ(shared.connections, 0U);
  EXPECT_EQ(shared.endpoint.connections, 0U);
  EXPECT_EQ(shared.endpoint.asked, 0U);
  EXPECT_EQ(shared.admission.handshakes(), 0U);
  EXPECT_EQ(gateway_shard.counters().sse, 0U);
}

TEST_P(GatewayShardTest, AStopGivesTheSlotsOfHandshakesBack) {
  connect("GET");
  connect(kStream);  // taken after the other
  ASSERT_TRUE(becomes([this] { return gateway_shard.counters().sse == 1; }));
  ASSERT_EQ(shared.admission.handshakes(), 1U);
  gateway_shard.stop();
  EXPECT_EQ(shared.admission.handshakes(), 0U);
}

TEST_P(GatewayShardTest, WhoGoesIsTakenOffEveryCount) {
  connect(kStream);
  connect("GET");
  ASSERT_TRUE(becomes([this] { return gateway_shard.counters().sse == 1; }));
  EXPECT_EQ(shared.endpoint.connections, 2U);
  EXPECT_EQ(shared.admission.handshakes(), 1U);
  for (const int far_end : far_ends) ::shutdown(far_end, SHUT_RDWR);
  EXPECT_TRUE(becomes([this] { return shared.connections == 0; }));
  EXPECT_EQ(shared.endpoint.connections, 0U);
  EXPECT_EQ(shared.admission.handshakes(), 0U);
}

TEST_P(GatewayShardTest, WhoGoesBeforeItsMomentInADrainIsNotAwaited) {
  connect(kStream);
  connect("GET");
  ASSERT_TRUE(becomes([this] { return gateway_shard.counters().sse == 1; }));
  gateway_shard.drain(shared.endpoint, 60'000);
  ASSERT_TRUE(becomes([this] { return shared.endpoint.asked == 2; }));
  for (const int far_end : far_ends) ::shutdown(far_end, SHUT_RDWR);
  EXPECT_TRUE(becomes([this] { return shared.connections == 0; }));
  EXPECT_EQ(shared.endpoint.asked, 0U);
}

TEST_P(GatewayShardTest, AThreadThatHasNotAskedItsClientsYetIsAwaited) {
  connect(kStream);
  ASSERT_TRUE(becomes([this] { return gateway_shard.counters().sse == 1; }));
  std::promise<void> goes_on;
  gateway_shard.shard().post([&] { goes_on.get_future().wait(); });
  gateway_shard.drain(shared.endpoint, 60'000);
  EXPECT_EQ(shared.endpoint.asked, 1U) << "else everybody would seem to have left";
  gateway_shard.drain(shared.endpoint, 0);
  goes_on.set_value();
  EXPECT_TRUE(becomes([this] { return shared.connections == 0; }));
  EXPECT_EQ(shared.endpoint.asked, 0U);
}

TEST_P(GatewayShardTest, AConnectionThatIsGoneBringsNoEventThoughAForkedProcessHoldsItsSocket) {
  is_guarded = false;
  connect(kStream);
  ASSERT_TRUE(becomes([this] { return gateway_shard.counters().sse == 1; }));
  Child child([this] { return ::fcntl(near_ends[0], F_GETFD) >= 0; });
  ASSERT_TRUE(child.answer());
  gateway_shard.cut_off(shared.endpoint);
  ASSERT_TRUE(becomes([this] { return shared.connections == 0; }));
  wait_for_a_turn();                              // it is freed
  for (int i = 0; i < 20; ++i) connect(kStream);  // one of them has its memory
  ASSERT_TRUE(becomes([this] { return gateway_shard.counters().sse == 20; }));
  ::shutdown(far_ends[0], SHUT_RDWR);
  wait_for_a_turn();
  EXPECT_EQ(shared.connections, 20U) << "an event of the old one has met a new one";
}

TEST_P(GatewayShardTest, AForkedProcessKeepsNoConnectionAlive) {
  connect(kStream);
  ASSERT_TRUE(becomes([this] { return gateway_shard.counters().sse == 1; }));
  Child child([this] { return ::fcntl(near_ends[0], F_GETFD) >= 0; });
  EXPECT_FALSE(child.answer()) << "it has the connection";
  gateway_shard.cut_off(shared.endpoint);
  EXPECT_TRUE(becomes([this] { return is_ended(far_ends[0]); })) << "while the child lives";
}

TEST_P(GatewayShardTest, ASocketThatNobodyTakesIsOffEveryCount) {
  gateway_shard.stop();
  connect(kStream);
  EXPECT_EQ(shared.connections, 0U);
  EXPECT_EQ(shared.endpoint.connections, 0U);
  EXPECT_EQ(shared.admission.handshakes(), 0U);
  EXPECT_TRUE(is_ended(far_ends[0]));
}

TEST_P(GatewayShardTest, ADrainIsSpreadOverItsTime) {
  for (int i = 0; i < 60; ++i) connect(kStream);
  ASSERT_TRUE(becomes([this] { return gateway_shard.counters().sse == 60; }));
  const auto began = std::chrono::steady_clock::now();
  gateway_shard.drain(shared.endpoint, 500);
  const auto gone = [this] { return std::count_if(far_ends.begin(), far_ends.end(), is_ended); };
  EXPECT_TRUE(becomes([&] { return gone() > 0; }));
  EXPECT_LT(gone(), 30) << "each at a moment of its own";
  EXPECT_TRUE(becomes([this] { return std::all_of(far_ends.begin(), far_ends.end(), is_ended); }));
  EXPECT_GE(std::chrono::steady_clock::now() - began, std::chrono::milliseconds(400));
}

TEST_P(GatewayShardTest, AnEndWaitsForTheRestOfACutFrame) {
  connect(kStream);
  ASSERT_TRUE(becomes([this] { return hub.subscriptions() == 1; }));
  hub.publish("c", {.data = std::string(1'000'000, ' ')}, {}, [](const AppendResult&) {});
  // Cut in two, for the socket cannot hold it.
  ASSERT_TRUE(becomes([this] {
    int waiting = 0;
    return ::ioctl(far_ends[0], FIONREAD, &waiting) == 0 && waiting > 10'000;
  }));
  gateway_shard.drain(shared.endpoint, 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(150));  // three ticks, in which it must not end
  std::array<char, 65'536> buffer;
  std::size_t spaces = 0;
  for (ssize_t count = 0; (count = ::recv(far_ends[0], buffer.data(), buffer.size(), 0)) > 0;) {
    spaces += static_cast<std::size_t>(std::count(buffer.begin(), buffer.begin() + count, ' '));
  }
  EXPECT_GE(spaces, 1'000'000U);
  EXPECT_TRUE(is_ended(far_ends[0])) << "and comes behind it";
}

INSTANTIATE_TEST_SUITE_P(Flush, GatewayShardTest, testing::Bool(),
                         [](const auto& each) { return each.param ? "Uring" : "Send"; });

}  // namespace
}  // namespace carillon
