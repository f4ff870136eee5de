#include "hub/hub.hpp"

#include <algorithm>
#include <iterator>
#include <limits>
#include <optional>
#include <utility>

namespace carillon {

Hub::Hub(const Clock& clock, RandomSource& random, Store& store, ChannelRules rules, HubLimits limits)
    : clock_(clock),
      store_(store),
      rules_(std::move(rules)),
      limits_(limits),
      hash_(random),
      stripes_(hash_),
      relieve_above_(limits.history_bytes_total) {
  store_.set_listener(this);
}

Hub::~Hub() { close(); }

void Hub::close() {
  set_shards({});
  is_closed_ = true;
  std::vector<std::shared_ptr<Channel>> channels;
  for (Stripe& stripe : stripes_) {
    const std::lock_guard lock(stripe.mutex);
    for (const auto& [name, channel] : stripe.channels) channels.push_back(channel);
  }
  for (const auto& channel : channels) {
    // Callbacks that wait here have a shared_ptr to the channel that owns them: unless cleared, they leak.
    std::vector<std::function<void()>> waiting;
    std::vector<std::function<void(const ReadResult&)>> reading;
    {
      const std::lock_guard lock(channel->mutex);
      channel->is_opening = false;
      waiting.swap(channel->on_open);
      for (const auto& range : channel->reads) {
        reading.insert(reading.end(), range->waiting.begin(), range->waiting.end());
        range->waiting.clear();
      }
    }
    for (const auto& then : waiting) then();
    for (const auto& then : reading) then({StoreError::unavailable, {}, {}});
    end_walk(*channel);
  }
}

// ---- channels

std::shared_ptr<Channel> Hub::find_or_add(std::string_view name) {
  const HashedName hashed = hash_.of(name);
  Stripe& stripe = stripes_.of(hashed);
  const std::lock_guard lock(stripe.mutex);
  if (const auto found = stripe.channels.find(hashed); found != stripe.channels.end()) return found->second;
  auto channel = std::make_shared<Channel>(std::string(name), rules_.options_for(name));
  gauge_->fetch_add(channel->cost_bytes(), std::memory_order_relaxed);
  stripe.channels.emplace(channel->name, channel);
  stripe.all.add(*channel);
  return channel;
}

std::shared_ptr<Channel> Hub::open_channel(std::string_view name) {
  auto channel = find_or_add(name);
  {
    const std::lock_guard lock(channel->mutex);
    if (channel->needs_release || channel->is_opening) return channel;
    channel->is_opening = true;
  }
  open(channel);
  return channel;
}

void Hub::open(const std::shared_ptr<Channel>& channel) {
  channel->fan_out.joins.fetch_add(1);  // it may have members: who publishes meanwhile waits for inboxes
  store_.open(channel->name, [this, channel](const OpenResult& result) {
    std::vector<std::function<void()>> waiting;
    {
      const std::lock_guard lock(channel->mutex);
      channel->is_opening = false;
      if (result.error == StoreError::none) {
        channel->needs_release = true;
        channel->in_store.store(result.in_store, std::memory_order_release);
        channel->fan_out.members = result.members;
        if (!channel->epoch.is_set()) {  // else an announcement was faster, and knows as much
          channel->epoch = result.top.epoch;
          channel->log.start_after(result.top.offset);
        }
        channel->is_open = true;
      }
      waiting.swap(channel->on_open);
    }
    channel->fan_out.joins.fetch_sub(1);
    for (auto& then : waiting) then();
  });
}

void Hub::when_open(const std::shared_ptr<Channel>& channel, std::function<void()> then) {
  {
    const std::lock_guard lock(channel->mutex);
    if (!channel->is_open && channel->is_opening && !is_closed_) {
      channel->on_open.push_back(std::move(then));
      return;
    }
  }
  then();
}

// ---- publish

void Hub::publish(std::string_view name, Publication publication, const PublishOptions& options,
                  PublishDone done) {
  // What a publish may do for the others' memory: its own size, and the smallest channels count as well.
  const std::size_t relief = kRelievedPerPublish + publication.data.size() / 512;
  const auto channel = open_channel(name);
  publication.has_delta = publication.has_delta || channel->options().delta_publish;
  auto entry = std::make_shared<Entry>(EntryKind::publication, std::move(publication), clock_.wall_ms());
  entry->count_into(gauge_);
  AppendOptions append;
  append.is_ephemeral = options.skip_history || !channel->options().has_history();
  append.idempotency_key = options.idempotency_key;
  append.handle = channel.get();
  append.mode = channel->fan_out.decide(channel->options(), adaptive_.factor());
  if (append.mode == FanOutMode::write && channel->fan_out.may_have_members())
    done = after_inboxes(channel, std::move(done));
  store_.append(name, std::move(entry), append, std::move(done));
  if (history_bytes() > relieve_above_.load(std::memory_order_relaxed)) relieve_pressure(relief);
}

void Hub::announce(std::string_view name, EntryKind kind, std::string info_json) {
  const auto channel = open_channel(name);
  Publication notice;
  notice.info_json = std::move(info_json);
  auto entry = std::make_shared<Entry>(kind, std::move(notice), clock_.wall_ms());
  entry->count_into(gauge_);
  AppendOptions append;
  append.is_ephemeral = true;
  append.handle = channel.get();
  store_.append(name, std::move(entry), append, [](const AppendResult&) {});
}

void Hub::on_announced(const Announcement& announcement) {
  const auto found = announcement.handle == nullptr ? find_or_add(announcement.channel) : nullptr;
  Channel& channel = found ? *found : static_cast<Channel&>(*announcement.handle);
  // In order, other than the answers to those who add and remove them at the same time.
  if (announcement.entry->is_stored()) channel.fan_out.members = announcement.members;
  bool is_hole = false;
  bool is_walk_due = false;
  std::vector<InboxWalk::Waiter> told;
  {
    const std::lock_guard lock(channel.mutex);
    accept(channel, announcement.epoch, announcement.entry, 0);
    if (announcement.members > 0 && announcement.mode == FanOutMode::write)
      is_walk_due = add_to_walk(channel, announcement, told);
    is_hole = !channel.early.empty() && !channel.is_filling;
    if (is_hole) channel.is_filling = true;
  }
  if (is_walk_due) post_walk(channel.shared_from_this());
  if (is_hole) fill_hole(channel.shared_from_this());
  for (const auto& waiter : told) waiter.then(false);
}

void Hub::accept(Channel& channel, const Epoch& epoch, const EntryRef& entry, Millis age_ms) {
  count_into_gauge(entry);
  if (!channel.epoch.is_set()) {
    // Nobody can listen before the channel is open, and only a stored entry tells where its offsets stand.
    if (!entry->is_stored()) return;
    channel.epoch = epoch;
    channel.log.start_after(entry->offset - 1);
  } else if (channel.epoch != epoch) {
    reset(channel, epoch, entry->is_stored() ? entry->offset - 1 : 0);
  }
  if (!entry->is_stored() || entry->offset == channel.log.top() + 1) {
    append_to_log(channel, entry, age_ms);
    append_early(channel);
  } else if (entry->offset > channel.log.top()) {
    channel.early.emplace(entry->offset, entry);
    if (channel.early.size() > limits_.early_entries) {
      reset(channel, channel.epoch, channel.early.begin()->first - 1);
      append_early(channel);
    }
  }  // else it came before, and came again
  wake_shards(channel);
}

void Hub::append_to_log(Channel& channel, const EntryRef& entry, Millis age_ms) {
  ++channel.announced;
  published_.fetch_add(1, std::memory_order_relaxed);
  channel.log.append(entry, clock_.now_ms(), channel.options(), channel.taken(), age_ms);
}

void Hub::count_into_gauge(const EntryRef& entry) {
  // What this hub has published is counted. What the store has made is shared by nobody yet.
  if (!entry->is_counted()) std::const_pointer_cast<Entry>(entry)->count_into(gauge_);
}

void Hub::append_early(Channel& channel) {
  while (!channel.early.empty()) {
    const auto first = channel.early.begin();
    if (first->first > channel.log.top() + 1) return;
    if (first->first == channel.log.top() + 1) append_to_log(channel, first->second, 0);
    channel.early.erase(first);
  }
}

void Hub::reset(Channel& channel, const Epoch& epoch, Offset top) {
  ++channel.resets;
  if (channel.epoch != epoch) {
    channel.early.clear();
    channel.epoch = epoch;
    channel.epoch_resets = channel.resets;
  }
  channel.log.reset(top);
}

void Hub::wake_shards(Channel& channel) {
  for (Channel::Link& link : channel.links) {
    if (link.is_woken) continue;
    link.is_woken = true;
    link.shard->wake(&channel);
  }
}

void Hub::fill_hole(const std::shared_ptr<Channel>& channel) {
  Offset first = 0;
  Offset last = 0;
  {
    const std::lock_guard lock(channel->mutex);
    if (channel->early.empty()) {
      channel->is_filling = false;
      return;
    }
    first = channel->log.top() + 1;
    last = channel->early.begin()->first - 1;
  }
  read(channel, first, last,
       [this, channel, last](const ReadResult& result) { on_filled(channel, last, result); });
}

void Hub::on_filled(const std::shared_ptr<Channel>& channel, Offset last, const ReadResult& result) {
  {
    const std::lock_guard lock(channel->mutex);
    channel->is_filling = false;
    if (result.error == StoreError::unavailable) return;  // keep_house asks again
    accept_read(*channel, result);
    if (channel->log.top() < last && !channel->early.empty()) {
      // What has left the store nobody can deliver: the hole becomes a gap that every cursor is told
      // of.
      reset(*channel, channel->epoch, channel->early.begin()->first - 1);
      append_early(*channel);
      wake_shards(*channel);
    }
    if (channel->early.empty()) return;
    channel->is_filling = true;
  }
  fill_hole(channel);
}

void Hub::read(const std::shared_ptr<Channel>& channel, Offset first, Offset last,
               std::function<void(const ReadResult&)> then) {
  auto range = std::make_shared<Channel::RangeRead>(Channel::RangeRead{first, last, 0, {}});
  {
    const std::lock_guard lock(channel->mutex);
    range->resets = channel->resets;
    for (const auto& known : channel->reads) {
      if (known->first > first || known->last != last || known->resets != channel->resets) continue;
      known->waiting.push_back(std::move(then));
      return;
    }
    range->waiting.push_back(std::move(then));
    channel->reads.push_back(range);
  }
  store_.read(channel->name, first, last, [channel, range](const ReadResult& result) {
    {
      const std::lock_guard lock(channel->mutex);
      std::erase(channel->reads, range);
    }
    for (const auto& each : range->waiting) each(result);
  });
}

void Hub::accept_read(Channel& channel, const ReadResult& result) {
  if (result.epoch != channel.epoch) return;
  const Millis wall_ms = clock_.wall_ms();
  for (const EntryRef& entry : result.entries)
    accept(channel, channel.epoch, entry, std::max<Millis>(0, wall_ms - entry->wall_ms));
}

// ---- history, presence, ledger

void Hub::history(std::string_view name, const HistoryQuery& query, HistoryDone done) {
  const auto channel = open_channel(name);
  when_open(channel, [this, channel, query, done = std::move(done)] {
    bool is_open = false;
    Offset first = query.since && !query.is_reverse ? query.since->offset + 1 : 1;
    Offset last = 0;
    {
      const std::lock_guard lock(channel->mutex);
      is_open = channel->is_open;
      channel->log.trim(clock_.now_ms(), channel->options(), channel->taken());
      if (query.is_last()) first = channel->log.top() + 1 - std::min(channel->log.top(), query.since->count);
      if (channel->options().has_history() && query.entries_max() > 0) last = channel->log.history_from() - 1;
    }
    if (!is_open) return done({.error = HistoryError::unavailable, .entries = {}, .top = {}});
    if (last < first) return answer_history(*channel, query, {}, done);
    read(channel, first, last, [this, channel, query, done](const ReadResult& range) {
      if (range.error == StoreError::unavailable) {
        return done({.error = HistoryError::unavailable, .entries = {}, .top = {}});
      }
      answer_history(*channel, query, range, done);
    });
  });
}

namespace {

/// What a publication takes in a list, about.
std::size_t bytes_listed(const Publication& publication) {
  std::size_t bytes = 32 + publication.data.size() + publication.info_json.size();
  for (const auto& [name, value] : publication.tags) bytes += 6 + name.size() + value.size();
  return bytes;
}

/// Takes what a history query asks for, and visits little more: out of `older`, which ends where the log
/// begins or is left out (a list has no hole), and out of the log.
void collect(const ChannelLog& log, const HistoryQuery& query, std::span<const EntryRef> older,
             std::vector<EntryRef>& found) {
  const bool is_backward = query.is_reverse || query.is_last();
  const std::uint64_t limit = query.entries_max();
  std::size_t bytes = 0;
  const auto take = [&](const EntryRef& entry) {  // false: it was one too many
    if (!entry->is_stored()) return true;
    bytes += bytes_listed(entry->publication);
    if (found.size() >= limit || (!found.empty() && bytes > query.bytes_max)) return false;
    found.push_back(entry);
    return true;
  };
  const Offset here = log.history_from();
  const bool is_joined = !older.empty() && older.back()->offset + 1 >= here;
  // Offsets in [first, last] are wanted.
  Offset first = 1;
  Offset last = log.top();
  if (query.since && query.is_reverse) last = std::min(last, std::max<Offset>(1, query.since->offset) - 1);
  if (query.since && !query.is_reverse) first = query.since->offset + 1;
  const auto is_older_wanted = [&](const EntryRef& entry) {
    return entry->offset >= first && entry->offset <= last && entry->offset < here;
  };
  const Seq begin = log.seq_after(std::max(here, first) - 1).value_or(log.end_seq());
  if (is_backward) {
    const Seq end = last >= here ? log.seq_after(last).value_or(log.end_seq()) : begin;
    for (auto seq = log.seq_below(end); seq && *seq >= begin; seq = log.seq_below(*seq)) {
      if (!take(log.at(*seq))) return;
    }
    for (auto entry = older.rbegin(); is_joined && entry != older.rend(); ++entry) {
      if (is_older_wanted(*entry) && !take(*entry)) return;
    }
  } else {
    for (auto entry = older.begin(); is_joined && entry != older.end(); ++entry) {
      if (is_older_wanted(*entry) && !take(*entry)) return;
    }
    for (Seq seq = log.next_seq(begin); seq < log.end_seq(); seq = log.next_seq(seq + 1)) {
      if (!take(log.at(seq))) return;
    }
  }
}

}  // namespace

void Hub::answer_history(Channel& channel, const HistoryQuery& query, const ReadResult& older,
                         const HistoryDone& done) {
  HistoryResult result;
  {
    const std::lock_guard lock(channel.mutex);
    result.top = {channel.epoch, channel.log.top()};
    if (!channel.options().has_history()) {
      result.error = HistoryError::no_history;
    } else if (query.since && !query.since->accepts(channel.epoch)) {
      result.error = HistoryError::epoch_differs;
    } else if (query.entries_max() > 0) {
      std::span<const EntryRef> before;
      if (older.epoch == channel.epoch) before = older.entries;
      collect(channel.log, query, before, result.entries);
      if (query.is_last()) std::reverse(result.entries.begin(), result.entries.end());
    }
  }
  done(result);
}

void Hub::remove_history(std::string_view name) {
  store_.remove_history(name);
  const auto channel = find_or_add(name);
  const std::lock_guard lock(channel->mutex);
  channel->log.remove_history();
  channel->log.trim(clock_.now_ms(), channel->options(), channel->taken());
}

/// A list of channels on its way: it visits all of them and keeps the first names that fit into the page.
struct Hub::ChannelsWork {
  ChannelsQuery query;
  std::function<void(ChannelsPage)> done = {};
  ChannelsPage page = {};
  std::size_t bytes = 0;                            // of the page
  std::size_t stripe = 0;                           // that is being visited
  std::optional<std::size_t> place = std::nullopt;  // of the last channel visited there; nothing: it begins

  [[nodiscard]] bool is_wanted(const std::string& name) const {
    if (name <= query.after || !matches_pattern(query.pattern, name)) return false;
    return !page.has_more || name < page.subscribers.rbegin()->first;
  }
  void add(const std::string& name, std::uint64_t subscribers) {
    if (!page.subscribers.insert_or_assign(name, subscribers).second) return;
    bytes += cost_of(name);
    while (bytes > query.bytes_max && page.subscribers.size() > 1) {
      const auto last = std::prev(page.subscribers.end());
      bytes -= cost_of(last->first);
      page.subscribers.erase(last);
      page.has_more = true;
    }
  }
  static std::size_t cost_of(const std::string& name) {
    static constexpr std::size_t kOthersBytes = 28;  // "":{"num_clients":},
    return name.size() + kOthersBytes;
  }
};

std::map<std::string, std::uint64_t> Hub::channels(std::string_view pattern) {
  ChannelsWork work{.query = {.pattern = std::string(pattern)}};
  while (list_piece(work)) {
  }
  return std::move(work.page.subscribers);
}

void Hub::list_channels(ChannelsQuery query, std::function<void(ChannelsPage)> done) {
  auto work =
      std::make_shared<ChannelsWork>(ChannelsWork{.query = std::move(query), .done = std::move(done)});
  Shard::in_pieces([this, work] {
    if (list_piece(*work)) return true;
    work->done(std::move(work->page));
    return false;
  });
}

bool Hub::list_piece(ChannelsWork& work) {
  std::size_t left = 1'024;  // one turn's share: some 100 microseconds
  while (left > 0 && work.stripe < kStripes) {
    Stripe& stripe = stripes_[work.stripe];
    const std::lock_guard lock(stripe.mutex);
    // Downwards: what moves to the place of a channel that goes comes from further up, so that none is missed
    // and some may be visited twice.
    std::size_t place = std::min(work.place.value_or(stripe.all.size()), stripe.all.size());
    for (; place > 0 && left > 0; --left) {
      Channel& channel = stripe.all[--place];
      if (!work.is_wanted(channel.name)) continue;
      const std::lock_guard channel_lock(channel.mutex);
      if (const std::uint64_t subscribers = channel.subscriptions(); subscribers > 0)
        work.add(channel.name, subscribers);
    }
    work.place = place;
    if (place > 0) break;
    ++work.stripe;
    work.place.reset();
  }
  return work.stripe < kStripes;
}

// ---- upkeep

bool Hub::retire(Stripe& stripe, Channel& channel) {
  const auto found = stripe.channels.find(channel.name);
  // Only the table holds it: nobody can come to it but through the table, whose lock is held.
  if (found->second.use_count() > 1) return false;
  bool needs_release = false;
  {
    const std::lock_guard lock(channel.mutex);
    if (!channel.is_unused()) return false;
    needs_release = channel.needs_release;
    const std::lock_guard forgotten_lock(forgotten_mutex_);
    forgotten_.account += channel.ended;
    forgotten_.unbalanced += channel.unbalanced;
  }
  stripe.all.remove(channel);
  gauge_->fetch_sub(channel.cost_bytes(), std::memory_order_relaxed);
  stripe.channels.erase(found);
  return needs_release;
}

void Hub::keep_house() {
  static constexpr std::size_t kChannelsPerStripe = 4'096;
  const Millis now = clock_.now_ms();
  for (Stripe& stripe : stripes_) {
    std::vector<std::string> released;
    std::vector<std::shared_ptr<Channel>> holes;
    std::vector<std::shared_ptr<Channel>> walks;  // that the store has failed
    {
      const std::lock_guard lock(stripe.mutex);
      std::vector<Channel*> unused;
      const std::size_t channels = stripe.all.size();
      for (std::size_t visited = 0; visited < std::min(channels, kChannelsPerStripe); ++visited) {
        stripe.next_kept = (stripe.next_kept + 1) % channels;
        Channel& channel = stripe.all[stripe.next_kept];
        const std::lock_guard channel_lock(channel.mutex);
        channel.log.trim(now, channel.options(), channel.taken());
        if (!channel.early.empty() && !channel.is_filling) {
          channel.is_filling = true;
          holes.push_back(channel.shared_from_this());
        }
        if (channel.walk && channel.walk->retry_ms > 0 && channel.walk->retry_ms <= now) {
          channel.walk->retry_ms = 0;
          walks.push_back(channel.shared_from_this());
        }
        if (channel.is_unused()) unused.push_back(&channel);
      }
      for (Channel* channel : unused) {
        std::string name = channel->name;
        if (retire(stripe, *channel)) released.push_back(std::move(name));
      }
    }
    for (const std::string& name : released) store_.release(name);
    for (const auto& channel : holes) fill_hole(channel);
    for (const auto& channel : walks) post_walk(channel);
  }
  store_.keep_house();
  adaptive_.adapt(now);
  relieve_above_.store(limits_.history_bytes_total, std::memory_order_relaxed);
}

void Hub::relieve_pressure(std::size_t visits) {
  if (is_relieving_.exchange(true, std::memory_order_acquire)) return;  // one thread at a time is enough
  // Channels give up the older half of their history, and what all have seen, one after another: first the
  // first channel of each stripe, then the second of each.
  std::size_t beyond = 0;  // stripes in a row that have no channel there
  while (visits > 0 && history_bytes() > limits_.history_bytes_total) {
    const std::size_t index = next_relieved_ / kStripes;
    Stripe& stripe = stripes_[next_relieved_++ % kStripes];
    std::unique_lock lock(stripe.mutex);
    if (index >= stripe.all.size()) {
      if (++beyond < kStripes) continue;
      next_relieved_ = beyond = 0;
      if (relieved_in_vain_++ < 2) continue;  // the second round begins where nothing is new
      // What is left is in use: asking every channel again for every publication would only make it worse.
      relieve_above_.store(history_bytes() + limits_.history_bytes_total / 8, std::memory_order_relaxed);
      break;
    }
    beyond = 0;
    --visits;
    Channel& channel = stripe.all[index];
    bool is_unused = false;
    {
      const std::lock_guard channel_lock(channel.mutex);
      ChannelOptions tight = channel.options();
      tight.live_window_entries = 0;
      channel.log.remove_older_half();
      channel.log.trim(clock_.now_ms(), tight, channel.taken());
      is_unused = channel.is_unused();
    }
    if (!is_unused) continue;
    const std::string name = channel.name;  // what the channel itself takes is given back as well
    const bool is_released = retire(stripe, channel);
    lock.unlock();
    if (is_released) store_.release(name);
  }
  if (history_bytes() <= limits_.history_bytes_total) relieved_in_vain_ = 0;
  is_relieving_.store(false, std::memory_order_release);
}

void Hub::set_limits(const HubLimits& limits) noexcept {
  limits_ = limits;
  relieve_above_.store(limits.history_bytes_total, std::memory_order_relaxed);
}

void Hub::set_rules(ChannelRules rules) noexcept {
  rules_ = std::move(rules);
  for (Stripe& stripe : stripes_) {
    for (const auto& [name, channel] : stripe.channels) {
      const ChannelOptions& options = rules_.options_for(channel->name);
      channel->set_options(options);
      if (channel->fan_out.is_chosen()) continue;  // at run time, which counts before the options
      channel->fan_out.choose(options.fan_out, options.fan_out_threshold, false);
      channel->fan_out.decide(options, adaptive_.factor());
    }
  }
}

std::uint64_t Hub::subscriptions() {
  const std::lock_guard lock(shards_mutex_);
  std::uint64_t sum = 0;
  for (const Shard* shard : shards_) sum += shard->subscriptions();
  return sum;
}

std::uint64_t Hub::channels_followed() {
  const std::lock_guard lock(shards_mutex_);
  std::int64_t sum = 0;
  for (const Shard* shard : shards_) sum += shard->followed();
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, sum));  // shards are asked one after another
}

std::size_t Hub::channels_in_use() const {
  std::size_t sum = 0;
  for (const Stripe& stripe : stripes_) {
    const std::lock_guard lock(stripe.mutex);
    sum += stripe.channels.size();
  }
  return sum;
}

}  // namespace carillon
