#include "sim/inbox_judge.hpp"

#include <algorithm>

namespace carillon::sim {

// ---- memberships

void InboxJudge::on_change_asked(const std::string& user, const std::string& channel, bool is_join) {
  Standing& standing = standings_[{user, channel}];
  if (is_join) {
    standing.memberships.push_back({.join_asked = ++now_});
  } else if (!standing.memberships.empty()) {
    standing.memberships.back().leave_asked = ++now_;
  }
}

void InboxJudge::on_changed(const std::string& user, const std::string& channel, bool is_join) {
  trace_.add(user, is_join ? " is a member of " : " is not a member any more of ", channel);
  Standing& standing = standings_[{user, channel}];
  if (standing.memberships.empty()) return;
  ++now_;
  const Membership& changed = standing.memberships.back();
  const auto uncounted = uncounted_.find(channel);
  if (uncounted != uncounted_.end() &&
      (is_join ? changed.join_asked : changed.leave_asked) > uncounted->second.lost) {
    uncounted->second.at = now_;
    uncounted->second.losses = judge_.losses_possible();
  }
  if (is_join && !standing.may_leave_late) standing.memberships.back().joined = now_;
  if (!is_join && !standing.may_join_late) standing.memberships.back().left = now_;
}

void InboxJudge::on_unanswered(const std::string& user, const std::string& channel, bool is_join) {
  Standing& standing = standings_[{user, channel}];
  (is_join ? standing.may_join_late : standing.may_leave_late) = true;
}

void InboxJudge::on_membership_lost(const std::string& user, const std::string& channel) {
  trace_.add("the membership of ", user, " in ", channel, " may be lost");
  standings_[{user, channel}].is_lost = true;
  if (const auto found = uncounted_.find(channel); found != uncounted_.end()) found->second.at = 0;
}

const InboxJudge::Standing* InboxJudge::standing_of(const std::string& user,
                                                    const std::string& channel) const {
  const auto found = standings_.find({user, channel});
  return found == standings_.end() ? nullptr : &found->second;
}

bool InboxJudge::is_certain(const Standing& standing, const Published& published) {
  if (standing.is_lost || published.acknowledged == 0) return false;
  return std::any_of(
      standing.memberships.begin(), standing.memberships.end(), [&](const Membership& membership) {
        return membership.joined != 0 && published.asked > membership.joined &&
               (membership.leave_asked == 0 || published.acknowledged < membership.leave_asked);
      });
}

bool InboxJudge::is_possible(const Standing& standing, const std::string& channel,
                             const std::string& data) const {
  if (standing.is_lost) return true;
  const auto found = publications_.at(channel).find(data);
  if (found == publications_.at(channel).end()) return false;
  const Published& published = found->second;
  // What was lost with its idempotency key is stored again by an attempt that comes late.
  const bool may_come_late = published.acknowledged == 0 || judge_.is_lost(data);
  return std::any_of(standing.memberships.begin(), standing.memberships.end(),
                     [&](const Membership& membership) {
                       return (may_come_late || published.acknowledged > membership.join_asked) &&
                              (membership.left == 0 || published.asked < membership.left);
                     });
}

// ---- publications

void InboxJudge::on_acknowledged(const std::string& channel, const std::string& data, std::uint64_t offset) {
  Published& published = publications_[channel][data];
  published.acknowledged = ++now_;
  published.offset = offset;
}

bool InboxJudge::must_be_entered(const std::string& user, const std::string& channel,
                                 const std::string& data) const {
  const Standing* const standing = standing_of(user, channel);
  const Published& published = publications_.at(channel).at(data);
  const auto uncounted = uncounted_.find(channel);
  return standing != nullptr && is_certain(*standing, published) && !may_be_read(*standing, published) &&
         (uncounted == uncounted_.end() ||
          (uncounted->second.at > 0 && published.asked > uncounted->second.at &&
           uncounted->second.losses == judge_.losses_possible()));
}

// ---- inboxes

void InboxJudge::on_mark_asked(const std::string& user, const std::string& channel, std::uint64_t offset) {
  standings_[{user, channel}].marks.push_back({.offset = offset, .ended = 0});
}

void InboxJudge::on_marked(const std::string& user, const std::string& channel, std::uint64_t offset,
                           std::uint64_t losses) {
  Standing& standing = standings_[{user, channel}];
  const auto mark = std::find_if(standing.marks.begin(), standing.marks.end(),
                                 [&](const Mark& each) { return each.offset == offset && each.ended == 0; });
  if (mark != standing.marks.end()) mark->ended = ++now_;
  if (judge_.losses_possible() != losses) return;  // it may be lost by now
  if (standing.losses != losses) standing.marked = 0;
  standing.losses = losses;
  standing.marked = std::max(standing.marked, offset);
  trace_.add(user, " has marked ", channel, " as read up to ", offset);
}

bool InboxJudge::may_be_read(const Standing& standing, const Published& published) {
  // A mark that had ended before was of an earlier publication, in a log that was lost.
  return std::any_of(standing.marks.begin(), standing.marks.end(), [&](const Mark& mark) {
    return mark.offset >= published.offset && (mark.ended == 0 || mark.ended > published.asked);
  });
}

InboxJudge::Begun InboxJudge::begin_read(const std::string& user, bool is_split) {
  Begun begun{.at = ++now_, .losses = judge_.losses_possible(), .is_split = is_split, .marked = {}};
  for (const auto& [whose, standing] : standings_) {
    if (whose.first == user && standing.losses == begun.losses) begun.marked[whose.second] = standing.marked;
  }
  return begun;
}

void InboxJudge::on_read(const std::string& user, const Begun& begun, const ShownInbox& shown) {
  trace_.add(user, " reads ", shown.items.size(), " items", shown.has_more ? ", and has more" : "");
  const bool has_lost = begun.is_split || judge_.losses_possible() != begun.losses;
  // What Redis has lost of a user's keys is written again a little later.
  const bool is_settled = begun.is_last || judge_.losses_possible() == 0;
  std::map<std::string, std::pair<std::string, std::uint64_t>> last;  // by channel: epoch and offset
  std::set<std::pair<std::string, std::string>> seen;
  std::map<std::string, std::vector<std::pair<std::uint64_t, std::uint64_t>>> gaps;
  for (const ShownInbox::Item& item : shown.items) {
    ++items_shown_;
    const std::string what = item.channel + ':' + std::to_string(item.first);
    const Standing* const standing = standing_of(user, item.channel);
    const bool is_of_lost_channel = standing != nullptr && standing->is_lost;
    auto& [epoch, before] = last[item.channel];
    if (epoch != item.epoch) before = 0;  // offsets begin anew
    if (item.first <= before && !is_of_lost_channel)
      judge_.complain("inbox: " + user + " is shown " + what + " behind " + std::to_string(before) +
                      ", twice or in the wrong order");
    epoch = item.epoch;
    before = item.last;
    if (item.data.empty()) {
      gaps[item.channel].emplace_back(item.first, item.last);
      if (!is_trimmed_ && judge_.losses_possible() == 0)
        judge_.complain("inbox: " + user + " is shown a gap at " + what + ", though nothing has been lost");
      continue;
    }
    judge_.on_shown(item.channel, item.epoch, item.first, item.data, "the inbox of " + user);
    if (!seen.emplace(item.channel, item.data).second && !is_of_lost_channel)
      judge_.complain("inbox: " + user + " is shown " + brief(item.data) + " of " + item.channel + " twice");
    // Until the older primary ends nobody knows which changes of members are lost with it.
    if (!has_lost && is_settled && (standing == nullptr || !is_possible(*standing, item.channel, item.data)))
      judge_.complain("inbox: " + user + " is shown " + brief(item.data) + " of " + what +
                      ", and was no member when it was published");
    const auto marked = begun.marked.find(item.channel);
    if (!has_lost && marked != begun.marked.end() && item.first <= marked->second)
      judge_.complain("inbox: " + user + " is shown " + what + " again, though it was marked as read");
  }
  if (shown.has_more || has_lost || !is_settled) return;
  for (const auto& [channel, publications] : publications_) {
    const Standing* const standing = standing_of(user, channel);
    if (standing == nullptr) continue;
    for (const auto& [data, published] : publications) {
      const bool is_due = published.acknowledged != 0 && published.acknowledged < begun.at &&
                          !may_be_read(*standing, published) && is_certain(*standing, published);
      if (!is_due || judge_.is_lost(data) || seen.contains({channel, data})) continue;
      const std::uint64_t offset = published.offset;
      const bool is_told = std::any_of(gaps[channel].begin(), gaps[channel].end(), [&](const auto& gap) {
        return gap.first <= offset && offset <= gap.second;
      });
      if (!is_told)
        judge_.complain("inbox: " + user + " lacks " + brief(data) + " of " + channel + ", acknowledged at " +
                        std::to_string(offset));
    }
  }
}

void InboxJudge::judge_last_read(const std::string& user, const std::map<std::string, Judge::Log>& logs,
                                 const ShownInbox& shown) {
  for (const ShownInbox::Item& item : shown.items) {
    if (!item.data.empty()) continue;
    for (const auto& [offset, data] : logs.at(item.channel).kept) {
      if (item.first <= offset && offset <= item.last)
        judge_.complain("inbox: " + user + " is shown a gap in " + item.channel + " where the log has " +
                        std::to_string(offset));
    }
  }
}

}  // namespace carillon::sim
