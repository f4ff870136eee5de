#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "store/redis/redis_carrier.hpp"
#include "store/redis/redis_gateways.hpp"
#include "store/redis/redis_keys.hpp"
#include "store/redis/redis_log.hpp"
#include "store/redis/redis_options.hpp"

namespace carillon {

/// As the hash of a channel has it, for positions that were noted in an earlier epoch.
struct RedisEpochTimes {
  std::string began;  ///< when the epoch began, by the time of Redis in ms
  std::string ended;  ///< "began:offset" of those before it, ascending: the offset at which each ended
};

/// Members, read positions and inboxes in Redis (redis_member_scripts.hpp). All between a user's read
/// position and the channel's top is unread, whether a walk has entered it or not: what is in no inbox is
/// merged from the log. So a walk that nobody ends loses nothing, and entering twice has no effect.
///
/// A walk belongs to one gateway. Its progress and lease are in the channel's keys; another gateway goes on
/// when the first one is dead, or does not come back before its lease ends.
///
/// All on the machine's thread.
class RedisMembers {
 public:
  static constexpr std::size_t kUsersAtOnce = 100;    ///< of one change, in one script
  static constexpr std::size_t kEnteredAtOnce = 500;  ///< members of one step of a walk
  static constexpr std::size_t kNamesAtOnce = 2'000;  ///< members listed by one script
  static constexpr Millis kListedMs = 60'000;  ///< a channel that nobody touches stays listed for so long
  static constexpr std::size_t kFinishedAtOnce =
      16;  ///< what nobody has come back to, with each sign of life

  RedisMembers(const RedisOptions& options, const RedisKeys& keys, RedisCarrier& machine, RedisLog& log,
               RedisGateways& gateways, const Clock& clock);

  /// Hears of the steps of finish().
  void set_listener(StoreListener* listener) { listener_ = listener; }
  void change(const std::string& channel, std::vector<std::string> users, bool is_adding,
              std::function<void(const MembersResult&)> done);
  void list(const std::string& channel, std::string after, std::size_t limit,
            std::function<void(const MembersResult&)> done);
  /// `done` and nothing entered: another gateway walks.
  void enter(const std::string& channel, std::size_t members_max,
             std::function<void(const EnterResult&)> done) {
    begin_step(channel, members_max, false, std::move(done));
  }
  /// Ends the walk and the changes of members that somebody has left unfinished.
  void finish(const std::string& channel, std::function<void(StoreError)> done);
  void unread(const std::string& user, const std::string& channel,
              std::function<void(const UnreadResult&)> done);
  void inbox(const std::string& user, std::size_t limit, std::function<void(const InboxResult&)> done);
  void mark_read(const std::string& user, const std::string& channel, Offset offset,
                 std::function<void(StoreError)> done);

  void on_beat(bool is_renamed);
  /// The one before may have taken changes of users' keys with it whose channels' keys have come along.
  void on_new_primary();
  /// What is over is not for others to end.
  void leave();

 private:
  struct Listed {
    Millis touched_ms = 0;
    bool is_over = false;
  };
  using ListedChannels = std::unordered_map<std::string, Listed>;
  struct Change;
  struct Step;
  struct InboxRead;
  using Pairs = std::vector<std::pair<std::string, std::string>>;  // users and their pending changes

  void change_some(const std::shared_ptr<Change>& change);
  void list_some(const std::string& channel, const std::string& after, std::size_t limit,
                 const std::shared_ptr<MembersResult>& result,
                 std::function<void(const MembersResult&)> done);
  void begin_step(const std::string& channel, std::size_t members_max, bool ends_changes,
                  std::function<void(const EnterResult&)> done);
  void end_changes(const std::shared_ptr<Step>& step, const RedisReply& reply);
  void enter_users(const std::shared_ptr<Step>& step, const RedisReply& reply);
  void end_step(const std::shared_ptr<Step>& step);
  /// Something of the channel is under way, or over: if this gateway dies before that, others end it.
  void note(const std::string& channel, bool is_over);
  ListedChannels::iterator unlist(ListedChannels::iterator listed);
  void settle(const std::string& channel, const Pairs& changes);
  [[nodiscard]] RedisCall change_of_user(const std::string& channel, const std::string& user,
                                         const std::string& changes, const RedisEpochTimes& times) const;
  void standing(const std::string& channel, Millis deadline_ms,
                std::function<void(const TopResult&, const RedisEpochTimes&)> done);
  void read_tops(const std::shared_ptr<InboxRead>& read, const RedisReply& reply);
  static void answer_inbox(InboxRead& read);
  [[nodiscard]] std::vector<std::string> keys_of(std::string_view channel) const;
  [[nodiscard]] std::vector<std::string> keys_of_user(std::string_view user) const;
  [[nodiscard]] std::string dead_gateways() const;
  /// Of all steps of a call that begins now.
  [[nodiscard]] Millis deadline() const { return clock_.now_ms() + options_.wait_ms; }

  const RedisOptions& options_;
  const RedisKeys& keys_;
  RedisCarrier& machine_;
  RedisLog& log_;
  RedisGateways& gateways_;
  StoreListener* listener_ = nullptr;
  const Clock& clock_;
  ListedChannels listed_;            // channels in this gateway's list
  std::set<std::string> to_finish_;  // of these something may have been lost
};

}  // namespace carillon
