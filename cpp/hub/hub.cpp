#include "hub/hub.hpp"

#include <algorithm>
#include <limits>
#include <utility>

namespace carillon {

/// A subscription on its way: first the channel must be open, then what was missed must be in the log.
struct Hub::PendingSubscribe {
  Shard& shard;
  std::shared_ptr<Cursor*> cursor;  // points to nothing once the cursor has gone
  std::shared_ptr<Channel> channel;
  std::optional<Since> since;
  SubscribeDone done;
  bool has_asked_top = false;
  bool has_asked_range = false;
};

Hub::Hub(const Clock& clock, Store& store, ChannelRules rules, HubLimits limits)
    : clock_(clock), store_(store), rules_(std::move(rules)), limits_(limits) {
  store_.set_listener(this);
}

Hub::~Hub() = default;

// ---- channels -----------------------------------------------------------------------------------------------------

std::shared_ptr<Channel> Hub::find_or_add(std::string_view name) {
  Stripe& stripe = stripe_of(name);
  const std::lock_guard lock(stripe.mutex);
  if (const auto found = stripe.channels.find(name); found != stripe.channels.end()) return found->second;
  auto channel = std::make_shared<Channel>(std::string(name), rules_.options_for(name));
  stripe.channels.emplace(channel->name, channel);
  return channel;
}

std::shared_ptr<Channel> Hub::open_channel(std::string_view name) {
  auto channel = find_or_add(name);
  {
    const std::lock_guard lock(channel->mutex);
    if (channel->is_held || channel->is_opening) return channel;
    channel->is_opening = true;
  }
  open(channel);
  return channel;
}

void Hub::open(const std::shared_ptr<Channel>& channel) {
  store_.open(channel->name, [this, channel](const OpenResult& result) {
    std::vector<std::function<void()>> waiting;
    {
      const std::lock_guard lock(channel->mutex);
      channel->is_opening = false;
      if (result.error == StoreError::none) {
        channel->is_held = true;
        if (!channel->epoch.is_set()) {  // else an announcement was faster, and knows as much
          channel->epoch = result.top.epoch;
          channel->log.start_after(result.top.offset);
        }
        channel->is_open = true;
      }
      waiting.swap(channel->on_open);
    }
    for (auto& then : waiting) then();
  });
}

void Hub::when_open(const std::shared_ptr<Channel>& channel, std::function<void()> then) {
  {
    const std::lock_guard lock(channel->mutex);
    if (!channel->is_open && channel->is_opening) {
      channel->on_open.push_back(std::move(then));
      return;
    }
  }
  then();
}

// ---- publish ------------------------------------------------------------------------------------------------------

void Hub::publish(std::string_view name, Publication publication, const PublishOptions& options, PublishDone done) {
  const auto channel = open_channel(name);
  auto entry = std::make_shared<Entry>(EntryKind::publication, std::move(publication), clock_.wall_ms());
  entry->count_into(gauge_);
  AppendOptions append;
  append.is_ephemeral = options.skip_history || !channel->options.has_history();
  append.idempotency_key = options.idempotency_key;
  store_.append(name, std::move(entry), append, std::move(done));
  if (history_bytes() > limits_.history_bytes_total) relieve_pressure();
}

void Hub::announce(std::string_view name, EntryKind kind, std::string info_json) {
  const auto channel = open_channel(name);
  Publication notice;
  notice.info_json = std::move(info_json);
  auto entry = std::make_shared<Entry>(kind, std::move(notice), clock_.wall_ms());
  entry->count_into(gauge_);
  store_.append(name, std::move(entry), {true, {}}, [](const AppendResult&) {});
}

void Hub::on_announced(const Announcement& announcement) {
  const auto channel = find_or_add(announcement.channel);
  bool is_hole = false;
  std::vector<std::function<void()>> waiting;
  {
    const std::lock_guard lock(channel->mutex);
    accept(*channel, announcement.epoch, announcement.entry);
    is_hole = !channel->held_back.empty() && !channel->is_filling;
    if (is_hole) channel->is_filling = true;
    waiting.swap(channel->on_announced_once);
  }
  if (is_hole) fill_hole(channel);
  for (auto& then : waiting) then();
}

void Hub::accept(Channel& channel, const Epoch& epoch, const EntryRef& entry) {
  if (!channel.epoch.is_set()) {
    channel.epoch = epoch;
    if (entry->is_stored()) channel.log.start_after(entry->offset - 1);
  } else if (channel.epoch != epoch) {
    reset(channel, epoch, entry->is_stored() ? entry->offset - 1 : 0);
  }
  if (!entry->is_stored() || entry->offset == channel.log.top() + 1) {
    append_to_log(channel, entry);
    drain_held_back(channel);
  } else if (entry->offset > channel.log.top()) {
    channel.held_back.emplace(entry->offset, entry);
    if (channel.held_back.size() > limits_.held_back_entries) {
      reset(channel, channel.epoch, channel.held_back.begin()->first - 1);
      drain_held_back(channel);
    }
  }  // else it came before, and came again
  wake_shards(channel);
}

void Hub::append_to_log(Channel& channel, const EntryRef& entry) {
  ++channel.announced;
  published_.fetch_add(1, std::memory_order_relaxed);
  channel.log.append(entry, clock_.now_ms(), channel.options, channel.taken());
}

void Hub::drain_held_back(Channel& channel) {
  while (!channel.held_back.empty()) {
    const auto first = channel.held_back.begin();
    if (first->first > channel.log.top() + 1) return;
    if (first->first == channel.log.top() + 1) append_to_log(channel, first->second);
    channel.held_back.erase(first);
  }
}

void Hub::reset(Channel& channel, const Epoch& epoch, Offset top) {
  if (channel.epoch != epoch) channel.held_back.clear();
  channel.epoch = epoch;
  channel.log.reset(top);
  ++channel.resets;
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
    if (channel->held_back.empty()) {
      channel->is_filling = false;
      return;
    }
    first = channel->log.top() + 1;
    last = channel->held_back.begin()->first - 1;
  }
  store_.read(channel->name, first, last,
              [this, channel](const ReadResult& result) { on_filled(channel, result); });
}

void Hub::on_filled(const std::shared_ptr<Channel>& channel, const ReadResult& result) {
  std::vector<std::function<void()>> waiting;
  {
  const std::lock_guard lock(channel->mutex);
  channel->is_filling = false;
  for (const EntryRef& entry : result.entries) accept(*channel, channel->epoch, entry);
  // What the store no longer holds nobody can deliver: the hole becomes a gap that every cursor is told of. An
  // unavailable store is asked again by keep_house.
  if (result.error == StoreError::not_held && !channel->held_back.empty() &&
      channel->held_back.begin()->first > channel->log.top() + 1) {
    reset(*channel, channel->epoch, channel->held_back.begin()->first - 1);
    drain_held_back(*channel);
  }
  wake_shards(*channel);
  waiting.swap(channel->on_announced_once);
  }
  for (auto& then : waiting) then();
}

// ---- subscribe ----------------------------------------------------------------------------------------------------

void Hub::subscribe(Shard& shard, Cursor& cursor, std::string_view name, const std::optional<Since>& since,
                    SubscribeDone done) {
  cursor.cancel();
  cursor.ticket_ = std::make_shared<Cursor*>(&cursor);
  auto pending = std::make_shared<PendingSubscribe>(
      PendingSubscribe{shard, cursor.ticket_, open_channel(name), since, std::move(done)});
  when_open(pending->channel,
            [this, pending] { pending->shard.run([this, pending] { try_start(pending); }); });
}

void Hub::try_start(const std::shared_ptr<PendingSubscribe>& pending) {
  if (*pending->cursor == nullptr) return;
  const auto again = [this, pending](StoreError error) {
    pending->shard.run([this, pending, error] {
      if (error != StoreError::unavailable) return try_start(pending);
      if (Cursor* cursor = *pending->cursor; cursor != nullptr) {
        cursor->ticket_.reset();
        SubscribeOutcome failed;
        failed.error = error;
        pending->done(failed);
      }
    });
  };
  enum class Next : std::uint8_t { start, ask_top, ask_range, fail } next = Next::start;
  Offset range_first = 0;
  Offset range_last = 0;
  SubscribeOutcome result;
  {
    Channel& channel = *pending->channel;
    const std::lock_guard lock(channel.mutex);
    if (!channel.is_open) {
      next = Next::fail;
    } else {
      channel.log.trim(clock_.now_ms(), channel.options, channel.taken());
      result.has_history = channel.options.has_history();
      result.was_recovering = pending->since.has_value();
      Seq seq = channel.log.end_seq();
      Offset offset = channel.log.top();
      if (pending->since && result.has_history && pending->since->accepts(channel.epoch)) {
        const Offset wanted = pending->since->offset;
        if (const auto found = channel.log.seq_after(wanted)) {
          seq = *found;
          offset = wanted;
          result.is_recovered = true;
        } else if (wanted > channel.log.top() && !pending->has_asked_top) {
          next = Next::ask_top;  // the hub may be behind the store: announcements are under way
        } else if (wanted < channel.log.top() && !pending->has_asked_range) {
          next = Next::ask_range;
          range_first = wanted + 1;
          range_last = channel.log.history_from() - 1;
        }
      }
      if (next == Next::start) {
        result.start = {channel.epoch, offset};
        result.top = channel.log.top();
        Cursor& cursor = **pending->cursor;
        cursor.ticket_.reset();
        pending->shard.attach(cursor, pending->channel, seq, offset);
      }
    }
  }
  switch (next) {
    case Next::start:
      return pending->done(result);
    case Next::fail:
      return again(StoreError::unavailable);
    case Next::ask_top:
      pending->has_asked_top = true;
      return store_.open(pending->channel->name, [this, pending, again](const OpenResult& top) {
        store_.release(pending->channel->name);
        if (top.error != StoreError::none) return again(top.error);
        {
          const std::lock_guard lock(pending->channel->mutex);
          Channel& channel = *pending->channel;
          if (top.top.epoch == channel.epoch && top.top.offset >= pending->since->offset &&
              channel.log.top() < pending->since->offset) {
            pending->has_asked_top = false;  // it will come: look again when more has been announced
            // Posted: an announcement may come while the store holds a lock of its own.
            channel.on_announced_once.push_back([this, pending] { pending->shard.post([this, pending] { try_start(pending); }); });
            return;
          }
        }
        again(StoreError::none);
      });
    case Next::ask_range:
      pending->has_asked_range = true;
      return store_.read(pending->channel->name, range_first, range_last,
                         [this, pending, again](const ReadResult& range) {
                           if (range.error == StoreError::none) {
                             Channel& channel = *pending->channel;
                             const std::lock_guard lock(channel.mutex);
                             channel.log.prepend(range.entries, clock_.now_ms(), channel.options);
                           }
                           again(range.error);
                         });
  }
}

// ---- history, presence, ledger ------------------------------------------------------------------------------------

void Hub::history(std::string_view name, const HistoryQuery& query, HistoryDone done) {
  const auto channel = open_channel(name);
  when_open(channel, [this, channel, query, done = std::move(done)] {
    Offset missing_last = 0;
    {
      const std::lock_guard lock(channel->mutex);
      if (!channel->is_open) return done({.error = HistoryError::unavailable, .entries = {}, .top = {}});
      channel->log.trim(clock_.now_ms(), channel->options, channel->taken());
      const Offset from = query.since && !query.is_reverse ? query.since->offset + 1 : 1;
      const bool is_reading = channel->options.has_history() && query.limit != 0;
      if (is_reading && from < channel->log.history_from()) missing_last = channel->log.history_from() - 1;
    }
    if (missing_last == 0) return answer_history(*channel, query, {}, done);
    const Offset first = query.since && !query.is_reverse ? query.since->offset + 1 : 1;
    store_.read(channel->name, first, missing_last, [this, channel, query, done](const ReadResult& range) {
      if (range.error == StoreError::unavailable) {
        return done({.error = HistoryError::unavailable, .entries = {}, .top = {}});
      }
      answer_history(*channel, query, range.entries, done);
    });
  });
}

void Hub::answer_history(Channel& channel, const HistoryQuery& query, const std::vector<EntryRef>& older,
                         const HistoryDone& done) {
  HistoryResult result;
  {
    const std::lock_guard lock(channel.mutex);
    result.top = {channel.epoch, channel.log.top()};
    if (!channel.options.has_history()) {
      result.error = HistoryError::no_history;
    } else if (query.since && !query.since->accepts(channel.epoch)) {
      result.error = HistoryError::epoch_differs;
    } else if (query.limit != 0) {
      const std::size_t limit = query.limit < 0 ? std::numeric_limits<std::size_t>::max()
                                                : static_cast<std::size_t>(query.limit);
      const auto keep = [&](const EntryRef& entry) {
        if (!entry->is_stored()) return;
        if (query.since && (query.is_reverse ? entry->offset >= query.since->offset
                                             : entry->offset <= query.since->offset)) {
          return;
        }
        result.entries.push_back(entry);
      };
      const Seq end = channel.log.end_seq();
      const Seq begin = channel.log.seq_after(channel.log.history_from() - 1).value_or(end);
      if (query.is_reverse) {
        for (Seq seq = end; seq > begin && result.entries.size() < limit; --seq) keep(channel.log.at(seq - 1));
        for (auto it = older.rbegin(); it != older.rend() && result.entries.size() < limit; ++it) keep(*it);
      } else {
        for (auto it = older.begin(); it != older.end() && result.entries.size() < limit; ++it) keep(*it);
        Seq seq = begin;
        if (query.since) seq = std::max(seq, channel.log.seq_after(query.since->offset).value_or(begin));
        for (; seq < end && result.entries.size() < limit; ++seq) keep(channel.log.at(seq));
      }
    }
  }
  done(result);
}

void Hub::remove_history(std::string_view name) {
  store_.remove_history(name);
  const auto channel = find_or_add(name);
  const std::lock_guard lock(channel->mutex);
  channel->log.remove_history();
  channel->log.trim(clock_.now_ms(), channel->options, channel->taken());
}

std::map<std::string, std::uint64_t> Hub::channels(std::string_view pattern) {
  std::map<std::string, std::uint64_t> result;
  for (Stripe& stripe : stripes_) {
    const std::lock_guard lock(stripe.mutex);
    for (const auto& [name, channel] : stripe.channels) {
      if (!matches_pattern(pattern, name)) continue;
      const std::lock_guard channel_lock(channel->mutex);
      if (const std::uint64_t subscriptions = channel->subscriptions(); subscriptions > 0) result[name] = subscriptions;
    }
  }
  return result;
}

void Hub::ledger(std::function<void(Ledger)> done) {
  struct Collection {
    std::mutex mutex;
    std::unordered_map<std::string, LedgerRow> rows;
    std::size_t missing = 0;
    std::function<void(Ledger)> done;
  };
  auto collection = std::make_shared<Collection>();
  collection->missing = shards_.size();
  collection->done = std::move(done);
  const auto finish = [this, collection] {
    for (Stripe& stripe : stripes_) {
      const std::lock_guard lock(stripe.mutex);
      for (const auto& [name, channel] : stripe.channels) {
        const std::lock_guard channel_lock(channel->mutex);
        if (channel->ended.published == 0 && channel->unbalanced == 0) continue;
        LedgerRow& row = collection->rows[name];
        row.account += channel->ended;
        row.unbalanced += channel->unbalanced;
      }
    }
    Ledger ledger;
    {
      const std::lock_guard lock(forgotten_mutex_);
      if (forgotten_.account.published > 0 || forgotten_.unbalanced > 0) ledger.rows.push_back(forgotten_);
    }
    for (auto& [name, row] : collection->rows) {
      row.channel = name;
      ledger.rows.push_back(std::move(row));
    }
    std::sort(ledger.rows.begin(), ledger.rows.end(),
              [](const LedgerRow& a, const LedgerRow& b) { return a.channel < b.channel; });
    collection->done(std::move(ledger));
  };
  if (shards_.empty()) return finish();
  for (Shard* shard : shards_) {
    shard->run([shard, collection, finish] {
      bool is_last = false;
      {
        const std::lock_guard lock(collection->mutex);
        shard->add_to_ledger(collection->rows);
        is_last = --collection->missing == 0;
      }
      if (is_last) finish();
    });
  }
}

// ---- upkeep -------------------------------------------------------------------------------------------------------

bool Hub::retire(Stripe& stripe, Channel& channel) {
  // Only the table holds it: nobody can come to it but through the table, whose lock is held.
  const auto found = stripe.channels.find(channel.name);
  if (found->second.use_count() > 1) return false;
  const std::lock_guard lock(forgotten_mutex_);
  forgotten_.account += channel.ended;
  forgotten_.unbalanced += channel.unbalanced;
  stripe.channels.erase(found);
  return true;
}

void Hub::keep_house() {
  static constexpr std::size_t kBucketsPerStripe = 4'096;
  const Millis now = clock_.now_ms();
  for (Stripe& stripe : stripes_) {
    std::vector<std::string> released;
    std::vector<std::shared_ptr<Channel>> holes;
    {
      const std::lock_guard lock(stripe.mutex);
      std::vector<Channel*> unused;
      const std::size_t buckets = stripe.channels.bucket_count();
      for (std::size_t visited = 0; visited < std::min(buckets, kBucketsPerStripe); ++visited) {
        stripe.next_bucket = (stripe.next_bucket + 1) % buckets;
        for (auto it = stripe.channels.begin(stripe.next_bucket); it != stripe.channels.end(stripe.next_bucket); ++it) {
          Channel& channel = *it->second;
          const std::lock_guard channel_lock(channel.mutex);
          channel.log.trim(now, channel.options, channel.taken());
          if (!channel.held_back.empty() && !channel.is_filling) {
            channel.is_filling = true;
            holes.push_back(it->second);
          }
          if (channel.links.empty() && channel.log.is_empty() && channel.held_back.empty() && !channel.is_opening &&
              channel.on_announced_once.empty()) {
            unused.push_back(&channel);
          }
        }
      }
      for (Channel* channel : unused) {
        const bool is_held = channel->is_held;
        std::string name = channel->name;
        if (retire(stripe, *channel) && is_held) released.push_back(std::move(name));
      }
    }
    for (const std::string& name : released) store_.release(name);
    for (const auto& channel : holes) fill_hole(channel);
  }
  store_.keep_house();
}

void Hub::relieve_pressure() {
  if (is_relieving_.exchange(true)) return;  // one thread at a time is enough
  // Every channel gives up the older half of its history until the process is well below its limit.
  const std::int64_t goal = limits_.history_bytes_total - limits_.history_bytes_total / 8;
  for (Stripe& stripe : stripes_) {
    const std::lock_guard lock(stripe.mutex);
    for (const auto& [name, channel] : stripe.channels) {
      if (history_bytes() <= goal) break;
      const std::lock_guard channel_lock(channel->mutex);
      channel->log.remove_older_half();
      channel->log.trim(clock_.now_ms(), channel->options, channel->taken());
    }
  }
  is_relieving_.store(false);
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
