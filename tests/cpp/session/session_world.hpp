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

#include "doubles/seeded_random.hpp"
#include "doubles/unreliable_store.hpp"
#include "doubles/virtual_clock.hpp"
#include "hub/hub.hpp"
#include "loop/event_loop.hpp"
#include "session/fake_sockets.hpp"
#include "session/plain_http.hpp"
#include "session/session.hpp"
#include "token/token_access.hpp"

// A deterministic world for the sessions: virtual clock, seeded chance, the real store, hub and event loops,
// over fake sockets (fake_sockets.hpp). The clients (session_clients.hpp) parse what arrives byte by byte.

namespace carillon::testing {

class World;
class Client;

/// Access that can take its time, as hooks do.
class SlowAccess final : public Access {
 public:
  explicit SlowAccess(Access& rules) : rules_(rules) {}
  [[nodiscard]] std::optional<Verdict> answer(const Question& question) const override {
    if (on_question) on_question();
    if (!slow.contains(question.operation) || quick_channels.contains(std::string(question.channel)))
      return rules_.answer(question);
    return std::nullopt;
  }
  void ask(const Question& question, std::function<void(Verdict)> then) override {
    if (on_asked) on_asked(question);
    asked.push_back(std::string(name_of(question.operation)) + " " + std::string(question.user) +
                    std::string(question.channel) +
                    (question.claimed_user.empty() ? "" : "claims " + std::string(question.claimed_user)));
    if (question.proved != nullptr) proved.push_back(question.proved->user);
    given.push_back({std::string(question.token), std::string(question.data), question.request});
    waiting.push_back(std::move(then));
  }
  [[nodiscard]] bool has_hook(Operation operation) const override { return slow.contains(operation); }
  /// Answers the oldest question, or that at `index`.
  void decide(Verdict verdict, std::size_t index = 0) {
    if (index >= waiting.size()) throw std::logic_error("nothing is asked");
    const auto then = std::move(waiting[index]);
    waiting.erase(waiting.begin() + static_cast<std::ptrdiff_t>(index));
    then(std::move(verdict));
  }

  struct Given {
    std::string token;
    std::string data;
    std::shared_ptr<const ClientRequest> request;
  };

  std::function<void()> on_question;              ///< before each
  std::function<void(const Question&)> on_asked;  ///< with each that was asked
  std::vector<Given> given;                       ///< with each that was asked
  std::set<Operation> slow;
  std::set<std::string> quick_channels;  // the rules decide there in any case
  std::vector<std::string> asked;
  std::vector<std::string> proved;  ///< users whom a token has proved
  std::deque<std::function<void(Verdict)>> waiting;

 private:
  Access& rules_;
};

inline Verdict allowed(std::string user = {}) {
  Verdict verdict;
  verdict.is_allowed = true;
  verdict.identity.user = std::move(user);
  return verdict;
}

inline Verdict denied(std::uint32_t code = 0, std::string reason = {}) {
  Verdict verdict;
  verdict.code = code;
  verdict.reason = std::move(reason);
  return verdict;
}

/// One event loop of the world.
struct WorldLoop {
  WorldLoop(World& world, std::uint32_t index);
  FakeSockets sockets;
  EventLoop loop;
  Shard& shard;
  TurnOutput& output;
  const SessionCounters& counters;
};

struct WorldOptions {
  std::uint64_t seed = 1;
  std::size_t shards = 1;
  std::vector<ChannelRules::Rule> rules;
  std::vector<std::string> allowed_origins;
  bool is_insecure = true;
  Limits limits;
  Heartbeat heartbeat;
  Millis tick_ms = 1;               ///< of the timer wheels
  TokenOptions token;               ///< of connections, and of subscriptions
  TokenOptions subscription_token;  ///< of subscriptions, if it has keys
  TokenAccess::Options access;
  std::string token_cookie;
  DeflateOptions deflate;
};

inline WorldOptions without_pings() {
  WorldOptions options;
  options.heartbeat.ping_interval_ms = 0;
  return options;
}

/// A rule for the world's channels: the defaults, but for what `change` changes.
inline ChannelRules::Rule rule(std::string pattern, const std::function<void(ChannelOptions&)>& change) {
  ChannelOptions options;
  change(options);
  return {std::move(pattern), options};
}

class World final {
 public:
  explicit World(WorldOptions world_options = {});
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // ---- what stands around the sessions
  const WorldOptions options;
  VirtualClock clock{1'000'000};
  SeededRandom random;
  UnreliableStore store;
  ChannelRules rules;
  Hub hub;
  RulesAccess rules_access;
  SlowAccess access;
  TokenAccess token_access;
  OriginPolicy origins;
  TestHandler handler;
  PlainHttp http;
  LoopShared shared;
  Endpoint endpoint;
  std::atomic<bool>& is_draining = endpoint.is_draining;
  FakeNetwork network;
  std::vector<std::unique_ptr<WorldLoop>> loops;

  // ---- acts
  void attach(Client& client, std::size_t loop, bool is_over_limit);
  /// The socket's loop reads what has happened there, and what else waits.
  void notice(FakeSocket& socket);
  /// Bytes from the client, in pieces of at most `piece` bytes, read at once.
  void deliver(Client& client, std::string_view bytes, std::size_t piece = Kernel::kAll);
  /// The client writes nothing more, but may still read.
  void end_input(Client& client);
  /// Other rules, between two turns.
  void reload(const std::vector<ChannelRules::Rule>& others) {
    rules = ChannelRules(others);
    hub.set_rules(ChannelRules(others));
  }
  /// One turn of every one.
  void turn();
  /// Turns until nothing moves any more.
  void run();
  /// Another process takes the connections and all that the hub holds: this one's is written down and given
  /// away, and a new hub with new shards goes on from that; its clock is `clock_ahead_ms` ahead. False: a
  /// session waits for an answer, so that nothing was moved.
  bool take_over(Millis clock_ahead_ms = 0) { return take_over_when(clock_ahead_ms, false).has_value(); }
  /// The same, but connections that wait for an answer stay behind: a drain asks them, and they end.
  /// Returns how many.
  std::size_t take_over_without_askers() { return *take_over_when(0, true); }
  /// Lets time pass, in one step that ends with a tick.
  void pass(Millis ms);
  /// Lets time pass; every deadline on the way is met.
  void advance(Millis ms);
  Position publish(std::string_view channel, std::string data, PublishOptions publish_options = {},
                   ContentType content = ContentType::json);
  [[nodiscard]] Ledger ledger();
  /// What the metrics of all loops say differently than this ledger; empty: nothing.
  [[nodiscard]] std::string metrics_unlike(const Ledger& ledger) const;
  [[nodiscard]] LedgerRow ledger_of(std::string_view channel);
  [[nodiscard]] std::size_t present(std::string_view channel);
  /// What others see of the clients there, sorted by client: `conn_info` and `chan_info`.
  std::vector<std::pair<std::string, std::string>> shown_in(std::string_view channel);

 private:
  struct Delivered {
    std::uint64_t deliveries = 0;
    std::array<std::uint64_t, kDropReasons> drops{};
  };
  [[nodiscard]] Delivered delivered() const;
  Delivered delivered_before_;  // by the loops of the process that was taken over from
  std::optional<std::size_t> take_over_when(Millis clock_ahead_ms, bool may_leave_behind);
  void make_loops();
};

}  // namespace carillon::testing
