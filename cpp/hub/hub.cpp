#include "hub/hub.hpp"

#include <algorithm>
#include <iterator>
#include <limits>
#include <optional>
#include <utility>

namespace carillon {

Hub::Hub(const Clock& clock, RandomSource& random, Store& store, ChannelRules rules, HubLimits limits)
    : clock_(clock),
      random_(random),
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
  store_.close();  // first: its answers come here
  page_room_->close();
  std::vector<std::shared_ptr<Channel>> channels;
  for (Stripe& stripe : stripes_) {
    const std::lock_guard lock(stripe.mutex);
    for (const auto& [name, channel] : stripe.channels) channels.push_back(channel);
  }
  for (const auto& channel : channels) {
    // Callbacks that wait here have a shared_ptr to the channel that owns them: unless cleared, they leak.
    std::vector<std::function<void()>> waiting;
    std::vector<std::function<void(const Page&)>> reading;
    std::vector<std::shared_ptr<ChannelPages::Fetch>> fetches;
    {
      const std::lock_guard lock(channel->mutex);
      channel->is_follow_asked = false;
      waiting.swap(channel->on_followed);
      for (const auto& range : channel->reads) {
        reading.insert(reading.end(), range->waiting.begin(), range->waiting.end());
        range->waiting.clear();
      }
      if (channel->pages) fetches.swap(channel->pages->fetches);
    }
    for (const auto& then : waiting) then();
    for (const auto& then : reading) then({.error = StoreError::closed});
    for (const auto& fetch : fetches)
      for (const auto& waiter : fetch->waiters) waiter.done(StoreError::closed, nullptr);
    end_walk(*channel);
  }
}

// ---- channels

std::shared_ptr<Channel> Hub::find_or_add(std::string_view name) {
  const HashedName hashed = hash_.of(name);
  Stripe& stripe = stripes_.of(hashed);
  const std::lock_guard lock(stripe.mutex);
  if (const auto found = stripe.channels.find(hashed); found != stripe.channels.end()) return found->second;
  auto channel = std::make_shared<Channel>(std::string(name), rules_.options_for(name),
                                           store_.keeps_entries() ? static_cast<PageSource*>(this) : nullptr);
  gauge_->fetch_add(channel->cost_bytes(), std::memory_order_relaxed);
  stripe.channels.emplace(channel->name, channel);
  stripe.all.add(*channel);
  return channel;
}

std::shared_ptr<Channel> Hub::find(std::string_view name) const {
  const HashedName hashed = hash_.of(name);
  const Stripe& stripe = stripes_.of(hashed);
  const std::lock_guard lock(stripe.mutex);
  const auto found = stripe.channels.find(hashed);
  return found != stripe.channels.end() ? found->second : nullptr;
}

std::shared_ptr<Channel> Hub::reach(std::string_view name) {
  // What is written into inboxes, and when, depends on the members, of which only who follows hears.
  const bool is_plain = options_for(name).fan_out == FanOut::write;
  return store_.keeps_entries() && is_plain ? find(name) : follow_channel(name);
}

std::shared_ptr<Channel> Hub::hold(std::string_view name) {
  return store_.keeps_entries() ? find_or_add(name) : follow_channel(name);
}

std::shared_ptr<Channel> Hub::follow_channel(std::string_view name) {
  auto channel = find_or_add(name);
  {
    const std::lock_guard lock(channel->mutex);
    if (channel->needs_unfollow || channel->is_follow_asked) return channel;
    channel->is_follow_asked = true;
  }
  follow(channel);
  return channel;
}

void Hub::follow(const std::shared_ptr<Channel>& channel) {
  channel->fan_out.joins.fetch_add(1);  // it may have members: who publishes meanwhile waits for inboxes
  store_.follow(channel->name, [this, channel](const TopResult& result) {
    std::vector<std::function<void()>> waiting;
    bool is_hole = false;
    {
      const std::lock_guard lock(channel->mutex);
      channel->is_follow_asked = false;
      if (result.error == StoreError::none) {
        channel->needs_unfollow = true;
        channel->in_store.store(result.in_store, std::memory_order_release);
        channel->fan_out.members = result.members;
        if (!channel->epoch.is_set()) {
          channel->epoch = result.top.epoch;
          channel->log.start_after(result.top.offset);
        } else if (store_.keeps_entries()) {
          // An announcement was faster, or it has come from another process: what was published meanwhile was
          // announced to nobody here.
          believe(*channel, result.top);
          is_hole = channel->has_hole() && !channel->is_filling;
          channel->is_filling = channel->is_filling || is_hole;
        }
        channel->is_followed = true;
        plan_check(*channel);
      }
      waiting.swap(channel->on_followed);
    }
    channel->fan_out.joins.fetch_sub(1);
    if (is_hole) fill_hole(channel);
    for (auto& then : waiting) then();
  });
}

void Hub::when_followed(const std::shared_ptr<Channel>& channel, std::function<void()> then) {
  {
    const std::lock_guard lock(channel->mutex);
    if (!channel->is_followed && channel->is_follow_asked && !is_closed_) {
      channel->on_followed.push_back(std::move(then));
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
  const auto channel = reach(name);
  const ChannelOptions& rules = channel ? channel->options() : options_for(name);
  publication.has_delta = publication.has_delta || rules.delta_publish;
  auto entry = std::make_shared<Entry>(EntryKind::publication, std::move(publication), clock_.wall_ms());
  entry->taken_ns = clock_.now_ns();
  entry->count_into(gauge_);
  publications_.count(rules);
  AppendOptions append;
  append.is_ephemeral = options.skip_history || !rules.has_history();
  append.idempotency_key = options.idempotency_key;
  append.expected_offset = options.expected_offset;
  append.version = options.version;
  append.retention = {rules.history_size, rules.history_bytes, rules.history_ttl_ms};
  append.handle = channel.get();
  if (channel) append.mode = channel->fan_out.decide(rules, adaptive_.factor());
  if (append.mode == FanOutMode::write) {
    if (store_.keeps_entries()) {
      done = enter_inboxes(name, std::move(done));
    } else if (channel->fan_out.may_have_members()) {
      done = after_inboxes(channel, std::move(done));
    }
  }
  store_.append(name, std::move(entry), append, std::move(done));
  if (history_bytes() > relieve_above_.load(std::memory_order_relaxed)) relieve_pressure(relief);
}

void Hub::announce(std::string_view name, EntryKind kind, std::string info_json) {
  const auto channel = reach(name);
  Publication notice;
  notice.info_json = std::move(info_json);
  auto entry = std::make_shared<Entry>(kind, std::move(notice), clock_.wall_ms());
  entry->count_into(gauge_);
  AppendOptions append;
  append.is_ephemeral = true;
  append.handle = channel.get();
  store_.append(name, std::move(entry), append, [](const AppendResult&) {});
}

// ---- history

void Hub::history(std::string_view name, const HistoryQuery& query, HistoryDone done) {
  const auto channel = reach(name);
  if (!channel) return read_history(name, query, std::move(done));
  when_followed(channel, [this, channel, query, done = std::move(done)] {
    ReadRange range;  // of what the log has no more
    bool is_followed = true;
    range.first = query.since && !query.is_reverse ? query.since->offset + 1 : 1;
    {
      const std::lock_guard lock(channel->mutex);
      is_followed = channel->is_followed;
      if (is_followed) {
        channel->log.trim(clock_.now_ms(), channel->options(), channel->taken());
        const Offset top = channel->log.top();
        if (query.is_last()) range.first = top + 1 - std::min(top, query.since->count);
        if (channel->options().has_history() && query.entries_max() > 0)
          range.last = channel->log.history_from() - 1;
        if (query.since && query.is_reverse)
          range.last = std::min(range.last, std::max<Offset>(1, query.since->offset) - 1);
      }
    }
    if (!is_followed && store_.keeps_entries()) return read_history(channel->name, query, done);
    if (!is_followed) return done({.error = HistoryError::unavailable, .entries = {}, .top = {}});
    if (range.last < range.first) return answer_history(*channel, query, {}, done);
    range.is_backward = query.is_reverse || query.is_last();
    range.entries_max = query.entries_max();
    range.bytes_max = query.bytes_max;
    read(channel, range, [this, channel, query, done](const Page& page) {
      if (page.error != StoreError::none && page.error != StoreError::not_held)
        return done({.error = HistoryError::unavailable, .entries = {}, .top = {}});
      answer_history(*channel, query, page, done);
    });
  });
}

void Hub::read_history(std::string_view name, const HistoryQuery& query, HistoryDone done) {
  if (!options_for(name).has_history()) {
    return store_.top(name, [done = std::move(done)](const TopResult& result) {
      const bool is_known = result.error == StoreError::none;
      done({.error = is_known ? HistoryError::no_history : HistoryError::unavailable,
            .entries = {},
            .top = result.top});
    });
  }
  ReadRange range;
  range.last = std::numeric_limits<Offset>::max();
  if (query.since && !query.is_last()) {
    if (query.is_reverse) range.last = std::max<Offset>(1, query.since->offset) - 1;
    if (!query.is_reverse) range.first = query.since->offset + 1;
  }
  if (query.entries_max() == 0 || range.last < range.first) {
    return store_.top(name, [query, done = std::move(done)](const TopResult& result) {
      HistoryResult answer{.top = result.top};
      if (result.error != StoreError::none) {
        answer.error = HistoryError::unavailable;
      } else if (query.since && !query.since->accepts(result.top.epoch)) {
        answer.error = HistoryError::epoch_differs;
      }
      done(answer);
    });
  }
  range.is_backward = query.is_reverse || query.is_last();
  range.entries_max = query.entries_max();
  range.bytes_max = query.bytes_max;
  store_.read(name, range, [query, done = std::move(done)](const Page& page) {
    HistoryResult answer{.top = page.top};
    if (page.error != StoreError::none && page.error != StoreError::not_held) {
      answer.error = HistoryError::unavailable;
    } else if (query.since && !query.since->accepts(page.top.epoch)) {
      answer.error = HistoryError::epoch_differs;
    } else {
      answer.entries = page.entries;
      if (query.is_reverse) std::reverse(answer.entries.begin(), answer.entries.end());
    }
    done(answer);
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
/// begins or is left out (a list has no hole), and out of the log. An `older` that is cut short is all there
/// is.
void collect(const ChannelLog& log, const HistoryQuery& query, std::span<const EntryRef> older, bool is_cut,
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
  const bool is_joined = !older.empty() && (is_cut || older.back()->offset + 1 >= here);
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
    if (is_cut) return;
    for (Seq seq = log.next_seq(begin); seq < log.end_seq(); seq = log.next_seq(seq + 1)) {
      if (!take(log.at(seq))) return;
    }
  }
}

}  // namespace

void Hub::answer_history(Channel& channel, const HistoryQuery& query, const Page& older,
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
      if (older.top.epoch == channel.epoch) before = older.entries;
      const bool is_cut = !before.empty() && older.has_more && !query.is_reverse && !query.is_last();
      collect(channel.log, query, before, is_cut, result.entries);
      if (query.is_last()) std::reverse(result.entries.begin(), result.entries.end());
    }
  }
  done(result);
}

void Hub::remove_history(std::string_view name, std::function<void(StoreError)> done) {
  const auto channel = hold(name);
  store_.remove_history(name, [this, channel, done = std::move(done)](StoreError error) {
    if (error == StoreError::none) {
      const std::lock_guard lock(channel->mutex);
      remove_history(*channel, channel->log.top());
    }
    done(error);
  });
}

void Hub::on_history_removed(std::string_view name, Epoch epoch, Offset up_to) {
  const auto channel = find(name);
  if (!channel) return;
  const std::lock_guard lock(channel->mutex);
  if (channel->epoch == epoch) remove_history(*channel, up_to);
}

void Hub::remove_history(Channel& channel, Offset up_to) {
  channel.log.remove_history(up_to);
  forget_pages(channel);
  channel.log.trim(clock_.now_ms(), channel.options(), channel.taken());
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
  bool needs_unfollow = false;
  {
    const std::lock_guard lock(channel.mutex);
    if (!channel.is_unused()) return false;
    needs_unfollow = channel.needs_unfollow;
    const std::lock_guard forgotten_lock(forgotten_mutex_);
    forgotten_.account += channel.ended;
    forgotten_.unbalanced += channel.unbalanced;
  }
  stripe.all.remove(channel);
  gauge_->fetch_sub(channel.cost_bytes(), std::memory_order_relaxed);
  stripe.channels.erase(found);
  return needs_unfollow;
}

void Hub::keep_house() {
  static constexpr std::size_t kChannelsPerStripe = 4'096;
  const Millis now = clock_.now_ms();
  for (Stripe& stripe : stripes_) {
    std::vector<std::string> released;
    std::vector<std::shared_ptr<Channel>> holes;
    std::vector<std::shared_ptr<Channel>> walks;   // that the store has failed
    std::vector<InboxWalk::Waiter> overdue;        // publishers that wait for one
    std::vector<std::shared_ptr<Channel>> checks;  // whose top is to be compared
    std::vector<std::shared_ptr<Channel>> deaf;    // with subscribers, and the store has refused to follow
    std::vector<std::pair<std::shared_ptr<Channel>, std::shared_ptr<ChannelPages::Fetch>>> fetches;  // failed
    {
      const std::lock_guard lock(stripe.mutex);
      std::vector<Channel*> unused;
      const std::size_t channels = stripe.all.size();
      for (std::size_t visited = 0; visited < std::min(channels, kChannelsPerStripe); ++visited) {
        stripe.next_kept = (stripe.next_kept + 1) % channels;
        Channel& channel = stripe.all[stripe.next_kept];
        const std::lock_guard channel_lock(channel.mutex);
        channel.log.trim(now, channel.options(), channel.taken());
        if (channel.has_hole() && !channel.is_filling) {
          channel.is_filling = true;
          holes.push_back(channel.shared_from_this());
        }
        if (!channel.links.empty() && !channel.needs_unfollow && !channel.is_follow_asked) {
          channel.is_follow_asked = true;
          deaf.push_back(channel.shared_from_this());
        }
        if (is_check_due(channel, now)) {
          plan_check(channel);
          checks.push_back(channel.shared_from_this());
        }
        for (auto& fetch : failed_fetches(channel))
          fetches.emplace_back(channel.shared_from_this(), std::move(fetch));
        if (store_.keeps_entries()) channel.note_use(now);
        if (channel.walk && channel.walk->retry_ms > 0 && channel.walk->retry_ms <= now) {
          channel.walk->retry_ms = 0;
          walks.push_back(channel.shared_from_this());
        }
        if (channel.walk && !channel.walk->waiters.empty()) {
          auto late = channel.walk->take_overdue(now, limits_.inbox_wait_ms);
          std::move(late.begin(), late.end(), std::back_inserter(overdue));
        }
        if (channel.is_unused()) unused.push_back(&channel);
      }
      for (Channel* channel : unused) {
        std::string name = channel->name;
        if (retire(stripe, *channel)) released.push_back(std::move(name));
      }
    }
    for (const std::string& name : released) store_.unfollow(name);
    for (const auto& channel : holes) fill_hole(channel);
    for (const auto& channel : checks) check_top(channel);
    for (const auto& channel : deaf) follow(channel);
    for (const auto& [channel, fetch] : fetches) read_page(channel, fetch);
    for (const auto& channel : walks) post_walk(channel);
    for (const auto& waiter : overdue) waiter.then(false);
  }
  forget_recent();
  store_.keep_house();
  adaptive_.adapt(now);
  relieve_above_.store(limits_.history_bytes_total, std::memory_order_relaxed);
}

void Hub::relieve_pressure(std::size_t visits) {
  if (is_relieving_.exchange(true, std::memory_order_acquire)) return;  // one thread at a time is enough
  // Channels give up the older half of their history, and what all have seen, one after another: first the
  // first channel of each stripe, then the second of each.
  forget_recent_before(clock_.now_ms() + 1);  // what can be read again goes first
  std::size_t beyond = 0;                     // stripes in a row that have no channel there
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
    if (is_released) store_.unfollow(name);
  }
  if (history_bytes() <= limits_.history_bytes_total) relieved_in_vain_ = 0;
  is_relieving_.store(false, std::memory_order_release);
}

void Hub::set_limits(const HubLimits& limits) noexcept {
  limits_ = limits;
  catch_up_.set_at_once(limits.catching_up_channels);
  page_room_->set_at_once(limits.stored_pages);
  bound_recent(limits.stored_pages / 2);
  relieve_above_.store(limits.history_bytes_total, std::memory_order_relaxed);
}

void Hub::set_rules(ChannelRules rules) noexcept {
  rules_ = std::move(rules);
  publications_.set_rules(rules_);
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
