#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "env/clock.hpp"
#include "env/random.hpp"
#include "store/redis/redis_carrier.hpp"
#include "store/redis/redis_keys.hpp"
#include "store/redis/redis_link.hpp"
#include "store/redis/redis_options.hpp"
#include "store/redis/redis_scripts.hpp"
#include "store/store.hpp"

namespace carillon {

/// Whoever has a machine for each node of a cluster.
class RedisRouter {
 public:
  virtual ~RedisRouter() = default;
  /// It was not carried out: its slot is on another node, or about to go there, as `error` says.
  virtual void on_elsewhere(RedisPendingRef pending, const std::string& error) = 0;
  /// The slots may have other nodes than before.
  virtual void on_map_doubt() = 0;
};

/// Carries calls out at one Redis server: in order, again if the link was lost, with a limit in time and
/// number. Without I/O: it gets what comes over the link, and the time; it sends over the link. It knows the
/// identity of the primary that it talks to, and every script on a channel's keys carries it, so that what a
/// failover has lost is found before anything is appended or read (docs/redis.md).
///
/// All on one thread. Nothing here is called from inside of itself: what listeners and continuations ask for
/// is carried out in the same turn.
class RedisMachine final : public RedisCarrier, public RedisLinkEvents {
 public:
  /// The identity of a primary is believed for so long: then it is asked again, ahead of the next script.
  static constexpr Millis kIdentityMs = 1'000;

  RedisMachine(const RedisOptions& options, const Clock& clock, RandomSource& random)
      : options_(options), clock_(clock), random_(random) {}
  ~RedisMachine() override;

  /// Before anything else.
  void set_link(RedisLink* link) { link_ = link; }
  /// Before anything else, of a node of a cluster.
  void set_router(RedisRouter* router) { router_ = router; }
  void set_listener(RedisMachineListener* listener) override { listener_ = listener; }
  void call(RedisCall call) override;
  void tell(RedisCommand command) override;
  void flush() override;
  void tick() override;
  void close() override;
  [[nodiscard]] bool is_ready() const override { return state_ == State::ready; }
  [[nodiscard]] bool is_ready_for(std::string_view /*key*/) const override { return is_ready(); }
  [[nodiscard]] std::size_t waiting() const override {
    return again_.size() + waiting_.size() + delayed_.size() + asked_.size();
  }
  [[nodiscard]] const std::string& trouble() const override { return trouble_; }

  /// Takes a call over that another machine had, perhaps.
  void carry(RedisPendingRef pending);
  /// Gives up what is not under way, in order, for others to carry out.
  [[nodiscard]] std::vector<RedisPendingRef> take_waiting();

  void on_link_up() override;
  void on_reply(RedisReply&& reply) override;
  void on_push(RedisReply&& push) override;
  void on_link_down(const std::string& reason) override;

 private:
  enum class State : std::uint8_t { down, preparing, ready, closed };
  enum class Asked : std::uint8_t { call, adopt, script, identity, asking };
  using PendingRef = RedisPendingRef;
  struct Expected {
    Asked what = Asked::call;
    PendingRef pending;  // of a call and an adoption; null: it has been answered meanwhile
    RedisScript script = RedisScript::count;
  };

  void ask_identity();
  void send(PendingRef pending);
  void adopt(PendingRef pending);
  void say_asking();
  void give_up_with_link();
  void refuse_waiting();
  void load_scripts();
  void become_ready();
  /// In its old place: ahead of what was never sent.
  void ask_again(PendingRef pending) { again_.push_back(std::move(pending)); }
  void on_call_reply(PendingRef pending, const RedisReply& reply);
  void on_adopted(PendingRef pending, const RedisReply& reply);
  void on_error(PendingRef pending, const RedisReply& reply);
  void on_identity(const RedisReply& reply);
  void believe(std::string_view identity);
  void delay(PendingRef pending);
  void give_up_late(Millis now);
  void note_trouble(std::string reason);
  void note_success(const RedisCall& call);
  void note_refusal(const RedisCall& call, std::string_view error);
  [[nodiscard]] static std::string_view name_of(const RedisCall& call);
  [[nodiscard]] bool is_identity_fresh() const;
  [[nodiscard]] Millis pause();

  const RedisOptions& options_;
  const Clock& clock_;
  RandomSource& random_;
  RedisMachineListener* listener_ = nullptr;
  RedisLink* link_ = nullptr;
  RedisRouter* router_ = nullptr;  // none: one server, and no cluster
  State state_ = State::down;
  std::array<std::string, kRedisScripts> hashes_;  // of the scripts, as Redis knows them
  std::size_t scripts_loading_ = 0;
  std::string identity_;
  Millis identity_ms_ = 0;  // when it was asked for
  bool is_identity_asked_ = false;
  Millis identity_asked_ms_ = 0;
  Millis replied_ms_ = 0;  // when the last reply came, or nothing was asked
  std::string trouble_;
  std::string refused_;              // name of the call that is not permitted, if that is the trouble
  std::deque<PendingRef> again_;     // in order; was sent
  std::deque<PendingRef> waiting_;   // in order; not sent
  std::vector<PendingRef> delayed_;  // until not_before_ms
  std::deque<Expected> asked_;       // in order of the replies
  std::vector<RedisCommand> output_;
};

}  // namespace carillon
