#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "doubles/held_store.hpp"
#include "doubles/seeded_random.hpp"
#include "doubles/virtual_clock.hpp"
#include "hub/hub.hpp"
#include "session/plain_http.hpp"
#include "session/session.hpp"

// A deterministic world for the sessions: virtual clock, seeded chance, the real store, hub, shards and turn
// output, and in place of sockets a kernel per connection that takes as little as a test wants. A turn goes
// as the gateway's does. What the kernel took has arrived: the clients (session_clients.hpp) parse it byte by
// byte.

namespace carillon::testing {

class World;
class Client;
struct Lane;

/// What the operating system does for one connection.
struct Kernel {
  static constexpr std::size_t kAll = static_cast<std::size_t>(-1);
  std::size_t room = kAll;  ///< takes so many bytes, then no more until there is room again
  std::size_t most = kAll;  ///< takes a random number of bytes in [0, most] per call
  bool is_broken = false;   ///< the next call fails
};

struct TestConnection {
  Outlet outlet;  // first: the host finds the connection by it
  std::unique_ptr<Session> session;
  Lane* lane = nullptr;
  Client* client = nullptr;
  Kernel kernel;
  std::string unread;  // waits while reading is paused
  bool is_reading_paused = false;
  bool is_close_wanted = false;
  bool is_gone = false;
};

/// Access that can take its time, as hooks do.
class SlowAccess final : public Access {
 public:
  explicit SlowAccess(Access& rules) : rules_(rules) {}
  [[nodiscard]] std::optional<Verdict> answer(const Question& question) const override {
    if (slow.contains(question.operation)) return std::nullopt;
    return rules_.answer(question);
  }
  void ask(const Question& question, std::function<void(Verdict)> then) override {
    asked.push_back(std::string(name_of(question.operation)) + " " + std::string(question.user) +
                    std::string(question.channel));
    waiting.push_back(std::move(then));
  }
  /// Answers the oldest question.
  void decide(Verdict verdict) {
    if (waiting.empty()) throw std::logic_error("nothing is asked");
    const auto then = std::move(waiting.front());
    waiting.pop_front();
    then(std::move(verdict));
  }

  std::set<Operation> slow;
  std::vector<std::string> asked;
  std::deque<std::function<void(Verdict)>> waiting;

 private:
  Access& rules_;
};

/// One shard with its connections.
struct Lane {
  Lane(World& world, std::uint32_t index);
  SessionCounters counters;
  Shard shard;
  TurnOutput output;
  std::unique_ptr<SessionContext> context;
  std::vector<std::unique_ptr<TestConnection>> connections;
  std::vector<std::unique_ptr<TestConnection>> graveyard;
  std::vector<std::unique_ptr<Session>> replaced;
};

struct WorldOptions {
  std::uint64_t seed = 1;
  std::size_t shards = 1;
  std::vector<ChannelRules::Rule> rules;
  std::vector<std::string> allowed_origins;
  bool is_insecure = true;
  Limits limits;
  Heartbeat heartbeat;
};

/// A rule for the world's channels: the defaults, but for what `change` changes.
inline ChannelRules::Rule rule(std::string pattern, const std::function<void(ChannelOptions&)>& change) {
  ChannelOptions options;
  change(options);
  return {std::move(pattern), options};
}

class World final : private ConnectionHost {
 public:
  explicit World(WorldOptions world_options = {});
  ~World() override;

  // ---- what stands around the sessions
  const WorldOptions options;
  VirtualClock clock{1'000'000};
  SeededRandom random;
  HeldStore store;
  const ChannelRules rules;
  Hub hub;
  RulesAccess rules_access;
  SlowAccess access;
  OriginPolicy origins;
  TestHandler handler;
  PlainHttp http;
  std::atomic<bool> is_draining{false};
  int handshakes_over = 0;  // told more than once for some
  std::vector<std::unique_ptr<Lane>> lanes;
  /// Called for every slice with entries that leaves whole; true: the bytes are lost on the way, yet claimed
  /// as sent.
  std::function<bool(const Slice&)> loses;
  std::size_t lost = 0;  ///< how often

  // ---- acts
  void attach(Client& client, std::size_t lane, bool is_over_limit);
  /// Bytes from the client, in pieces of at most `piece` bytes.
  void deliver(TestConnection& connection, std::string_view bytes, std::size_t piece = Kernel::kAll);
  /// The connection breaks, without a word.
  void cut(TestConnection& connection);
  /// One turn of every shard.
  void turn();
  /// Turns until nothing moves any more.
  void run();
  /// Another process takes the connections and all that the hub holds: this one's is written down and given
  /// away, and a new hub with new shards goes on from that; its clock is `clock_ahead_ms` ahead. False: a
  /// session waits for an answer, so that nothing was moved.
  bool take_over(Millis clock_ahead_ms = 0);
  /// Lets time pass; every deadline on the way is met.
  void advance(Millis ms);
  Position publish(std::string_view channel, std::string data, PublishOptions publish_options = {},
                   ContentType content = ContentType::json);
  [[nodiscard]] Ledger ledger();
  [[nodiscard]] LedgerRow ledger_of(std::string_view channel);
  [[nodiscard]] std::size_t present(std::string_view channel);

 private:
  friend struct Lane;
  void make_lanes();
  void close(Outlet& outlet) override;
  void replace(Outlet& outlet, std::unique_ptr<Session> successor) override;
  void pause_reading(Outlet& outlet, bool is_paused) override;
  void reschedule(Outlet& outlet) override;
  void end_handshake(Outlet& /*outlet*/) override { ++handshakes_over; }
  [[nodiscard]] std::string peer(const Outlet& /*outlet*/) const override { return "192.0.2.1:1024"; }

  bool turn(Lane& lane);
  bool flush_rest(TestConnection& connection);
  void flush(Lane& lane);
  std::size_t take(TestConnection& connection, std::size_t offered);
  void settle(Lane& lane);
  void drop(TestConnection& connection);
  [[nodiscard]] Millis deadline_of(const TestConnection& connection) const;
};

}  // namespace carillon::testing
