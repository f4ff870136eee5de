#include "store/redis/redis_members.hpp"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <map>
#include <optional>

namespace carillon {

namespace {

std::uint64_t take_number(std::string_view& rest) {
  std::uint64_t value = 0;
  const std::from_chars_result end = std::from_chars(rest.data(), rest.data() + rest.size(), value);
  rest.remove_prefix(static_cast<std::size_t>(end.ptr - rest.data()));
  if (!rest.empty()) rest.remove_prefix(1);
  return value;
}
std::uint64_t whole_number(std::string_view text) { return take_number(text); }

struct MembershipInRedis {
  Offset read = 0;
  Offset left = 0;  // 0: it is a member
};
/// What a user's hash has of a channel.
struct StandingInRedis {
  std::uint64_t noted = 0;  // time by Redis: the positions are of the epoch that it was then
  std::vector<MembershipInRedis> memberships = {};
};
StandingInRedis standing_of(std::string_view value, std::string_view epoch_began) {
  StandingInRedis standing;
  std::vector<MembershipInRedis>& memberships = standing.memberships;
  standing.noted = take_number(value);
  if (!epoch_began.empty()) standing.noted = whole_number(epoch_began);
  while (!value.empty()) {
    MembershipInRedis membership;
    membership.read = take_number(value);
    membership.left = take_number(value);
    take_number(value);
    memberships.push_back(membership);
  }
  return standing;
}
/// Positions that were noted in an earlier epoch count up to where that has ended, as in the scripts.
void limit_positions(StandingInRedis& standing, const RedisEpochTimes& times) {
  if (standing.noted >= whole_number(times.began)) return;
  Offset limit = 0;
  for (std::string_view rest = times.ended; !rest.empty();) {
    const std::uint64_t began = take_number(rest);
    const Offset last = take_number(rest);
    limit = began <= standing.noted ? last : std::min(limit, last);
  }
  std::erase_if(standing.memberships, [limit](MembershipInRedis& membership) {
    membership.read = std::min(membership.read, limit);
    if (membership.left == 0) return false;
    membership.left = std::min(membership.left, limit);
    return membership.left <= membership.read;
  });
}

/// Unread publications of one membership.
struct Unread {
  Offset next = 0;
  Offset last = 0;
  std::vector<std::pair<Offset, Offset>> ranges = {};  // those that are in no run
};
std::optional<Unread> unread_of(const MembershipInRedis& membership, Offset top) {
  const Offset last = membership.left == 0 ? top : std::min(membership.left, top);
  if (last <= membership.read) return std::nullopt;
  return Unread{membership.read + 1, last};
}

/// The error of a script's answer, which begins with a word.
StoreError error_of(StoreError error, const RedisReply& reply, std::string_view expected) {
  return error == StoreError::none && reply[0].text != expected ? StoreError::unavailable : error;
}

void ignore_answer(StoreError /*error*/, const RedisReply& /*reply*/) {}

}  // namespace

RedisMembers::RedisMembers(const RedisOptions& options, const RedisKeys& keys, RedisCarrier& machine,
                           RedisLog& log, RedisGateways& gateways, const Clock& clock)
    : options_(options), keys_(keys), machine_(machine), log_(log), gateways_(gateways), clock_(clock) {}

std::vector<std::string> RedisMembers::keys_of(std::string_view channel) const {
  return {keys_.channel(channel), keys_.stream(channel)};
}
std::vector<std::string> RedisMembers::keys_of_user(std::string_view user) const {
  return {keys_.of_user('m', user), keys_.of_user('i', user)};
}

// ---- changes

struct RedisMembers::Change {
  std::string channel;
  std::vector<std::string> users;
  std::size_t next = 0;
  bool is_adding = false;
  std::function<void(const MembersResult&)> done;
  MembersResult result;
  Millis deadline_ms = 0;   // of the users of one page
  std::size_t missing = 0;  // answers of users
  RedisEpochTimes times;
  Pairs pending;
};

void RedisMembers::change(const std::string& channel, std::vector<std::string> users, bool is_adding,
                          std::function<void(const MembersResult&)> done) {
  auto change = std::make_shared<Change>();
  change->channel = channel;
  change->users = std::move(users);
  change->is_adding = is_adding;
  change->done = std::move(done);
  note(channel, false);
  change_some(change);
}

void RedisMembers::change_some(const std::shared_ptr<Change>& change) {
  RedisCall call;
  change->deadline_ms = deadline();
  call.deadline_ms = change->deadline_ms;
  call.script = RedisScript::change_members;
  call.is_write = true;
  call.keys = keys_of(change->channel);
  call.keys.push_back(keys_.of_channel('m', change->channel));
  call.keys.push_back(keys_.of_channel('j', change->channel));
  call.words.add(options_.limits.channel_lifetime_ms).add(std::string_view(change->is_adding ? "+" : "-"));
  const std::size_t end = std::min(change->users.size(), change->next + kUsersAtOnce);
  while (change->next < end) call.words.add(change->users[change->next++]);
  call.done = [this, change](StoreError error, const RedisReply& reply) {
    change->result.error = error_of(error, reply, "ok");
    if (change->result.error != StoreError::none) return change->done(change->result);
    change->result.members = whole_number(reply[1].text);
    change->times = {reply[2].text, reply[3].text};
    change->pending.clear();
    for (std::size_t i = 4; i + 1 < reply.items.size(); i += 2)
      change->pending.emplace_back(reply[i].text, reply[i + 1].text);
    const auto go_on = [this, change] {
      if (change->result.error != StoreError::none) return change->done(change->result);
      settle(change->channel, change->pending);
      if (change->next < change->users.size()) return change_some(change);
      note(change->channel, true);
      change->done(change->result);
    };
    if (change->pending.empty()) return go_on();
    change->missing = change->pending.size();
    for (const auto& [user, changes] : Pairs(change->pending)) {
      RedisCall of_user = change_of_user(change->channel, user, changes, change->times);
      of_user.deadline_ms = change->deadline_ms;
      of_user.done = [change, go_on](StoreError told, const RedisReply& answer) {
        if (told = error_of(told, answer, "ok"); told != StoreError::none) change->result.error = told;
        if (--change->missing == 0) go_on();
      };
      machine_.call(std::move(of_user));
    }
  };
  // In the order of the channel's appends, so that it is known which publications are for whom.
  log_.call_in_lane(change->channel, std::move(call));
}

RedisCall RedisMembers::change_of_user(const std::string& channel, const std::string& user,
                                       const std::string& changes, const RedisEpochTimes& times) const {
  RedisCall call;
  call.script = RedisScript::user_change;
  call.is_write = true;
  call.keys = keys_of_user(user);
  call.words.add(channel).add(times.began).add(times.ended).add(changes);
  call.words.add(std::max<std::size_t>(options_.limits.inbox_entries, 1))
      .add(options_.limits.channel_lifetime_ms);
  return call;
}

void RedisMembers::settle(const std::string& channel, const Pairs& changes) {
  for (std::size_t next = 0; next < changes.size();) {
    RedisCall call;
    call.script = RedisScript::settle_members;
    call.is_write = true;
    call.keys = {keys_.of_channel('j', channel)};
    const std::size_t end = std::min(changes.size(), next + kUsersAtOnce);
    for (; next < end; ++next) call.words.add(changes[next].first).add(changes[next].second);
    call.is_for_this_link = true;  // a failover may have lost what the users' keys had
    call.done = ignore_answer;     // what stays there is done again by the next walk
    machine_.call(std::move(call));
  }
}

void RedisMembers::list(const std::string& channel, std::string after, std::size_t limit,
                        std::function<void(const MembersResult&)> done) {
  list_some(channel, after, limit, std::make_shared<MembersResult>(), std::move(done));
}

void RedisMembers::list_some(const std::string& channel, const std::string& after, std::size_t limit,
                             const std::shared_ptr<MembersResult>& result,
                             std::function<void(const MembersResult&)> done) {
  const std::size_t wanted = std::min(limit - result->users.size(), kNamesAtOnce);
  RedisCall call;
  call.script = RedisScript::members;
  call.keys = {keys_.of_channel('m', channel)};
  call.words.add(after).add(wanted);
  call.done = [this, channel, limit, wanted, result, done = std::move(done)](StoreError error,
                                                                             const RedisReply& reply) {
    result->error = error;
    if (error != StoreError::none) return done(*result);
    result->members = whole_number(reply[0].text);
    for (std::size_t i = 1; i < reply.items.size(); ++i) result->users.push_back(reply[i].text);
    if (reply.items.size() <= wanted || result->users.size() >= limit) return done(*result);
    list_some(channel, result->users.back(), limit, result, done);
  };
  machine_.call(std::move(call));
}

// ---- walks

struct RedisMembers::Step {
  std::string channel;
  std::string gateway;
  Millis deadline_ms = 0;
  std::function<void(const EnterResult&)> done;
  std::string first;   // offsets of the walk
  std::string before;  // the member behind which the page begins
  bool is_first_page = false;
  bool is_last_page = false;
  std::string last_member;
  RedisEpochTimes times;
  Pairs pending;
  std::size_t missing = 0;  // answers of users
  EnterResult result;
};

std::string RedisMembers::dead_gateways() const {
  std::string dead(" ");
  for (const std::string& each : gateways_.dead()) dead.append(each).append(" ");
  return dead;
}

void RedisMembers::begin_step(const std::string& channel, std::size_t members_max, bool ends_changes,
                              std::function<void(const EnterResult&)> done) {
  note(channel, false);
  auto step = std::make_shared<Step>();
  step->channel = channel;
  step->gateway = gateways_.id();
  step->deadline_ms = deadline();
  step->done = std::move(done);
  RedisCall call;
  call.script = RedisScript::walk;
  call.deadline_ms = step->deadline_ms;
  call.is_write = true;
  call.keys = keys_of(channel);
  for (const char kind : {'w', 'm', 'j'}) call.keys.push_back(keys_.of_channel(kind, channel));
  call.words.add(step->gateway).add(std::clamp<std::size_t>(members_max, 1, kEnteredAtOnce));
  call.words.add(options_.walk_lease_ms).add(dead_gateways() + gateways_.names());
  call.words.add(options_.limits.channel_lifetime_ms);
  call.words.add(std::string_view(ends_changes ? "1" : "0"));
  call.done = [this, step](StoreError error, const RedisReply& reply) {
    step->result.error = error;
    if (error != StoreError::none) return step->done(step->result);
    if (reply[0].text == "walk") return enter_users(step, reply);
    if (reply[0].text == "done") return end_changes(step, reply);
    note(step->channel, true);
    step->result.step.is_done = step->result.step.is_held = true;
    step->result.step.entered_to = whole_number(reply[1].text);
    step->result.step.held_at = reply[2].text;
    step->done(step->result);
  };
  machine_.call(std::move(call));
}

void RedisMembers::finish(const std::string& channel, std::function<void(StoreError)> done) {
  begin_step(channel, kEnteredAtOnce, true,
             [this, channel, done = std::move(done)](const EnterResult& result) {
               const std::size_t entered = result.step.entered;
               if (entered > 0 && listener_ != nullptr) listener_->on_walk_finished(entered);
               if (result.error != StoreError::none || result.step.is_done) return done(result.error);
               finish(channel, done);
             });
}

void RedisMembers::end_changes(const std::shared_ptr<Step>& step, const RedisReply& reply) {
  step->result.step.entered_to = whole_number(reply[1].text);
  step->times = {reply[2].text, reply[3].text};
  for (std::size_t i = 4; i + 1 < reply.items.size(); i += 2)
    step->pending.emplace_back(reply[i].text, reply[i + 1].text);
  step->missing = step->pending.size() + 1;
  const auto count = [this, step](StoreError error) {
    if (error != StoreError::none) step->result.error = error;
    if (--step->missing > 0) return;
    step->result.step.is_done = step->pending.empty();  // there may be more
    if (step->result.error == StoreError::none) settle(step->channel, step->pending);
    if (step->result.step.is_done) note(step->channel, true);
    step->done(step->result);
  };
  for (const auto& [user, changes] : Pairs(step->pending)) {
    RedisCall call = change_of_user(step->channel, user, changes, step->times);
    call.deadline_ms = step->deadline_ms;
    call.done = [count](StoreError error, const RedisReply& answer) { count(error_of(error, answer, "ok")); };
    machine_.call(std::move(call));
  }
  count(StoreError::none);
}

void RedisMembers::enter_users(const std::shared_ptr<Step>& step, const RedisReply& reply) {
  step->first = reply[1].text;
  const std::string& last = reply[2].text;
  step->before = reply[3].text;
  step->is_first_page = reply[4].text == "1";
  step->is_last_page = reply[5].text == "1";
  const std::size_t users = whole_number(reply[6].text);
  step->times = {reply[7].text, reply[8].text};
  Pairs to_enter;
  Pairs to_change;
  for (std::size_t i = 9; i + 1 < reply.items.size(); i += 2) {
    Pairs& where = to_enter.size() < users ? to_enter : to_change;
    where.emplace_back(reply[i].text, reply[i + 1].text);
    if (!reply[i + 1].text.empty()) step->pending.push_back(where.back());
  }
  if (!to_enter.empty()) step->last_member = to_enter.back().first;
  step->missing = to_enter.size() + to_change.size() + 1;
  const auto end = [this, step] {
    if (--step->missing == 0) end_step(step);
  };
  const auto count = [step, end](StoreError error, const RedisReply& answer) {
    if (error = error_of(error, answer, "ok"); error != StoreError::none) step->result.error = error;
    step->result.step.entered += whole_number(answer[1].text);
    end();
  };
  for (const auto& [user, changes] : to_change) {
    RedisCall call = change_of_user(step->channel, user, changes, step->times);
    call.deadline_ms = step->deadline_ms;
    call.done = count;
    machine_.call(std::move(call));
  }
  for (const auto& [user, changes] : to_enter) {
    RedisCall call = change_of_user(step->channel, user, changes, step->times);
    call.deadline_ms = step->deadline_ms;
    call.script = RedisScript::user_enter;
    call.words.add(step->first).add(last).add(options_.limits.inbox_entries);
    call.done = count;
    machine_.call(std::move(call));
  }
  end();
}

void RedisMembers::end_step(const std::shared_ptr<Step>& step) {
  if (step->result.error != StoreError::none) return step->done(step->result);
  settle(step->channel, step->pending);
  RedisCall call;
  call.script = RedisScript::walk_step;
  call.deadline_ms = step->deadline_ms;
  call.is_write = true;
  call.keys = keys_of(step->channel);
  call.keys.push_back(keys_.of_channel('w', step->channel));
  call.words.add(step->gateway).add(step->first).add(step->before);
  call.words.add(std::string_view(step->is_first_page ? "1" : "0"));
  call.words.add(std::string_view(step->is_last_page ? "1" : "0"));
  call.words.add(step->last_member).add(options_.walk_lease_ms);
  call.done = [this, step](StoreError error, const RedisReply& reply) {
    step->result.error = error;
    if (error == StoreError::none) {
      step->result.step.is_done = reply[0].text != "more";
      step->result.step.is_held = reply[0].text == "lost";
      step->result.step.entered_to = whole_number(reply[1].text);
      if (step->result.step.is_done) note(step->channel, true);
    }
    step->done(step->result);
  };
  machine_.call(std::move(call));
}

void RedisMembers::note(const std::string& channel, bool is_over) {
  const auto [listed, is_new] = listed_.try_emplace(channel);
  listed->second = {clock_.now_ms(), is_over};
  if (!is_new) return;
  const std::string list = keys_.of_gateway('w', gateways_.id());
  RedisCall add;
  add.words = RedisCommand{"SADD", list, channel};
  add.is_write = true;
  add.done = [this, channel](StoreError error, const RedisReply& /*reply*/) {
    if (error != StoreError::none) listed_.erase(channel);
  };
  machine_.call(std::move(add));
  RedisCall expire;
  expire.words = RedisCommand{"PEXPIRE", list};
  expire.words.add(RedisGateways::kLifetimeMs);
  expire.done = ignore_answer;
  machine_.call(std::move(expire));
}

RedisMembers::ListedChannels::iterator RedisMembers::unlist(ListedChannels::iterator listed) {
  RedisCall call;
  call.words = RedisCommand{"SREM", keys_.of_gateway('w', gateways_.id()), listed->first};
  call.is_write = true;
  call.is_for_this_link = true;
  call.done = ignore_answer;
  const auto next = listed_.erase(listed);
  machine_.call(std::move(call));
  return next;
}

void RedisMembers::on_beat(bool is_renamed) {
  if (is_renamed) listed_.clear();  // others look after what was under way
  const Millis before = clock_.now_ms() - kListedMs;
  std::vector<std::string> now;
  while (!to_finish_.empty() && now.size() < kFinishedAtOnce)
    now.push_back(std::move(to_finish_.extract(to_finish_.begin()).value()));
  for (auto each = listed_.begin(); each != listed_.end();) {
    if (each->second.touched_ms > before) {
      ++each;
    } else if (!each->second.is_over) {  // nobody has come back to it after an error
      if (now.size() < kFinishedAtOnce) now.push_back(each->first);
      ++each;
    } else {
      each = unlist(each);
    }
  }
  for (const std::string& channel : now) finish(channel, [](StoreError /*error*/) {});
}

void RedisMembers::on_new_primary() {
  for (const auto& [channel, listed] : listed_) to_finish_.insert(channel);
}

void RedisMembers::leave() {
  for (auto listed = listed_.begin(); listed != listed_.end();) {
    listed = listed->second.is_over ? unlist(listed) : std::next(listed);
  }
}

// ---- reading

void RedisMembers::standing(const std::string& channel, Millis deadline_ms,
                            std::function<void(const TopResult&, const RedisEpochTimes&)> done) {
  RedisCall call;
  call.deadline_ms = deadline_ms;
  call.script = RedisScript::standing;
  call.keys = keys_of(channel);
  call.done = [done = std::move(done)](StoreError error, const RedisReply& reply) {
    TopResult result{.error = error_of(error, reply, "ok")};
    result.top = {Epoch::parse(reply[1].text).value_or(Epoch{}), whole_number(reply[2].text)};
    done(result, {reply[3].text, reply[4].text});
  };
  machine_.call(std::move(call));
}

void RedisMembers::unread(const std::string& user, const std::string& channel,
                          std::function<void(const UnreadResult&)> done) {
  RedisCall call;
  call.words = RedisCommand{"HMGET", keys_.of_user('m', user), 'c' + channel, 'p' + channel};
  call.deadline_ms = deadline();
  call.done = [this, channel, deadline_ms = call.deadline_ms, done = std::move(done)](
                  StoreError error, const RedisReply& reply) {
    if (error != StoreError::none || reply[0].is_nil()) return done({.error = error});
    standing(channel, deadline_ms,
             [own = standing_of(reply[0].text, reply[1].text), done](const TopResult& known,
                                                                     const RedisEpochTimes& times) mutable {
               UnreadResult result{.error = known.error};
               limit_positions(own, times);
               for (const MembershipInRedis& membership : own.memberships) {
                 if (const auto unread = unread_of(membership, known.top.offset))
                   result.publications += unread->last + 1 - unread->next;
               }
               done(result);
             });
  };
  machine_.call(std::move(call));
}

struct RedisMembers::InboxRead {
  struct Channel {
    StandingInRedis standing;
    Position top;
    std::vector<Unread> unread = {};
    Offset left_out = std::numeric_limits<Offset>::max();  // the first that there was no room for
  };
  struct Run {
    Offset first = 0;
    std::uint64_t count = 0;
    std::string channel;
  };
  std::size_t limit = 0;
  Millis deadline_ms = 0;
  std::function<void(const InboxResult&)> done;
  std::map<std::string, Channel> channels;
  std::vector<Run> runs;
  std::size_t missing = 0;  // tops
  InboxResult result;
};

void RedisMembers::inbox(const std::string& user, std::size_t limit,
                         std::function<void(const InboxResult&)> done) {
  auto read = std::make_shared<InboxRead>();
  read->limit = limit;
  read->deadline_ms = deadline();
  read->done = std::move(done);
  RedisCall call;
  call.script = RedisScript::user_inbox;
  call.keys = keys_of_user(user);
  call.deadline_ms = read->deadline_ms;
  call.done = [this, read](StoreError error, const RedisReply& reply) {
    read->result.error = error;
    if (error != StoreError::none) return read->done(read->result);
    read_tops(read, reply);
  };
  machine_.call(std::move(call));
}

void RedisMembers::read_tops(const std::shared_ptr<InboxRead>& read, const RedisReply& reply) {
  read->result.content.is_incomplete = reply[0].text == "1";
  std::map<std::string_view, std::string_view> fields;
  for (std::size_t i = 0; i + 1 < reply[1].items.size(); i += 2)
    fields[reply[1][i].text] = reply[1][i + 1].text;
  for (const auto& [name, value] : fields) {
    if (!name.starts_with('c')) continue;
    std::string channel(name.substr(1));
    const auto began = fields.find('p' + channel);
    read->channels[std::move(channel)] = {
        standing_of(value, began == fields.end() ? std::string_view() : began->second), {}};
  }
  for (const RedisReply& item : reply[2].items) {
    std::string_view rest = item.text;
    InboxRead::Run run;
    run.first = take_number(rest);
    run.count = take_number(rest);
    run.channel = rest;
    read->runs.push_back(std::move(run));
  }
  read->missing = read->channels.size() + 1;
  const auto count = [read](StoreError error) {
    if (error != StoreError::none) read->result.error = error;
    if (--read->missing > 0) return;
    if (read->result.error == StoreError::none) answer_inbox(*read);
    read->done(read->result);
  };
  // Of all channels: what has not been entered yet, and what never will, is unread as well.
  for (auto& [name, channel] : read->channels) {
    standing(name, read->deadline_ms,
             [count, &place = channel](const TopResult& known, const RedisEpochTimes& times) {
               place.top = known.top;
               limit_positions(place.standing, times);
               count(known.error);
             });
  }
  count(StoreError::none);
}

void RedisMembers::answer_inbox(InboxRead& read) {
  InboxContent& content = read.result.content;
  const auto leave_out = [](Unread& unread, Offset first, Offset end) {
    if (first > unread.next && unread.next <= unread.last)
      unread.ranges.emplace_back(unread.next, std::min(first - 1, unread.last));
    unread.next = std::max(unread.next, end);
  };
  for (auto& [name, channel] : read.channels) {
    std::uint64_t count = 0;
    for (const MembershipInRedis& membership : channel.standing.memberships) {
      const auto unread = unread_of(membership, channel.top.offset);
      if (!unread) continue;
      count += unread->last + 1 - unread->next;
      channel.unread.push_back(*unread);
    }
    if (count > 0) content.unread.emplace_back(name, count);
  }
  std::uint64_t room = read.limit;
  for (const InboxRead::Run& run : read.runs) {
    const auto found = read.channels.find(run.channel);
    if (found == read.channels.end() || found->second.unread.empty()) continue;
    InboxRead::Channel& channel = found->second;
    // Ranges of a channel ascend: nothing of a run is shown that is not unread.
    const Offset first = std::max(run.first, channel.standing.memberships.front().read + 1);
    const Offset end = std::min(run.first + run.count, channel.unread.back().last + 1);
    if (first >= end) continue;
    const std::uint64_t shown = std::min(room, end - first);
    if (shown > 0) content.entered.push_back({run.channel, channel.top.epoch, first, first + shown - 1});
    if (first + shown < end) channel.left_out = std::min(channel.left_out, first + shown);
    room -= shown;
    for (Unread& unread : channel.unread) leave_out(unread, first, end);
  }
  for (auto& [name, channel] : read.channels) {
    for (Unread& unread : channel.unread) {
      leave_out(unread, unread.last + 1, unread.last + 1);
      for (const auto& [first, last] : unread.ranges) {
        if (read.limit > 0 && first < channel.left_out)
          content.merged.push_back({name, channel.top.epoch, first, last});
      }
    }
  }
}

void RedisMembers::mark_read(const std::string& user, const std::string& channel, Offset offset,
                             std::function<void(StoreError)> done) {
  const Millis deadline_ms = deadline();
  const auto mark = [this, user, channel, offset, deadline_ms, done = std::move(done)](
                        const TopResult& known, const RedisEpochTimes& times) {
    if (known.error != StoreError::none) return done(known.error);
    if (offset > known.top.offset) return done(StoreError::conflict);
    RedisCall call;
    call.script = RedisScript::user_mark_read;
    call.is_write = true;
    call.keys = keys_of_user(user);
    call.deadline_ms = deadline_ms;
    call.words.add(channel).add(times.began).add(times.ended).add(offset);
    call.words.add(options_.limits.channel_lifetime_ms);
    call.done = [done](StoreError error, const RedisReply& reply) { done(error_of(error, reply, "ok")); };
    machine_.call(std::move(call));
  };
  standing(channel, deadline_ms, mark);
}

}  // namespace carillon
