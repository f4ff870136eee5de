#include "store/redis/redis_presence.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

namespace carillon {

namespace {

constexpr std::size_t kGatewayLetters = Epoch::kLetters;

void put_text(std::string& entry, std::string_view text) {
  entry.append(std::to_string(text.size())).append(1, ':').append(text);
}
std::string take_text(std::string_view& rest) {
  const std::size_t colon = std::min(rest.find(':'), rest.size());
  std::size_t size = 0;
  std::from_chars(rest.data(), rest.data() + colon, size);
  rest.remove_prefix(std::min(colon + 1, rest.size()));
  std::string text(rest.substr(0, size));
  rest.remove_prefix(std::min(size, rest.size()));
  return text;
}

/// The entry of a member, from the zero byte behind its client on.
std::string tail_of(const PresenceMember& member, std::string_view gateway) {
  std::string tail(1, '\0');
  tail.append(gateway);
  put_text(tail, member.user);
  put_text(tail, member.conn_info_json);
  put_text(tail, member.chan_info_json);
  return tail;
}

struct ParsedEntry {
  std::string gateway;
  PresenceMember member;
};
std::optional<ParsedEntry> parse_entry(std::string_view entry) {
  const std::size_t zero = entry.find('\0');
  if (zero == std::string_view::npos || entry.size() < zero + 1 + kGatewayLetters) return std::nullopt;
  ParsedEntry parsed;
  parsed.member.client = entry.substr(0, zero);
  parsed.gateway = entry.substr(zero + 1, kGatewayLetters);
  entry.remove_prefix(zero + 1 + kGatewayLetters);
  parsed.member.user = take_text(entry);
  parsed.member.conn_info_json = take_text(entry);
  parsed.member.chan_info_json = take_text(entry);
  return parsed;
}

/// Approximate size of a member in an answer in JSON; the same as PresenceTable::page counts.
std::size_t bytes_of(const PresenceMember& member) {
  static constexpr std::size_t kKeysBytes = 61;
  return 2 * member.client.size() + member.user.size() + member.conn_info_json.size() +
         member.chan_info_json.size() + kKeysBytes;
}

constexpr Millis kNever = Millis{1} << 53;  // Lua's numbers are doubles

void ignore(StoreError /*error*/, const RedisReply& /*reply*/) {}

}  // namespace

RedisPresence::RedisPresence(const RedisOptions& options, const RedisKeys& keys, RedisCarrier& machine,
                             RedisGateways& gateways, const Clock& clock, RandomSource& random)
    : options_(options),
      keys_(keys),
      machine_(machine),
      gateways_(gateways),
      clock_(clock),
      hash_(random),
      own_(hash_) {}

std::vector<std::string> RedisPresence::keys_of(std::string_view channel) const {
  return {keys_.of_channel('p', channel), keys_.of_channel('q', channel)};
}

// ---- changes

void RedisPresence::add(const std::string& channel, const PresenceMember& member) {
  if (is_leaving_ || member.client.find('\0') != std::string::npos) return;
  own_.add(hash_.of(channel), member);
  note(channel, member.client);
}

void RedisPresence::remove(const std::string& channel, const std::string& client) {
  if (is_leaving_ || !own_.find(hash_.of(channel), client)) return;
  own_.remove(hash_.of(channel), client);
  note(channel, client);
}

void RedisPresence::note(const std::string& channel, const std::string& client) {
  Changes& changes = changes_[channel];
  if (changes.clients.insert(client).second) ++clients_waiting_;
  make_due(channel, changes);
  if (clients_waiting_ <= kChangesWaiting || machine_.is_ready()) return;
  // Redis is away. What it has of this gateway need not be remembered if it is another gateway's.
  gateways_.rename();
  for (auto& [name, each] : changes_) each.clients.clear();
  clients_waiting_ = 0;
}

void RedisPresence::make_due(const std::string& channel, Changes& changes) {
  if (changes.is_under_way || changes.is_due) return;
  changes.is_due = true;
  due_.push_back(channel);
}

void RedisPresence::on_ready() { send_all(); }

void RedisPresence::on_beat(bool is_renamed) {
  if (is_renamed) {
    listed_.clear();
    send_all();
  }
  prolong();
}

void RedisPresence::send_all() {
  // The list may be lost with the rest.
  listed_.clear();
  const std::vector<std::string> all = own_.channels();
  to_send_.assign(all.begin(), all.end());
}

void RedisPresence::send_whole(const std::string& channel) {
  Changes& changes = changes_[channel];
  changes.is_whole = true;
  changes.whole_after.clear();
  make_due(channel, changes);
}

void RedisPresence::flush() {
  if (!machine_.is_ready() || !(gateways_.is_registered() || is_leaving_)) return;
  while (under_way_ < kBatchesUnderWay) {
    if (due_.empty()) {
      if (to_send_.empty()) return;
      send_whole(to_send_.front());
      to_send_.pop_front();
      continue;
    }
    const std::string channel = std::move(due_.front());
    due_.pop_front();
    const auto found = changes_.find(channel);
    if (found == changes_.end()) continue;
    Changes& changes = found->second;
    changes.is_due = false;
    // The batches of a node that is away would take the places of all others.
    if (!machine_.is_ready_for(keys_.of_channel('p', channel))) changes.retry_ms = clock_.now_ms() + kRetryMs;
    if (changes.is_under_way || changes.retry_ms > clock_.now_ms()) continue;  // tick() comes back to it
    send_batch(channel, changes);
  }
}

void RedisPresence::send_batch(const std::string& channel, Changes& changes) {
  const HashedName name = hash_.of(channel);
  RedisCall call;
  call.script = RedisScript::presence_change;
  call.is_write = true;
  call.is_for_this_link =
      true;  // it has this gateway's name, under which others may have cleared up meanwhile
  call.keys = keys_of(channel);
  call.words.add(RedisGateways::kLifetimeMs).add(gateways_.names());
  // The nodes of a cluster have clocks of their own, so none of them can judge by another one's time.
  const bool is_cluster = !options_.endpoint.cluster_nodes.empty();
  call.words.add(is_cluster ? kNever : gateways_.alive_until_ms());
  bool has_members = false;
  const auto put = [&](const PresenceMember& member) {
    has_members = has_members || !is_leaving_;
    call.words.add(member.client).add(member.user);
    call.words.add(is_leaving_ ? std::string() : tail_of(member, gateways_.id()));
  };
  std::vector<std::string> clients;
  while (!changes.clients.empty() && clients.size() < kBatchClients && call.words.bytes() < kBatchBytes) {
    std::string client = std::move(changes.clients.extract(changes.clients.begin()).value());
    --clients_waiting_;
    if (const auto member = own_.find(name, client)) {
      put(*member);
    } else {
      call.words.add(client).add("").add("");
    }
    clients.push_back(std::move(client));
  }
  if (clients.empty() && changes.is_whole) {
    const PresenceResult page = own_.page(name, {changes.whole_after, kBatchBytes});
    for (const PresenceMember& member : page.members) put(member);
    changes.is_whole = page.has_more;
    if (page.has_more) changes.whole_after = page.members.back().client;
  }
  changes.is_under_way = true;
  ++under_way_;
  if (has_members) list(channel);
  auto reads = changes.has_more() ? decltype(changes.reads){} : std::exchange(changes.reads, {});
  call.done = [this, channel, clients = std::move(clients)](StoreError error, const RedisReply& reply) {
    is_in_doubt_ = is_in_doubt_ || error == StoreError::outcome_unknown;
    const bool is_late = error == StoreError::none && reply[0].text == "late";
    on_sent(channel, clients, is_late ? StoreError::unavailable : error);
  };
  machine_.call(std::move(call));  // `changes` may be gone
  for (const auto& [begun_ms, read] : reads) read();
}

void RedisPresence::on_sent(const std::string& channel, const std::vector<std::string>& clients,
                            StoreError error) {
  --under_way_;
  const auto found = changes_.find(channel);
  if (found == changes_.end()) return;
  Changes& changes = found->second;
  changes.is_under_way = false;
  if (error != StoreError::none) {
    for (const std::string& client : clients) {
      if (changes.clients.insert(client).second) ++clients_waiting_;
    }
    changes.is_whole = true;
    changes.whole_after.clear();
    changes.retry_ms = clock_.now_ms() + kRetryMs;
    return;  // tick() comes back to it
  }
  if (changes.has_more() || !changes.reads.empty()) return make_due(channel, changes);
  changes_.erase(found);
  if (is_leaving_ || !own_.has(hash_.of(channel))) unlist(channel);
}

void RedisPresence::list(const std::string& channel) {
  if (!listed_.insert(channel).second) return;
  RedisCall call;
  const std::string list = keys_.of_gateway('c', gateways_.id());
  call.words = RedisCommand{"SADD", list, channel};
  call.is_write = true;
  call.done = [this, channel](StoreError error, const RedisReply& /*reply*/) {
    if (error != StoreError::none) listed_.erase(channel);
    if (error != StoreError::none && own_.has(hash_.of(channel))) to_send_.push_back(channel);
  };
  const bool is_first = listed_.size() == 1;
  machine_.call(std::move(call));
  if (!is_first) return;  // prolong() does it later
  RedisCall expire;
  expire.words = RedisCommand{"PEXPIRE", list};
  expire.words.add(RedisGateways::kLifetimeMs);
  expire.done = ignore;
  machine_.call(std::move(expire));
}

void RedisPresence::unlist(const std::string& channel) {
  if (listed_.erase(channel) == 0) return;
  RedisCall call;
  call.words = RedisCommand{"SREM", keys_.of_gateway('c', gateways_.id()), channel};
  call.is_write = true;
  call.is_for_this_link = true;
  call.done = ignore;  // then there is nothing to clear up in a channel of the list
  machine_.call(std::move(call));
}

void RedisPresence::tick() {
  const Millis now = clock_.now_ms();
  std::vector<std::function<void()>> late;
  for (auto& [channel, changes] : changes_) {
    if (changes.has_more() && changes.retry_ms <= now) make_due(channel, changes);
    while (!changes.reads.empty() && changes.reads.front().first + kReadWaitMs <= now) {
      late.push_back(std::move(changes.reads.front().second));
      changes.reads.pop_front();
    }
  }
  for (const auto& read : late) read();
}

void RedisPresence::leave() {
  if (std::exchange(is_leaving_, true)) return;
  send_all();
  const std::vector<std::string> all = own_.channels();
  listed_.insert(all.begin(), all.end());
}

void RedisPresence::close() {
  for (auto& [channel, changes] : std::exchange(changes_, {})) {
    for (const auto& [begun_ms, read] : changes.reads) read();
  }
}

void RedisPresence::prolong() {
  const Millis now = clock_.now_ms();
  if (to_prolong_.empty() && now >= next_round_ms_) {
    next_round_ms_ = now + kProlongMs;
    to_prolong_ = own_.channels();
    to_prolong_.push_back({});  // the list of channels itself
    // In half of the time, so that a round never meets the next one.
    const auto beats = static_cast<std::size_t>(std::max<Millis>(kProlongMs / 2 / options_.heartbeat_ms, 1));
    prolonged_at_once_ = to_prolong_.size() / beats + 1;
  }
  for (std::size_t i = 0; i < prolonged_at_once_ && !to_prolong_.empty(); ++i) {
    const std::string channel = std::move(to_prolong_.back());
    to_prolong_.pop_back();
    std::vector<std::string> keys{keys_.of_gateway('c', gateways_.id())};
    if (!channel.empty()) keys = keys_of(channel);
    for (const std::string& key : keys) {
      RedisCall call;
      call.words = RedisCommand{"PEXPIRE", key};
      call.words.add(RedisGateways::kLifetimeMs);
      call.done = ignore;
      machine_.call(std::move(call));
    }
  }
}

// ---- reads

void RedisPresence::read_behind_changes(const std::string& channel, std::function<void()> read) {
  const auto found = changes_.find(channel);
  if (found == changes_.end() || !machine_.is_ready() || !found->second.has_more()) return read();
  found->second.reads.emplace_back(clock_.now_ms(), std::move(read));
}

struct RedisPresence::PageRead {
  std::string channel;
  std::string after;
  std::size_t bytes_max = 0;
  Millis deadline_ms = 0;
  std::function<void(const PresenceResult&)> done;
  PresenceResult result;
  std::size_t bytes = 0;
  std::set<std::string> looked_for;  // unknown gateways, behind whose entries it was asked who is alive
  std::set<std::string> cleared;
};

void RedisPresence::page(const std::string& channel, std::string after, std::size_t bytes_max,
                         std::function<void(const PresenceResult&)> done) {
  auto read = std::make_shared<PageRead>();
  read->channel = channel;
  read->after = std::move(after);
  read->bytes_max = bytes_max;
  read->deadline_ms = clock_.now_ms() + options_.wait_ms;
  read->done = std::move(done);
  read_behind_changes(channel, [this, read] { read_page(read); });
}

void RedisPresence::read_page(const std::shared_ptr<PageRead>& read) {
  RedisCall call;
  call.words = RedisCommand{"ZRANGEBYLEX", keys_.of_channel('p', read->channel)};
  // Behind all entries of that client: gateways have letters only.
  call.words.add(read->after.empty() ? "-" : '(' + read->after + std::string("\0\xff", 2));
  call.words.add("+").add("LIMIT").add(0).add(options_.presence_page_entries);
  call.deadline_ms = read->deadline_ms;
  call.done = [this, read](StoreError error, const RedisReply& reply) {
    if (error == StoreError::none) return on_page(read, reply);
    read->done({.error = error});
  };
  machine_.call(std::move(call));
}

void RedisPresence::on_page(const std::shared_ptr<PageRead>& read, const RedisReply& reply) {
  for (const RedisReply& item : reply.items) {
    std::optional<ParsedEntry> entry = parse_entry(item.text);
    if (!entry) continue;
    const bool is_alive = gateways_.is_alive(entry->gateway);
    if (!is_alive && !gateways_.is_dead(entry->gateway)) {
      // It is new, or so long dead that nobody knows it any more. A look before its entry was seen says
      // nothing.
      if (read->looked_for.insert(entry->gateway).second) {
        return gateways_.look(read->deadline_ms, [this, read](StoreError error) {
          if (error == StoreError::none) return read_page(read);
          read->done({.error = error});
        });
      }
      // A command of a gateway that was stopped came when all was cleared up behind it.
      if (read->cleared.insert(entry->gateway).second)
        clear(read->channel, entry->gateway, [](StoreError /*error*/) {});
    }
    if (is_alive) {
      read->bytes += bytes_of(entry->member);
      read->result.has_more = !read->result.members.empty() && read->bytes > read->bytes_max;
      if (read->result.has_more) return read->done(read->result);
    }
    read->after = entry->member.client;
    if (is_alive) read->result.members.push_back(std::move(entry->member));
  }
  if (reply.items.size() < options_.presence_page_entries) return read->done(read->result);
  read->deadline_ms = clock_.now_ms() + options_.wait_ms;  // Redis answers
  read_page(read);
}

void RedisPresence::counts(const std::string& channel, std::function<void(const PresenceCounts&)> done) {
  const Millis deadline_ms = clock_.now_ms() + options_.wait_ms;
  read_behind_changes(channel, [this, channel, deadline_ms, done = std::move(done)] {
    RedisCall call;
    call.deadline_ms = deadline_ms;
    call.script = RedisScript::presence_counts;
    call.keys = keys_of(channel);
    call.done = [done](StoreError error, const RedisReply& reply) {
      PresenceCounts counts{.error = error};
      counts.clients = static_cast<std::uint64_t>(reply[0].number());
      counts.users = static_cast<std::uint64_t>(reply[1].number());
      done(counts);
    };
    machine_.call(std::move(call));
  });
}

// ---- behind a dead gateway

void RedisPresence::clear(const std::string& channel, const std::string& gateway,
                          std::function<void(StoreError)> done) {
  struct Clearing {
    std::string after;
    std::function<void(StoreError)> done;
    std::function<void()> step;
  };
  auto clearing = std::make_shared<Clearing>();
  clearing->done = std::move(done);
  clearing->step = [this, channel, gateway, clearing] {
    RedisCall call;
    call.script = RedisScript::presence_clear;
    call.is_write = true;
    call.keys = keys_of(channel);
    call.words.add(gateway).add(clearing->after).add(options_.presence_page_entries);
    call.done = [clearing](StoreError error, const RedisReply& reply) {
      if (error == StoreError::none && !reply.text.empty()) {
        clearing->after = reply.text;
        return clearing->step();
      }
      const auto end = std::exchange(clearing->step, nullptr);  // the circle ends
      clearing->done(error);
    };
    machine_.call(std::move(call));
  };
  clearing->step();
}

}  // namespace carillon
