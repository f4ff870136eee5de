#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "sim/judge.hpp"
#include "sim/trace.hpp"

namespace carillon::sim {

/// What a user is shown when the inbox is read.
struct ShownInbox {
  struct Item {
    std::string channel;
    std::string epoch;
    std::uint64_t first = 0;
    std::uint64_t last = 0;  ///< inclusive
    std::string data = {};   ///< empty: a gap
  };
  std::vector<Item> items;
  bool has_more = false;
};

/// Whether inboxes keep what is promised of them: each publication to a channel is in the inbox of each
/// member once, in the order of the channel, from the member's join on, and until it is marked as read.
class InboxJudge {
 public:
  InboxJudge(Trace& trace, Judge& judge, bool is_trimmed)
      : trace_(trace), judge_(judge), is_trimmed_(is_trimmed) {}

  // ---- memberships; an application asks for one change of a membership at a time
  void on_change_asked(const std::string& user, const std::string& channel, bool is_join);
  void on_changed(const std::string& user, const std::string& channel, bool is_join);
  /// It is asked again, and the first call may be carried out at any time.
  void on_unanswered(const std::string& user, const std::string& channel, bool is_join);
  /// The store has lost a change of it: nothing is promised any more.
  void on_membership_lost(const std::string& user, const std::string& channel);
  /// The store has lost their number: until the next change publishers do not wait for inboxes.
  void on_number_lost(const std::string& channel) { uncounted_[channel] = {.lost = ++now_}; }
  /// The store has begun anew, and knows none.
  void forget_memberships() { standings_.clear(); }

  // ---- publications
  void on_published(const std::string& channel, const std::string& data) {
    publications_[channel][data].asked = ++now_;
  }
  void on_acknowledged(const std::string& channel, const std::string& data, std::uint64_t offset);
  /// It was a member, beyond doubt, when the publisher began and when it was answered, and has not read it.
  [[nodiscard]] bool must_be_entered(const std::string& user, const std::string& channel,
                                     const std::string& data) const;

  // ---- inboxes
  void on_mark_asked(const std::string& user, const std::string& channel, std::uint64_t offset);
  /// `losses`: Judge::losses_possible() when it was asked for.
  void on_marked(const std::string& user, const std::string& channel, std::uint64_t offset,
                 std::uint64_t losses);
  struct Begun {
    std::uint64_t at = 0;
    std::uint64_t losses = 0;
    bool is_split = false;
    bool is_last = false;                         ///< all is calm
    std::map<std::string, std::uint64_t> marked;  ///< by channel
  };
  /// `is_split`: the store has two primaries, of which the older may answer.
  [[nodiscard]] Begun begin_read(const std::string& user, bool is_split);
  void on_read(const std::string& user, const Begun& begun, const ShownInbox& shown);
  /// At the end, when all is calm: by what the log has.
  void judge_last_read(const std::string& user, const std::map<std::string, Judge::Log>& logs,
                       const ShownInbox& shown);

  [[nodiscard]] std::uint64_t items_shown() const { return items_shown_; }

 private:
  /// Times are numbers of what has happened; 0: it has not.
  struct Membership {
    std::uint64_t join_asked = 0;
    std::uint64_t joined = 0;
    std::uint64_t leave_asked = 0;
    std::uint64_t left = 0;
  };
  struct Mark {
    std::uint64_t offset = 0;
    std::uint64_t ended = 0;
  };
  struct Standing {
    std::vector<Membership> memberships;
    std::vector<Mark> marks;
    std::uint64_t marked = 0;  // as read, by what was answered
    std::uint64_t losses = 0;  // possible ones, when it was marked
    bool is_lost = false;
    bool may_join_late = false;
    bool may_leave_late = false;
  };
  struct Published {
    std::uint64_t asked = 0;
    std::uint64_t acknowledged = 0;
    std::uint64_t offset = 0;
  };
  [[nodiscard]] const Standing* standing_of(const std::string& user, const std::string& channel) const;
  [[nodiscard]] static bool is_certain(const Standing& standing, const Published& published);
  [[nodiscard]] bool is_possible(const Standing& standing, const std::string& channel,
                                 const std::string& data) const;
  /// The user has marked it as read, or a mark that covers it may still come.
  [[nodiscard]] static bool may_be_read(const Standing& standing, const Published& published);

  Trace& trace_;
  Judge& judge_;
  const bool is_trimmed_;  // publications may leave the history
  std::uint64_t now_ = 0;
  std::map<std::pair<std::string, std::string>, Standing> standings_;  // by user and channel
  std::map<std::string, std::map<std::string, Published>> publications_;
  /// When it was counted again (0: it was not), and the possible losses until then.
  struct Counted {
    std::uint64_t lost = 0;
    std::uint64_t at = 0;
    std::uint64_t losses = 0;
  };
  std::map<std::string, Counted> uncounted_;  // channels whose number was lost
  std::uint64_t items_shown_ = 0;
};

}  // namespace carillon::sim
