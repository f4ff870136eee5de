// A whole store step by step, without a server and without a thread: what it writes under which name, and
// what becomes of that when its link is lost.
#include "store/redis/redis_store.hpp"

#include <chrono>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "store/redis/redis_presence.hpp"
#include "store/redis_world.hpp"

namespace carillon {
namespace {

using Words = std::vector<std::string>;

/// Answers as a Redis would that has nothing in it; nothing to those words that have no reply.
class EmptyRedis {
 public:
  [[nodiscard]] static bool has_reply(const Words& words) {
    return words[0] != "SUBSCRIBE" && words[0] != "UNSUBSCRIBE";
  }
  [[nodiscard]] static RedisReply reply_to(const Words& words, const Clock& clock) {
    if (words[0] == "INFO") return text_reply("role:master\r\nmaster_replid:i1\r\n");
    if (words[0] == "SCRIPT") {
      for (std::size_t i = 0; i < kRedisScripts; ++i) {
        const auto script = static_cast<RedisScript>(i);
        if (redis_script_text(script) == words[2]) return text_reply(std::string(redis_script_name(script)));
      }
    }
    if (words[0] != "EVALSHA") return {RedisReply::Kind::nil, {}, {}};
    if (words[1] == "gateway_beat") return array_reply({"ok", std::to_string(clock.wall_ms())});
    return array_reply({"ok"});
  }
};

/// The thread of a store, whose tasks run when a test says so, and its one link. While the store waits for
/// it, time passes.
class PlayedThread final : public RedisThread {
 public:
  explicit PlayedThread(VirtualClock& clock) : clock_(clock) {}

  void post(std::function<void()> task) override { posted_.push_back(std::move(task)); }
  void run(const std::function<void()>& task) override {
    run_posted();
    task();
  }
  void after(Millis delay_ms, std::function<void()> task) override {
    timers_.emplace(clock_.now_ms() + delay_ms, std::move(task));
  }
  std::unique_ptr<RedisLink> link(const RedisEndpoint& /*endpoint*/, RandomSource& /*random*/,
                                  RedisLinkEvents& events) override {
    events_ = &events;
    post([this] { events_->on_link_up(); });
    return std::make_unique<Link>(*this);
  }
  [[nodiscard]] Time now() const override { return Time(std::chrono::milliseconds(clock_.now_ms())); }
  bool wait(std::unique_lock<std::mutex>& lock, std::condition_variable& /*changed*/, Time until,
            const std::function<bool()>& is_met) override {
    while (!is_met() && now() < until) {
      lock.unlock();
      pass(kStepMs);
      lock.lock();
    }
    return is_met();
  }

  void pass(Millis ms) {
    run_posted();
    clock_.advance(ms);
    while (!timers_.empty() && timers_.begin()->first <= clock_.now_ms()) {
      const auto task = std::move(timers_.begin()->second);
      timers_.erase(timers_.begin());
      task();
      run_posted();
    }
  }
  /// The link is lost, and made again at once. Replies that are under way are lost with it.
  void renew_link() {
    ++links_;
    events_->on_link_down("the link is cut");
    events_->on_link_up();
    run_posted();
  }
  /// What was sent since the last look.
  [[nodiscard]] std::vector<Words> take_sent() { return std::exchange(recorded_.sent, {}); }

  bool is_answering = true;

 private:
  static constexpr Millis kStepMs = 100;

  class Link final : public RedisLink {
   public:
    explicit Link(PlayedThread& thread) : thread_(thread) {}
    void send(std::span<const RedisCommand> commands) override { thread_.send(commands); }
    void renew(const std::string& reason) override { ADD_FAILURE() << reason; }

   private:
    PlayedThread& thread_;
  };
  void send(std::span<const RedisCommand> commands) {
    const std::size_t first = recorded_.sent.size();
    recorded_.send(commands);
    for (std::size_t i = first; i < recorded_.sent.size(); ++i) {
      if (!is_answering || !EmptyRedis::has_reply(recorded_.sent[i])) continue;
      post([this, link = links_, reply = EmptyRedis::reply_to(recorded_.sent[i], clock_)]() mutable {
        if (link == links_) events_->on_reply(std::move(reply));
      });
    }
  }
  void run_posted() {
    while (!posted_.empty()) {
      for (const auto& task : std::exchange(posted_, {})) task();
    }
  }

  VirtualClock& clock_;
  std::vector<std::function<void()>> posted_;
  std::multimap<Millis, std::function<void()>> timers_;
  RedisLinkEvents* events_ = nullptr;
  RecordedLink recorded_;
  int links_ = 1;
};

struct RedisStoreSteps : testing::Test {
  RedisStoreSteps() {
    store.open();
    thread->pass(0);
    static_cast<void>(thread->take_sent());
  }

  /// A change of presence, as it was sent: under which name, and which names are this gateway's own.
  struct SentChange {
    std::string name;
    std::string own_names;
  };
  [[nodiscard]] std::vector<SentChange> take_changes() {
    std::vector<SentChange> changes;
    for (const Words& words : thread->take_sent()) {
      if (words[0] != "EVALSHA" || words[1] != "presence_change") continue;
      const Words arguments(words.begin() + 3 + 2, words.end());  // behind two keys
      changes.push_back({arguments.at(8).substr(1, Epoch::kLetters), arguments.at(4)});
    }
    return changes;
  }

  RedisOptions options{.url = "redis", .prefix = "test"};
  VirtualClock clock;
  SeededRandom random{1};
  PlayedThread* thread = nullptr;  // of the store
  RedisStore store{options, clock, random, [this](const auto& /*on_mistake*/) {
                     auto made = std::make_unique<PlayedThread>(clock);
                     thread = made.get();
                     return made;
                   }};
};

TEST_F(RedisStoreSteps, PresenceHasAnotherNameBehindALinkThatWasLostWithAChangeUnderWay) {
  store.add_presence("a", {"c1", "ann", ""});
  thread->pass(0);
  std::vector<SentChange> changes = take_changes();
  ASSERT_EQ(changes.size(), 1U);
  const std::string first = changes[0].name;

  thread->renew_link();
  changes = take_changes();
  ASSERT_EQ(changes.size(), 1U) << "what Redis has may be lost";
  EXPECT_EQ(changes[0].name, first) << "nothing was under way";

  thread->is_answering = false;
  store.add_presence("a", {"c2", "bob", ""});
  thread->pass(0);
  changes = take_changes();
  ASSERT_EQ(changes.size(), 1U);
  EXPECT_EQ(changes[0].name, first);
  thread->is_answering = true;
  thread->renew_link();
  for (int i = 0; i < 10; ++i) thread->pass(RedisPresence::kRetryMs / 5);  // the change has failed
  changes = take_changes();
  ASSERT_FALSE(changes.empty());
  const std::string second = changes[0].name;
  EXPECT_NE(second, first) << "Redis may still get the change, behind everything that is sent now: what it "
                              "adds has to be a dead gateway's";
  for (const SentChange& each : changes) {
    EXPECT_EQ(each.name, second);
    EXPECT_NE(each.own_names.find(' ' + first + ' '), std::string::npos) << "what it has there is its own";
  }

  thread->renew_link();
  changes = take_changes();
  ASSERT_FALSE(changes.empty());
  EXPECT_EQ(changes[0].name, second) << "nothing is in doubt any more";
}

}  // namespace
}  // namespace carillon
