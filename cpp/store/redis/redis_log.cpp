#include "store/redis/redis_log.hpp"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "env/planted_fault.hpp"
#include "store/entry_codec.hpp"
#include "store/redis/redis_words.hpp"

namespace carillon {

namespace {

/// Lua compares texts: with as many digits each, they ascend as the numbers do.
std::string twenty_digits(std::uint64_t number) {
  std::string digits = std::to_string(number);
  return digits.insert(0, 20 - digits.size(), '0');
}

// Why channels have new epochs (docs/redis.md).
constexpr std::string_view kOfNewPrimary =
    "redis is another server than before, or started anew, or got its first replica: what it had "
    "acknowledged "
    "may be lost";
constexpr std::string_view kOfLostKeys =
    "their keys in redis were removed or evicted, or somebody else wrote to them";
constexpr std::string_view kOfLostKeysOrSlots =
    "their slots moved to another node, or their keys were removed or evicted, or somebody else wrote to "
    "them";

bool is_same(const Retention& left, const Retention& right) {
  return left.entries == right.entries && left.bytes == right.bytes && left.ttl_ms == right.ttl_ms;
}

}  // namespace

RedisLog::RedisLog(const RedisOptions& options, const RedisKeys& keys, std::string gateway,
                   RedisCarrier& machine, const Clock& clock)
    : options_(options),
      keys_(keys),
      gateway_(std::move(gateway)),
      machine_(machine),
      clock_(clock),
      told_(options, keys, gateway_, machine, clock) {}

std::vector<std::string> RedisLog::keys_of(std::string_view channel) const {
  return {keys_.channel(channel), keys_.stream(channel)};
}

// ---- lanes

void RedisLog::append(RedisAppend append) {
  const std::string channel = append.channel;
  push(channel, std::move(append));
}

void RedisLog::call_in_lane(std::string_view channel, RedisCall call) { push(channel, std::move(call)); }

void RedisLog::push(std::string_view channel, std::variant<RedisAppend, RedisCall> what) {
  const auto* const call = std::get_if<RedisCall>(&what);
  const Millis deadline_ms =
      call != nullptr && call->deadline_ms != 0 ? call->deadline_ms : clock_.now_ms() + options_.wait_ms;
  Waiting waiting{deadline_ms, std::move(what)};
  if (is_closed_) return refuse(waiting, StoreError::closed);
  if (!machine_.is_ready() && options_.while_unavailable == WhileUnavailable::fail)
    return refuse(waiting, StoreError::unavailable);
  const std::string name(channel);
  Lane& lane = lanes_[name];
  lane.waiting.push_back(std::move(waiting));
  if (!lane.is_under_way) due_.push_back(name);
}

void RedisLog::flush() {
  std::vector<AskedTop> tops = std::exchange(tops_, {});
  for (std::size_t next = 0; next < tops.size(); next += kTopsAtOnce) {
    const auto first = tops.begin() + static_cast<std::ptrdiff_t>(next);
    const auto last = first + static_cast<std::ptrdiff_t>(std::min(kTopsAtOnce, tops.size() - next));
    ask_tops({std::make_move_iterator(first), std::make_move_iterator(last)});
  }
  // What comes in one turn for a channel makes one group.
  for (const std::string& channel : std::exchange(due_, {})) advance(channel);
}

void RedisLog::advance(const std::string& channel) {
  const auto found = lanes_.find(channel);
  if (found == lanes_.end() || found->second.is_under_way) return;
  Lane& lane = found->second;
  if (lane.waiting.empty()) {
    lanes_.erase(found);
    return;
  }
  lane.is_under_way = true;
  if (auto* const call = std::get_if<RedisCall>(&lane.waiting.front().what)) {
    RedisCall taken = std::move(*call);
    taken.deadline_ms = lane.waiting.front().deadline_ms;
    lane.waiting.pop_front();
    taken.done = [this, channel, done = std::move(taken.done)](StoreError error, const RedisReply& reply) {
      finish_lane(channel);
      done(error, reply);
    };
    machine_.call(std::move(taken));
    return;
  }
  auto group = std::make_shared<Group>();
  std::size_t bytes = 0;
  // It has one deadline, the first one's: what has much more time is not made to share it.
  const Millis deadline_ms = lane.waiting.front().deadline_ms;
  const Millis latest_ms = deadline_ms + options_.wait_ms / kGroupSpread;
  while (!lane.waiting.empty() && group->size() < kGroupEntries && bytes < kGroupBytes) {
    auto* const append = std::get_if<RedisAppend>(&lane.waiting.front().what);
    if (append == nullptr || lane.waiting.front().deadline_ms > latest_ms) break;
    if (!group->empty() &&
        (append->mode != group->front().mode || !is_same(append->retention, group->front().retention)))
      break;
    bytes += append->bytes.size();
    group->push_back(std::move(*append));
    lane.waiting.pop_front();
  }
  send_group(channel, std::move(group), deadline_ms);
}

void RedisLog::finish_lane(const std::string& channel) {
  const auto found = lanes_.find(channel);
  if (found == lanes_.end()) return;
  found->second.is_under_way = false;
  if (found->second.waiting.empty()) {
    lanes_.erase(found);
  } else {
    due_.push_back(channel);
  }
}

void RedisLog::send_group(const std::string& channel, std::shared_ptr<Group> group, Millis deadline_ms) {
  const RedisAppend& first = group->front();
  RedisCall call;
  call.script = RedisScript::append;
  call.is_write = true;
  call.deadline_ms = deadline_ms;
  call.keys = keys_of(channel);
  call.words.add(options_.limits.channel_lifetime_ms).add(++last_group_).add(kGroupMemoryMs);
  call.words.add(keys_.announcements(channel))
      .add(std::string_view(first.mode == FanOutMode::read ? "r" : "w"));
  call.words.add(first.retention.entries).add(first.retention.bytes).add(first.retention.ttl_ms);
  call.words.add(std::max<Millis>(options_.limits.idempotency_window_ms, 1)).add(gateway_);
  for (const RedisAppend& each : *group) {
    const bool has_options =
        !each.idempotency_key.empty() || each.expected_offset.has_value() || each.version != 0;
    call.words.add(each.is_ephemeral ? (has_options ? "E" : "e") : (has_options ? "S" : "s"));
    call.words.add(each.cost_bytes).add(each.bytes);
    if (!has_options) continue;
    if (each.idempotency_key.empty()) {
      call.words.add(0);
    } else {
      call.keys.push_back(keys_.idempotency_key(channel, each.idempotency_key));
      call.words.add(call.keys.size());
    }
    if (each.expected_offset) {
      call.words.add(*each.expected_offset);
    } else {
      call.words.add("");
    }
    call.words.add(each.version == 0 ? std::string() : twenty_digits(each.version)).add(each.version_epoch);
  }
  call.done = [this, channel, group](StoreError error, const RedisReply& reply) {
    finish_lane(channel);
    answer_group(*group, error, reply);
  };
  machine_.call(std::move(call));
}

void RedisLog::answer_group(const Group& group, StoreError error, const RedisReply& reply) {
  // "late": the group was given up, and another one went on; nobody knows any more what became of it.
  if (error == StoreError::none && reply[0].text != "ok") error = StoreError::outcome_unknown;
  if (has_fault<PlantedFault::unknown_told_as_refused>() && error == StoreError::outcome_unknown)
    error = StoreError::unavailable;
  AppendResult result{.error = error};
  if (error != StoreError::none) {
    for (const RedisAppend& each : group) each.done(result);
    return;
  }
  result.position.epoch = Epoch::parse(reply[1].text).value_or(Epoch{});
  result.members = static_cast<std::size_t>(reply[3].number());
  std::string_view answers = reply[4].text;
  if (answers.starts_with('=')) {  // all of them got an offset, one behind the other
    answers.remove_prefix(1);
    result.position.offset = number_of(take_word(answers, '+'));
    const bool is_whole = number_of(answers) == group.size();
    if (!is_whole) result = {.error = StoreError::outcome_unknown};
    for (const RedisAppend& each : group) {
      each.done(result);
      if (is_whole) ++result.position.offset;
    }
    return;
  }
  for (const RedisAppend& each : group) {
    std::string_view answer = take_word(answers, ' ');
    result.is_duplicate = answer.starts_with('d');
    result.error = answer.starts_with('c') ? StoreError::conflict : StoreError::none;
    if (answer.empty()) result.error = StoreError::outcome_unknown;
    if (result.is_duplicate || result.error == StoreError::conflict) answer.remove_prefix(1);
    result.position.offset = number_of(answer);
    each.done(result);
  }
}

void RedisLog::refuse(Waiting& waiting, StoreError error) {
  if (auto* const append = std::get_if<RedisAppend>(&waiting.what)) {
    append->done({.error = error});
  } else {
    std::get<RedisCall>(waiting.what).done(error, RedisReply{});
  }
}

void RedisLog::tick() {
  told_.tick();
  const Millis now = clock_.now_ms();
  std::vector<Waiting> late;
  for (auto& [channel, lane] : lanes_) {
    while (!lane.waiting.empty() && lane.waiting.front().deadline_ms <= now) {
      late.push_back(std::move(lane.waiting.front()));
      lane.waiting.pop_front();
    }
  }
  for (Waiting& each : late) refuse(each, StoreError::unavailable);
}

void RedisLog::close() {
  is_closed_ = true;
  told_.close();
  std::vector<Waiting> all;
  for (auto& [channel, lane] : lanes_) {
    for (Waiting& each : lane.waiting) all.push_back(std::move(each));
    lane.waiting.clear();
  }
  for (Waiting& each : all) refuse(each, StoreError::closed);
  for (const AskedTop& each : std::exchange(tops_, {})) each.done({.error = StoreError::closed});
}

// ---- follows

void RedisLog::on_ready() {
  static constexpr std::size_t kAtOnce = 500;
  RedisCommand command{"SUBSCRIBE", keys_.told(""), keys_.told(gateway_)};
  if (!node_.empty()) command.add(keys_.told(node_));
  for (const auto& [channel, follow] : follows_) {
    if (has_fault<PlantedFault::not_followed_again>()) break;
    command.add(keys_.announcements(channel));
    if (command.size() > kAtOnce) machine_.tell(std::exchange(command, RedisCommand{"SUBSCRIBE"}));
  }
  machine_.tell(std::move(command));
  on_doubt();
}

void RedisLog::on_new_primary() {
  new_primary_ms_ = clock_.now_ms();
  if (options_.loss == RedisLoss::possible) {
    ++new_epochs_.news;
    new_epochs_.why = kOfNewPrimary;
  }
  on_doubt();
}

void RedisLog::see_top(const std::string& channel, const TopResult& result) {
  if (result.error != StoreError::none) return;
  const auto found = follows_.find(channel);
  if (found != follows_.end()) see(found->second, result.top.epoch);
}

void RedisLog::see(Follow& follow, Epoch epoch) {
  const Epoch before = std::exchange(follow.epoch, epoch);
  if (before == Epoch{} || before == epoch) return;
  ++new_epochs_.news;
  ++new_epochs_.channels;
  const bool is_of_primary = new_primary_ms_ && clock_.now_ms() - *new_primary_ms_ <= kOfNewPrimaryMs;
  new_epochs_.why = is_of_primary                             ? kOfNewPrimary
                    : options_.endpoint.cluster_nodes.empty() ? kOfLostKeys
                                                              : kOfLostKeysOrSlots;
}

void RedisLog::on_doubt() {
  told_.catch_up();
  if (listener_ != nullptr && !is_closed_) listener_->on_doubt();
}

void RedisLog::follow(std::string_view channel, std::function<void(const TopResult&)> done) {
  if (is_closed_) return done({.error = StoreError::closed});
  const std::string name(channel);
  if (++follows_[name].count == 1) machine_.tell(RedisCommand{"SUBSCRIBE", keys_.announcements(name)});
  // Behind the subscription: what is announced before its answer is not above this top.
  top(name, [this, name, done = std::move(done)](const TopResult& result) {
    if (result.error == StoreError::none) {
      if (const auto found = follows_.find(name); found != follows_.end()) found->second.is_known = true;
    } else {
      unfollow(name);
    }
    done(result);
  });
}

void RedisLog::unfollow(std::string_view channel) {
  const auto found = follows_.find(std::string(channel));
  if (found == follows_.end() || --found->second.count > 0) return;
  machine_.tell(RedisCommand{"UNSUBSCRIBE", keys_.announcements(channel)});
  follows_.erase(found);
}

void RedisLog::on_message(std::string_view channel, std::string_view message) {
  if (channel == keys_.told("") || channel == keys_.told(gateway_) ||
      (!node_.empty() && channel == keys_.told(node_)))
    return told_.hear(message);
  const std::string_view name = keys_.channel_of(channel);
  const auto found = follows_.find(std::string(name));
  if (found == follows_.end() || !found->second.is_known || listener_ == nullptr || is_closed_) return;
  std::string_view head = take_word(message, '\n');
  const std::string_view kind = take_word(head, ' ');
  if (kind == "a") return announce(name, found->second, head, message);
  if (kind != "r") return;  // of a later version
  if (const std::optional<Epoch> epoch = Epoch::parse(take_word(head, ' ')))
    listener_->on_history_removed(name, *epoch, number_of(head));
}

void RedisLog::announce(std::string_view channel, Follow& follow, std::string_view head,
                        std::string_view message) {
  const std::optional<Epoch> epoch = Epoch::parse(take_word(head, ' '));
  if (!epoch) return;
  see(follow, *epoch);
  Announcement announcement{.channel = channel, .epoch = *epoch, .entry = nullptr};
  announcement.mode = take_word(head, ' ') == "r" ? FanOutMode::read : FanOutMode::write;
  announcement.members = number_of(take_word(head, ' '));
  for (std::uint64_t left = number_of(head); left > 0 && !message.empty(); --left) {
    std::string_view line = take_word(message, '\n');
    const Offset offset = number_of(take_word(line, ' '));
    const std::size_t size = std::min<std::size_t>(number_of(line), message.size());
    announcement.entry = decode_entry(message.substr(0, size), offset);
    message.remove_prefix(size);
    // One that cannot be read is a hole to the hub, which then reads the range, and tells a gap.
    if (announcement.entry) listener_->on_announced(announcement);
  }
}

// ---- tops and pages

TopResult RedisLog::top_of(StoreError error, const RedisReply& reply) {
  if (error == StoreError::none && reply[0].text != "ok") error = StoreError::unavailable;
  TopResult result{.error = error};
  if (error != StoreError::none) return result;
  result.top = {Epoch::parse(reply[1].text).value_or(Epoch{}), number_of(reply[2].text)};
  result.members = number_of(reply[3].text);
  return result;
}

void RedisLog::top(std::string_view channel, std::function<void(const TopResult&)> done) {
  if (is_closed_) return done({.error = StoreError::closed});
  AskedTop asked{std::string(channel), clock_.now_ms() + options_.wait_ms, std::move(done)};
  // In a cluster the keys of two channels are in two slots. What waits for a link is counted one by one.
  if (options_.endpoint.cluster_nodes.empty() && machine_.is_ready()) {
    tops_.push_back(std::move(asked));
  } else {
    ask_top(std::move(asked));
  }
}

void RedisLog::ask_top(AskedTop asked) {
  RedisCall call;
  call.script = RedisScript::top;
  call.deadline_ms = asked.deadline_ms;
  call.keys = keys_of(asked.channel);
  call.words.add(options_.limits.channel_lifetime_ms);
  call.done = [this, channel = std::move(asked.channel), done = std::move(asked.done)](
                  StoreError error, const RedisReply& reply) {
    const TopResult result = top_of(error, reply);
    see_top(channel, result);
    done(result);
  };
  machine_.call(std::move(call));
}

void RedisLog::ask_tops(std::vector<AskedTop> asked) {
  if (asked.size() == 1) return ask_top(std::move(asked.front()));
  RedisCall call;
  call.script = RedisScript::tops;
  call.deadline_ms = asked.front().deadline_ms;
  for (const AskedTop& each : asked) call.keys.push_back(keys_.channel(each.channel));
  call.words.add(options_.limits.channel_lifetime_ms);
  const auto shared = std::make_shared<std::vector<AskedTop>>(std::move(asked));
  call.done = [this, shared](StoreError error, const RedisReply& reply) {
    for (std::size_t i = 0; i < shared->size(); ++i) {
      AskedTop& each = (*shared)[i];
      const std::size_t at = 1 + 3 * i;
      if (error != StoreError::none) {
        each.done({.error = error});
      } else if (reply[at].text.empty()) {
        ask_top(std::move(each));
      } else {
        TopResult result;
        result.top = {Epoch::parse(reply[at].text).value_or(Epoch{}), number_of(reply[at + 1].text)};
        result.members = number_of(reply[at + 2].text);
        see_top(each.channel, result);
        each.done(result);
      }
    }
  };
  machine_.call(std::move(call));
}

void RedisLog::read(std::string_view channel, const ReadRange& range, std::function<void(const Page&)> done) {
  // Lua's numbers are doubles: what is larger than any offset is any offset.
  static constexpr std::uint64_t kLargest = std::uint64_t{1} << 53U;
  RedisCall call;
  call.script = RedisScript::read;
  call.keys = keys_of(channel);
  const Offset first = std::max<Offset>(range.first, 1);
  call.words.add(std::min<std::uint64_t>(first, kLargest)).add(std::min<std::uint64_t>(range.last, kLargest));
  call.words.add(std::min<std::uint64_t>(range.entries_max, kLargest));
  call.words.add(std::min<std::uint64_t>(range.bytes_max, kLargest));
  call.words.add(std::string_view(range.is_backward ? "1" : "0"));
  call.done = [range, first, done = std::move(done)](StoreError error, const RedisReply& reply) {
    if (error == StoreError::none && reply[0].text != "ok")
      error = reply[0].text == "unknown" ? StoreError::not_held : StoreError::unavailable;
    Page page{.error = error};
    if (error != StoreError::none) return done(page);
    page.top = {Epoch::parse(reply[1].text).value_or(Epoch{}), number_of(reply[2].text)};
    page.has_more = reply[3].text == "1";
    Offset held = first;  // the history begins here, or below
    for (std::size_t i = 4; i + 1 < reply.items.size(); i += 2) {
      const Offset offset = number_of(reply[i].text);
      std::shared_ptr<Entry> entry = decode_entry(reply[i + 1].text, offset);
      // Only consecutive entries make a page: a damaged one hides those before it.
      const Offset next = page.entries.empty() ? offset
                          : range.is_backward  ? page.entries.back()->offset - 1
                                               : page.entries.back()->offset + 1;
      if (!entry || offset != next) {
        if (range.is_backward) {
          held = offset + 1;
          page.has_more = false;
          break;
        }
        page.entries.clear();
      }
      if (entry) page.entries.push_back(std::move(entry));
    }
    if (range.is_backward) std::reverse(page.entries.begin(), page.entries.end());
    const Offset last = std::min(range.last, page.top.offset);
    held = std::max(held, page.entries.empty() ? last + 1 : page.entries.front()->offset);
    const bool reaches_start = !range.is_backward || !page.has_more;
    if (reaches_start && first <= last && first < held) page.error = StoreError::not_held;
    done(page);
  };
  machine_.call(std::move(call));
}

void RedisLog::remove_history(std::string_view channel, std::function<void(StoreError)> done) {
  RedisCall call;
  call.script = RedisScript::remove_history;
  call.is_write = true;
  call.keys = keys_of(channel);
  call.words.add(keys_.announcements(channel));
  call.done = [done = std::move(done)](StoreError error, const RedisReply&) { done(error); };
  call_in_lane(channel, std::move(call));
}

}  // namespace carillon
