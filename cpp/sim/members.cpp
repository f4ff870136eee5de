#include "sim/members.hpp"

#include <algorithm>
#include <array>
#include <string_view>

namespace carillon::sim {

Members::Members(Surroundings& surroundings, Judge& judge, const WorldOptions& options,
                 const std::vector<std::string>& channels, std::vector<std::unique_ptr<Gateway>>& gateways,
                 std::vector<std::unique_ptr<Subscriber>>& subscribers)
    : around_(surroundings),
      of_all_(judge),
      judge_(surroundings.trace, judge, options.publications > options.history_size),
      options_(options),
      channels_(channels),
      gateways_(gateways),
      subscribers_(subscribers),
      chance_(options.seed, "members") {
  for (std::size_t user = 0; user < options.members; ++user) {
    for (const std::string& channel : channels)
      wishes_.push_back({.user = name_of_user(user), .channel = channel, .wanted = {}});
  }
}

ChannelOptions Members::options_of(const WorldOptions& options, std::size_t channel,
                                   ChannelOptions options_of_all) {
  Chance chance(options.seed, "fan-out of c" + std::to_string(channel));
  const std::uint64_t drawn = chance.below(100);
  options_of_all.fan_out = drawn < 60 ? FanOut::write : drawn < 85 ? FanOut::hybrid : FanOut::read;
  // As members come and go, and clients, it is crossed.
  options_of_all.fan_out_threshold = static_cast<std::size_t>(
      chance.between(2, std::max<std::int64_t>(2, static_cast<std::int64_t>(options.members))));
  return options_of_all;
}

// ---- joining and leaving

void Members::begin() {
  static constexpr std::array<std::string_view, 3> kModes{"write", "read", "hybrid"};
  for (std::size_t channel = 0; channel < channels_.size(); ++channel) {
    const ChannelOptions options = options_of(options_, channel, {});
    around_.trace.add(channels_[channel], " fans out on ",
                      kModes.at(static_cast<std::size_t>(options.fan_out)), ", threshold ",
                      options.fan_out_threshold);
  }
  for (std::size_t user = 0; user < options_.members; ++user) {
    for (std::size_t channel = 0; channel < channels_.size(); ++channel) {
      if (chance_.percent(75)) wish(user, channel, true);
    }
  }
}

void Members::wish(std::size_t user, std::size_t channel, bool is_join) {
  Wishes& wishes = wishes_[user * channels_.size() + channel];
  if (wishes.is_member == is_join) return;
  wishes.is_member = is_join;
  wishes.wanted.push_back(is_join);
  if (wishes.wanted.size() == 1) ask_first(wishes);
}

void Members::ask_first(Wishes& wishes) {
  judge_.on_change_asked(wishes.user, wishes.channel, wishes.wanted.front());
  ask(wishes);
}

void Members::on_store_ended() {
  judge_.forget_memberships();
  for (Wishes& wishes : wishes_) {
    ++wishes.attempt;
    wishes.wanted.clear();
    if (!wishes.is_member) continue;
    wishes.wanted.push_back(true);
    ask_first(wishes);
  }
}

void Members::ask(Wishes& wishes) {
  const std::uint64_t attempt = ++wishes.attempt;
  const bool is_join = wishes.wanted.front();
  const bool is_asked =
      any_gateway().change_member(wishes.channel, wishes.user, is_join,
                                  [this, &wishes, attempt, is_join, was_split = is_split()](bool is_done) {
                                    if (wishes.attempt != attempt) return;
                                    if (!is_done) {
                                      judge_.on_unanswered(wishes.user, wishes.channel, is_join);
                                      return retry(wishes, attempt, chance_.between(20'000, 300'000));
                                    }
                                    judge_.on_changed(wishes.user, wishes.channel, is_join);
                                    // The older primary says of one who has joined at the other that there is
                                    // nothing to leave.
                                    if (was_split || is_split())
                                      judge_.on_membership_lost(wishes.user, wishes.channel);
                                    ++wishes.attempt;
                                    wishes.wanted.pop_front();
                                    if (!wishes.wanted.empty()) ask_first(wishes);
                                  });
  retry(wishes, attempt, is_asked ? kPatienceUs : chance_.between(50'000, 500'000));
}

void Members::retry(Wishes& wishes, std::uint64_t attempt, Micros delay_us) {
  around_.time.after(delay_us, [this, &wishes, attempt] {
    if (wishes.attempt != attempt) return;
    judge_.on_unanswered(wishes.user, wishes.channel, wishes.wanted.front());
    ask(wishes);
  });
}

std::string Members::unrest() const {
  for (const Wishes& wishes : wishes_) {
    if (!wishes.wanted.empty())
      return wishes.user + " has not " + (wishes.wanted.front() ? "joined " : "left ") + wishes.channel;
  }
  return {};
}

void Members::on_change_lost(const RedisCommand& command) {
  if (command[0] != "ZADD" && command[0] != "ZREM") return;
  for (const Wishes& wishes : wishes_) {
    if (command[1] != keys_.of_channel('m', wishes.channel)) continue;
    for (std::size_t i = 2; i < command.size(); ++i) {
      if (command[i] == wishes.user) judge_.on_membership_lost(wishes.user, wishes.channel);
    }
  }
}

// ---- publications

void Members::on_acknowledged(const std::string& channel, const std::string& data, std::uint64_t offset,
                              std::uint64_t losses) {
  judge_.on_acknowledged(channel, data, offset);
  if (of_all_.losses_possible() != losses || of_all_.is_lost(data) || is_split()) return;
  const auto index =
      static_cast<std::size_t>(std::find(channels_.begin(), channels_.end(), channel) - channels_.begin());
  if (options_of(options_, index, {}).fan_out != FanOut::write) return;
  for (std::size_t user = 0; user < options_.members; ++user) {
    const std::string name = name_of_user(user);
    if (judge_.must_be_entered(name, channel, data) && !has_entered(name, channel, offset))
      of_all_.complain("inbox: " + brief(data) + " of " + channel + " is acknowledged at " +
                       std::to_string(offset) + ", and not in the inbox of " + name);
  }
}

bool Members::has_entered(const std::string& user, const std::string& channel, std::uint64_t offset) {
  if (around_.redis == nullptr) return gateways_.front()->has_entered(user, channel, offset);
  // A number, then of each membership: read up to, left at, entered up to.
  const RedisReply known = around_.redis->ask(RedisCommand{"HGET", keys_.of_user('m', user), 'c' + channel});
  const std::size_t blank = known.text.rfind(' ');
  return blank != std::string::npos && std::stoull(known.text.substr(blank + 1)) >= offset;
}

// ---- reading

void Members::carry_out(const Act& act) {
  const std::size_t user = user_of(act, options_);
  switch (act.what) {
    case Happening::member_joins:
      return wish(user, channel_of(act, options_), true);
    case Happening::member_leaves:
      return wish(user, channel_of(act, options_), false);
    case Happening::inbox_is_read:
      return read(user, act.count);
    default:
      return;
  }
}

void Members::read(std::size_t user, std::size_t limit) {
  const std::string name = name_of_user(user);
  const auto take = [this, name, begun = judge_.begin_read(name, is_split())](const ShownInbox& shown) {
    judge_.on_read(name, begun, shown);
    if (chance_.percent(70)) mark(name, shown);
  };
  // Clients of all transports take turns: each third one is over WebSocket, and somebody's.
  for (std::size_t i = 0; i < subscribers_.size() && chance_.percent(90); ++i) {
    if (i % options_.members == user && subscribers_[i]->read_inbox(limit, take)) return;
  }
  static_cast<void>(any_gateway().read_inbox(name, limit, [take](const ShownInbox* shown) {
    if (shown != nullptr) take(*shown);
  }));
}

void Members::mark(const std::string& user, const ShownInbox& shown) {
  std::map<std::string, std::uint64_t> last;
  for (const ShownInbox::Item& item : shown.items) last[item.channel] = item.last;
  for (const auto& [channel, offset] : last) {
    judge_.on_mark_asked(user, channel, offset);
    const std::uint64_t losses = is_split() ? ~std::uint64_t{0} : of_all_.losses_possible();
    static_cast<void>(any_gateway().mark_read(
        user, channel, offset, [this, user, channel = channel, offset = offset, losses](bool is_done) {
          if (is_done) judge_.on_marked(user, channel, offset, losses);
        }));
  }
}

void Members::judge(const std::map<std::string, Judge::Log>& logs) {
  const auto missing = std::make_shared<std::size_t>(options_.members);
  for (std::size_t user = 0; user < options_.members; ++user) {
    const std::string name = name_of_user(user);
    auto begun = judge_.begin_read(name, false);
    begun.is_last = true;
    const bool is_asked =
        any_gateway().read_inbox(name, 100'000, [this, &logs, missing, name, begun](const ShownInbox* shown) {
          if (shown == nullptr) return;
          --*missing;
          judge_.on_read(name, begun, *shown);
          judge_.judge_last_read(name, logs, *shown);
        });
    if (!is_asked) break;
  }
  if (!around_.time.run_until(around_.time.now_us() + kLastReadUs, [&] { return *missing == 0; }))
    of_all_.complain("inbox: " + std::to_string(*missing) + " inboxes cannot be read at the end");
}

}  // namespace carillon::sim
