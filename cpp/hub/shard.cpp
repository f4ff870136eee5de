#include "hub/shard.hpp"

#include <algorithm>
#include <cassert>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "env/planted_fault.hpp"

namespace carillon {

namespace {
thread_local Shard* t_current = nullptr;
thread_local Shard::HeldWakes* t_held = nullptr;
constexpr std::size_t kConflatedEntries = 4'096;
}  // namespace

void ShardChannel::add_live(Cursor& cursor) {
  cursor.place_ = Cursor::Place::live;
  live_.push_back(&cursor);
  std::size_t place = live_.size() - 1;
  if (batch_) {  // it stands behind the batch under way: among those that have it
    std::swap(live_[place], live_[progress_]);
    live_[place]->index_ = static_cast<std::uint32_t>(place);
    place = progress_++;
  }
  cursor.index_ = static_cast<std::uint32_t>(place);
}

void ShardChannel::remove_live(Cursor& cursor) {
  std::size_t hole = cursor.index_;
  if (hole < progress_) {  // the last of those that have the batch moves here, and its place is the hole
    --progress_;
    live_[hole] = live_[progress_];
    live_[hole]->index_ = static_cast<std::uint32_t>(hole);
    hole = progress_;
  }
  if (hole + 1 < live_.size()) {  // else the last one has moved already
    live_[hole] = live_.back();
    live_[hole]->index_ = static_cast<std::uint32_t>(hole);
  }
  live_.pop_back();
  cursor.place_ = Cursor::Place::lagging;
}

Shard::Shard(std::uint32_t index, TurnLimits limits, const Clock& clock, std::function<void()> wake)
    : index_(index), limits_(limits), clock_(clock), wake_(std::move(wake)) {}

Shard::~Shard() {
  if (is_current()) unbind_this_thread();
}

void Shard::bind_to_this_thread() { t_current = this; }
void Shard::unbind_this_thread() { t_current = nullptr; }
bool Shard::is_current() const { return t_current == this; }
Shard* Shard::current() { return t_current; }

void Shard::in_pieces(std::function<bool()> step) {
  Shard* const shard = current();
  while (step()) {
    if (shard != nullptr) return shard->post([step = std::move(step)] { in_pieces(step); });
  }
}

void Shard::post(Task task) {
  bool was_empty = false;
  {
    const std::lock_guard lock(mailbox_mutex_);
    if (is_closed_) return;
    was_empty = woken_.empty() && tasks_.empty();
    tasks_.push_back(std::move(task));
  }
  if (was_empty && !is_current()) wake_();
}

void Shard::wake(Channel* channel) {
  if (has_fault<PlantedFault::lost_wake_up>(100)) return;
  bool was_empty = false;
  {
    const std::lock_guard lock(mailbox_mutex_);
    if (is_closed_) return;
    was_empty = woken_.empty() && tasks_.empty();
    woken_.push_back(channel);
  }
  if (!was_empty || is_current()) return;
  if (t_held != nullptr && t_held->count_ < HeldWakes::kMost) {
    t_held->shards_[t_held->count_++] = this;
  } else {
    wake_();
  }
}

Shard::HeldWakes::HeldWakes() : outer_(std::exchange(t_held, this)) {}

Shard::HeldWakes::~HeldWakes() {
  t_held = outer_;
  for (std::size_t i = 0; i < count_; ++i) shards_[i]->wake_();
}

void Shard::close() {
  std::vector<Task> dropped;  // without the lock: whoever hears of it may post again
  {
    const std::lock_guard lock(mailbox_mutex_);
    is_closed_ = true;
    dropped.swap(tasks_);
    woken_.clear();
  }
  tasks_now_.clear();  // those of the turn that did not come to its end
}

void Shard::take_mailbox() {
  {
    const std::lock_guard lock(mailbox_mutex_);
    woken_now_.swap(woken_);
    tasks_now_.swap(tasks_);
  }
  for (Task& task : tasks_now_) task();
  tasks_now_.clear();
  for (Channel* channel : woken_now_) {
    const auto found = channels_.find(channel);
    if (found == channels_.end()) continue;
    found->second->has_more_ = true;  // the batch under way, if any, was made before
    if (!found->second->is_touched_) schedule(*found->second);
  }
  woken_now_.clear();
}

bool Shard::is_swept(const Channel& channel) {
  return channel.fan_out.mode() == FanOutMode::read || channel.options().batch_interval_ms > 0;
}

Millis Shard::due_of(const ShardChannel& home) const {
  const ChannelOptions& options = home.channel_->options();
  if (home.channel_->fan_out.mode() ==
      FanOutMode::read) {  // all of them at the same ticks: what is new is more
    const Millis interval = std::max<Millis>(1, options.sweep_interval_ms);
    return (clock_.now_ms() / interval + 1) * interval;
  }
  return home.visited_ms_ + options.batch_interval_ms;
}

void Shard::schedule(ShardChannel& home) {
  home.is_touched_ = true;
  if (is_swept(*home.channel_)) [[unlikely]] {
    const Millis due = due_of(home);
    if (due > clock_.now_ms()) {
      home.swept_ = swept_.emplace(due, &home);
      return;
    }
  }
  touched_.push_back(&home);
}

void Shard::take_due() {
  while (!swept_.empty() && swept_.begin()->first <= clock_.now_ms()) {
    ShardChannel& home = *swept_.begin()->second;
    unschedule_sweep(home);
    touched_.push_back(&home);
  }
}

bool Shard::unschedule_sweep(ShardChannel& home) {
  if (!home.swept_) return false;
  swept_.erase(*home.swept_);
  home.swept_.reset();
  return true;
}

std::optional<Millis> Shard::due_ms() const {
  if (swept_.empty()) return std::nullopt;
  return swept_.begin()->first;
}

bool Shard::turn() {
  staged_.clear();
  spent_.clear();
  std::erase_if(idle_, [this](ShardChannel* home) {
    const bool is_used = !home->all_.empty();
    if (!is_used && home->is_touched_ && !unschedule_sweep(*home)) return false;  // its turn is still to come
    home->is_idle_ = false;
    if (!is_used) {
      if (in_ledger_ == home) in_ledger_ = nullptr;
      homes_.remove(*home);
      channels_.erase(home->channel_.get());
    }
    return true;
  });
  take_mailbox();
  take_due();

  const std::size_t waiting =
      ready_.size();  // whoever loses the group in this turn is told in the next, after the flush
  std::size_t budget = limits_.deliveries_per_turn;
  for (std::size_t visits = touched_.size(); visits > 0 && budget > 0; --visits) {
    ShardChannel* home = touched_.front();
    touched_.pop_front();
    home->is_touched_ = false;
    const std::size_t visit = std::min(budget, limits_.deliveries_per_visit);
    std::size_t left = visit;
    step(*home, left);
    budget -= visit - left;
    if (home->batch_ || home->is_catching_up_) {  // in the next turn: before it, what came meanwhile is read
      home->is_touched_ = true;
      touched_.push_back(home);
    } else if (home->has_more_) {
      schedule(*home);
    }
  }

  // Those that lag have a quantum of their own, so that neither starves the other.
  budget = limits_.deliveries_per_visit;
  std::size_t bytes = 0;
  std::size_t next = 0;
  for (; next < waiting && budget > 0 && bytes < limits_.lagging_bytes_per_turn; ++next) {
    Cursor* cursor = std::exchange(ready_[next], nullptr);
    if (cursor == nullptr) continue;
    cursor->is_queued_ = false;
    pump(*cursor, budget, bytes);
  }
  std::size_t kept = 0;
  for (; next < ready_.size(); ++next) {
    if (ready_[next] == nullptr) continue;
    ready_[next]->index_ = static_cast<std::uint32_t>(kept);
    ready_[kept++] = ready_[next];
  }
  ready_.resize(kept);

  return has_work();
}

bool Shard::has_work() {
  if (!touched_.empty() || !ready_.empty() || !idle_.empty()) return true;
  if (!swept_.empty() && swept_.begin()->first <= clock_.now_ms()) return true;
  const std::lock_guard lock(mailbox_mutex_);
  return !woken_.empty() || !tasks_.empty();
}

namespace {

/// Joins and leaves between two publications that are looked over for the first of them.
constexpr Seq kNoticesBetween = 16;

/// The publication before `begin`, if no entry between them has been dropped; else null.
EntryRef publication_before(const ChannelLog& log, Seq begin) {
  for (Seq seq = begin; begin - seq <= kNoticesBetween; --seq) {
    const std::optional<Seq> below = log.seq_below(seq);
    if (!below || *below + 1 != seq) return nullptr;
    if (const EntryRef& entry = log.at(*below); entry->kind == EntryKind::publication) return entry;
  }
  return nullptr;
}

/// Puts entries into a batch, up to its bounds.
class BatchFill {
 public:
  BatchFill(Batch& batch, const ChannelOptions& options, std::size_t entries_max, std::size_t bytes_max)
      : batch_(batch), is_conflating_(options.conflate), entries_max_(entries_max), bytes_max_(bytes_max) {}

  /// False: it does not fit.
  bool add(const EntryRef& entry) {
    if (entries_ >= entries_max_) return false;
    // What a newer one will stand for takes no place, but of looking for it there is an end, too.
    const std::string& key = entry->publication.key;
    const bool is_further =
        is_conflating_ && !key.empty() && !keys_.insert(key).second && batch_.size() < kConflatedEntries;
    if (!is_further) {
      ++entries_;
      bytes_ += entry->publication.data.size();
      if (bytes_ > bytes_max_ && batch_.size() > 0) return false;
    }
    batch_.add(entry);
    return true;
  }
  void finish() {
    if (is_conflating_) batch_.conflate();
  }

 private:
  Batch& batch_;
  const bool is_conflating_;
  const std::size_t entries_max_;
  const std::size_t bytes_max_;
  // No hash table: publishers choose keys, and might choose some that collide.
  std::set<std::string_view> keys_;
  std::size_t entries_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace

std::unique_ptr<Batch> Shard::batch_of(Channel& channel, Seq begin, Seq end, std::size_t entries_max,
                                       std::size_t bytes_max) {
  auto batch = std::make_unique<Batch>(channel.name, channel.epoch, begin, channel.log.offset_before(begin));
  if (channel.options().has_delta()) batch->set_previous(publication_before(channel.log, begin));
  BatchFill fill(*batch, channel.options(), entries_max, bytes_max);
  for (Seq seq = begin; seq < end && channel.log.next_seq(seq) == seq; ++seq) {
    if (!fill.add(channel.log.at(seq))) break;
  }
  fill.finish();
  return batch;
}

bool Shard::is_in_store(const Cursor& cursor, const Channel& channel) {
  return channel.page_source != nullptr && cursor.resets_ == channel.resets &&
         cursor.offset_ + 1 < channel.log.history_from();
}

bool Shard::is_next_in(const StoredPage& page, const Cursor& cursor, const Channel& channel) {
  return is_in_store(cursor, channel) && page.is_of(channel) && page.has(cursor.offset_ + 1) &&
         has_gap(channel, cursor.seq_, cursor.offset_, cursor.resets_);
}

StoredPageRef Shard::page_for(const Cursor& cursor, Channel& channel) {
  const Offset wanted = cursor.offset_ + 1;
  if (cursor.page_ && cursor.page_->is_of(channel) && cursor.page_->tells_of(wanted)) return cursor.page_;
  return channel.pages ? channel.pages->find(wanted) : nullptr;
}

std::unique_ptr<Batch> Shard::batch_of_page(const Cursor& cursor, Channel& channel, const StoredPage& page,
                                            std::size_t entries_max, std::size_t bytes_max) {
  auto batch = std::make_unique<Batch>(channel.name, channel.epoch, cursor.seq_, cursor.offset_);
  if (channel.options().has_delta() && cursor.offset_ >= page.held_from())
    batch->set_previous(page.at(cursor.offset_));
  BatchFill fill(*batch, channel.options(), entries_max, bytes_max);
  // Not beyond where the log begins: there are the notices that came between the publications.
  const Offset end = std::min(page.last() + 1, channel.log.history_from());
  for (Offset offset = cursor.offset_ + 1; offset < end; ++offset) {
    if (!fill.add(page.at(offset))) break;
  }
  fill.finish();
  return batch;
}

std::optional<Gap> Shard::skip_gone(Cursor& cursor, const Channel& channel, const StoredPage& page) {
  const Offset next = page.held_from();
  if (next >= channel.log.history_from()) return skip_gap(cursor, channel);
  const Offset lost = next - cursor.offset_ - 1;
  count_dropped(cursor, DropReason::trimmed, static_cast<std::uint32_t>(lost));
  const Gap gap{cursor.offset_ + 1, next - 1, {channel.epoch, next - 1}};
  cursor.seq_ += lost;
  cursor.offset_ = next - 1;
  return gap;
}

void Shard::wait_for_page(Cursor& cursor) {
  cursor.ticket_ = std::make_shared<Cursor*>(&cursor);
  const auto then = [this, ticket = cursor.ticket_](StoreError error, const StoredPageRef& page) {
    if (error != StoreError::none) return;  // the store is closed, and so will this be
    post([this, ticket, page] {
      if (*ticket == nullptr) return;
      Cursor& waiting = **ticket;
      waiting.ticket_.reset();
      waiting.page_ = page;
      queue(waiting);
    });
  };
  Channel& channel = *cursor.home_->channel_;
  channel.page_source->fetch_page(cursor.home_->channel_, cursor.offset_ + 1, then);
}

bool Shard::take_batch(ShardChannel& home) {
  Channel& channel = *home.channel_;
  const std::lock_guard lock(channel.mutex);
  home.has_more_ = home.is_catching_up_ = false;
  Channel::Link* link = channel.link_of(*this);
  if (link == nullptr) return false;
  link->is_woken = false;
  const Seq end = channel.log.end_seq();
  if (has_gap(channel, home.live_seq_, home.live_offset_, home.resets_)) {
    // The group has lost something: each of its cursors finds out for itself.
    while (!home.live_.empty()) {
      Cursor& cursor = *home.live_.back();
      make_lagging(home, cursor);
      queue(cursor);
    }
  }
  if (home.live_.empty()) {
    sync_live(home, *link);
    call_ahead(home);
    return false;
  }
  if (home.live_seq_ == end) {
    call_ahead(home);
    return false;
  }
  home.batch_ = batch_of(channel, home.live_seq_, end, limits_.batch_entries, limits_.batch_bytes);
  home.progress_ = 0;
  home.live_seq_ = link->taken = home.batch_->end();
  home.live_offset_ = home.batch_->offset_before(home.batch_->size());
  home.is_catching_up_ = home.live_seq_ < end;
  if (is_swept(channel)) [[unlikely]] {
    home.visited_ms_ = clock_.now_ms();
    if (channel.fan_out.mode() == FanOutMode::read) sweeps_.fetch_add(1, std::memory_order_relaxed);
  }
  return true;
}

void Shard::sync_live(ShardChannel& home, Channel::Link& link) {
  home.live_seq_ = link.taken = home.channel_->log.end_seq();
  home.live_offset_ = home.channel_->log.top();
  home.resets_ = home.channel_->resets;
}

void Shard::step(ShardChannel& home, std::size_t& budget) {
  if (!home.batch_ && !take_batch(home)) return;
  const Batch& batch = *home.batch_;
  const Seq end = batch.end();
  const Offset offset = batch.offset_before(batch.size());
  std::size_t left = budget;
  while (home.progress_ < home.live_.size()) {
    if (left == 0) break;
    --left;
    Cursor& cursor = *home.live_[home.progress_++];  // it has the batch: whoever parks or closes it in there
    cursor.seq_ = end;                               // fills its place with another that has it
    cursor.offset_ = offset;
    if (!cursor.sink_->stage(cursor, batch)) rewind(cursor, batch.begin(), batch.offset_before(0));
  }
  budget = left;
  staged_.push_back({&batch, true});
  if (home.progress_ < home.live_.size()) return;
  spent_.push_back(std::move(home.batch_));
  home.progress_ = 0;
  call_ahead(home);
}

void Shard::call_ahead(ShardChannel& home) {
  if (home.ahead_ == 0) return;
  for (Cursor* cursor : home.all_) {
    if (!cursor->is_ahead_) continue;
    set_ahead(*cursor, false);
    queue(*cursor);
  }
}

void Shard::set_ahead(Cursor& cursor, bool is_ahead) {
  if (std::exchange(cursor.is_ahead_, is_ahead) == is_ahead) return;
  cursor.home_->ahead_ += is_ahead ? 1U : ~0U;
}

void Shard::pump(Cursor& cursor, std::size_t& budget, std::size_t& bytes) {
  ShardChannel& home = *cursor.home_;
  Channel& channel = *home.channel_;
  std::unique_ptr<Batch> batch;
  std::optional<Gap> gap;
  bool is_page_missing = false;
  StoredPageRef page;  // let go without the lock
  pumped_ = &cursor;
  if (channel.options().slow_consumer == SlowConsumer::disconnect && cursor.has_fallen_behind_) {
    bool is_too_slow = false;
    {
      const std::lock_guard lock(channel.mutex);
      is_too_slow = is_slow(cursor, channel);
    }
    if (is_too_slow) {
      cursor.has_fallen_behind_ = false;
      cursor.sink_->on_slow(cursor);
      if (pumped_ == nullptr) return;
    }
  }
  {
    const std::lock_guard lock(channel.mutex);
    if (home.live_.empty() && !home.batch_) {
      sync_live(home, *channel.link_of(*this));
      call_ahead(home);
    }
    const bool is_skipping = channel.options().slow_consumer == SlowConsumer::skip &&
                             is_slow(cursor, channel) &&
                             !has_gap(channel, home.live_seq_, home.live_offset_,
                                      home.resets_);  // else its group has to move first
    if (has_gap(channel, cursor.seq_, cursor.offset_, cursor.resets_)) {
      if (is_in_store(cursor, channel)) {
        page = page_for(cursor, channel);
        if (page && page->held_from() > cursor.offset_ + 1) gap = skip_gone(cursor, channel, *page);
      } else {
        gap = skip_gap(cursor, channel);
      }
    }
    // Whoever reads pages may be past its group, though it counts no notices.
    if (is_skipping && cursor.seq_ < home.live_seq_ && cursor.offset_ <= home.live_offset_) {
      std::optional<Gap> skipped = skip_to_live(cursor, home);
      if (skipped && gap) skipped->lost_from = gap->lost_from;
      if (skipped) gap = skipped;
    }
    const bool is_in_page = page && is_next_in(*page, cursor, channel);
    is_page_missing = !is_in_page && has_gap(channel, cursor.seq_, cursor.offset_, cursor.resets_);
    // Not past the group, which it could not join then: unless the channel is swept. Whoever comes is served
    // at once, and waits for the group where it has read to.
    const Seq end =
        is_swept(channel) ? channel.log.end_seq() : std::min(channel.log.end_seq(), home.live_seq_);
    if (is_in_page) {
      batch = batch_of_page(cursor, channel, *page, limits_.batch_entries, limits_.batch_bytes);
    } else if (!is_page_missing && cursor.seq_ < end) {
      batch = batch_of(channel, cursor.seq_, end, limits_.batch_entries, limits_.batch_bytes);
    }
  }
  if (is_page_missing) page.reset();  // its place may be the only one
  page.swap(cursor.page_);
  if (gap) {
    gaps_told_.fetch_add(1, std::memory_order_relaxed);
    cursor.sink_->on_gap(cursor, *gap);
    if (pumped_ == nullptr) return;
  }
  const bool has_read = batch != nullptr;
  if (batch) {
    --budget;
    bytes += batch->data_bytes();
    cursor.seq_ = batch->end();
    cursor.offset_ = batch->offset_before(batch->size());
    if (!cursor.sink_->stage(cursor, *batch)) rewind(cursor, batch->begin(), batch->offset_before(0));
    staged_.push_back({batch.get(), false});
    spent_.push_back(std::move(batch));
    if (pumped_ == nullptr) return;
  }
  unqueue(cursor);
  if (is_page_missing) return wait_for_page(cursor);
  const bool is_at_group = cursor.seq_ == home.live_seq_ && cursor.offset_ == home.live_offset_;
  if (!is_at_group && has_read && cursor.seq_ <= home.live_seq_) return queue(cursor);
  if (is_at_group) {
    make_live(home, cursor);
  } else {  // past its group, or where the group finds out that the log is another one
    cursor.page_.reset();
    set_ahead(cursor, true);
  }
}

bool Shard::has_gap(const Channel& channel, Seq seq, Offset offset, std::uint32_t resets) {
  return resets != channel.resets || channel.log.next_seq(seq) != seq ||
         channel.log.offset_before(seq) != offset;
}

std::optional<Gap> Shard::skip_gap(Cursor& cursor, const Channel& channel) {
  const ChannelLog& log = channel.log;
  const bool is_reset = cursor.resets_ != channel.resets;
  const bool is_new_epoch = cursor.resets_ < channel.epoch_resets;
  Seq next = log.next_seq(cursor.seq_);
  // It may stand before publications of which it has got those of a page.
  while (!is_new_epoch && next < log.end_seq() && log.offset_before(next) < cursor.offset_)
    next = log.next_seq(next + 1);
  const Offset offset = log.offset_before(next);
  const auto lost = static_cast<std::uint32_t>(next - cursor.seq_);
  const Offset lost_publications = is_new_epoch || offset < cursor.offset_ ? 0 : offset - cursor.offset_;
  const auto trimmed =
      is_reset ? lost : static_cast<std::uint32_t>(std::min<Offset>(lost, lost_publications));
  count_dropped(cursor, DropReason::trimmed, trimmed);
  count_dropped(cursor, DropReason::ephemeral, lost - trimmed);
  const Gap gap{cursor.offset_ + 1, offset, {channel.epoch, offset}};
  cursor.seq_ = next;
  cursor.offset_ = offset;
  cursor.resets_ = channel.resets;
  if (!is_new_epoch && lost_publications == 0)
    return std::nullopt;  // ephemeral entries are no part of a stream
  return gap;
}

bool Shard::is_slow(const Cursor& cursor, const Channel& channel) {
  return cursor.has_fallen_behind_ &&
         channel.log.end_seq() - cursor.seq_ > channel.options().slow_consumer_entries;
}

std::optional<Gap> Shard::skip_to_live(Cursor& cursor, const ShardChannel& home) {
  const Offset from = cursor.offset_;
  count_dropped(cursor, DropReason::skipped, static_cast<std::uint32_t>(home.live_seq_ - cursor.seq_));
  cursor.seq_ = home.live_seq_;
  cursor.offset_ = home.live_offset_;
  cursor.resets_ = home.resets_;
  if (cursor.offset_ == from) return std::nullopt;  // ephemeral entries are no part of a stream
  return Gap{from + 1, cursor.offset_, {home.channel_->epoch, cursor.offset_}, true};
}

void Shard::make_live(ShardChannel& home, Cursor& cursor) {
  remove_lagging(cursor);
  home.add_live(cursor);
  cursor.page_.reset();
  cursor.has_fallen_behind_ = false;
  if (!std::exchange(cursor.has_been_live_, true)) cursor.sink_->on_live(cursor);
}

void Shard::make_lagging(ShardChannel& home, Cursor& cursor) {
  home.remove_live(cursor);
  add_lagging(cursor);
}

void Shard::add_lagging(Cursor& cursor) {
  lagging_cursors_.add(cursor);
  lagging_.store(lagging_cursors_.size(), std::memory_order_relaxed);
}

void Shard::remove_lagging(Cursor& cursor) {
  lagging_cursors_.remove(cursor);
  lagging_.store(lagging_cursors_.size(), std::memory_order_relaxed);
}

void Shard::measure_lag(std::size_t cursors_max, Millis wall_ms) {
  for (std::size_t left = cursors_max; left > 0; --left) {
    Cursor* const cursor = lagging_cursors_.next();
    if (cursor == nullptr) {
      slowest_publications_.store(slowest_so_far_.publications, std::memory_order_relaxed);
      slowest_age_ms_.store(slowest_so_far_.age_ms, std::memory_order_relaxed);
      slowest_so_far_ = {};
      return lagging_cursors_.begin_walk();
    }
    Channel& channel = *cursor->home_->channel_;
    const std::lock_guard lock(channel.mutex);
    const Offset top = channel.log.top();
    if (cursor->resets_ != channel.resets || cursor->offset_ >= top) continue;
    slowest_so_far_.publications = std::max(slowest_so_far_.publications, top - cursor->offset_);
    const Seq next = channel.log.next_seq(cursor->seq_);
    if (next >= channel.log.end_seq()) continue;
    // The time may be another machine's.
    const Millis published_ms = std::clamp<Millis>(channel.log.at(next)->wall_ms, 0, wall_ms);
    slowest_so_far_.age_ms = std::max(slowest_so_far_.age_ms, wall_ms - published_ms);
  }
}

void Shard::queue(Cursor& cursor) {
  if (cursor.is_queued_ || cursor.is_ahead_ || cursor.is_waiting()) return;
  cursor.is_queued_ = true;
  cursor.index_ = static_cast<std::uint32_t>(ready_.size());
  ready_.push_back(&cursor);
}

void Shard::unqueue(Cursor& cursor) {
  if (!cursor.is_queued_) return;
  cursor.is_queued_ = false;
  ready_[cursor.index_] = nullptr;
}

void Shard::attach(Cursor& cursor, const std::shared_ptr<Channel>& channel, Seq seq, Offset offset) {
  assert(is_current() && !cursor.is_open());
  std::unique_ptr<ShardChannel>& home = channels_[channel.get()];
  if (!home) {
    home = std::make_unique<ShardChannel>(channel);
    homes_.add(*home);
  }
  Channel::Link* link = channel->link_of(*this);
  if (link == nullptr) {
    if (channel->links.empty()) followed_.fetch_add(1, std::memory_order_relaxed);
    channel->links.push_back({this, channel->log.end_seq(), 0, false});
    link = &channel->links.back();
  }
  if (home->live_.empty() && !home->batch_) {
    sync_live(*home, *link);
    call_ahead(*home);
  } else if (link->cursors == 0) {  // All have left in the middle of a batch: what came since woke nobody.
    link->taken = std::min(link->taken, home->live_seq_);
    link->is_woken = true;
    wake(channel.get());
  }
  ++link->cursors;
  channel->fan_out.subscribers.fetch_add(1, std::memory_order_relaxed);
  cursor.home_ = home.get();
  cursor.seq_ = seq;
  cursor.offset_ = offset;
  cursor.resets_ = channel->resets;
  cursor.has_fallen_behind_ = false;  // who comes back may have far to go
  cursor.announced_at_start_ = channel->announced - static_cast<std::int64_t>(channel->log.end_seq() - seq);
  cursor.delivered_ = 0;
  cursor.under_way_ = 0;
  cursor.withheld_.reset();
  home->all_.add(cursor);
  subscriptions_.fetch_add(1, std::memory_order_relaxed);
  cursor.has_been_live_ = false;
  add_lagging(cursor);
  // In a swept channel, who comes does not wait with it for what is there already.
  const bool is_at_group = seq == home->live_seq_ && offset == home->live_offset_;
  if (is_at_group && !(is_swept(*channel) && seq < channel->log.end_seq())) {
    make_live(*home, cursor);
  } else {
    cursor.place_ = Cursor::Place::lagging;
    queue(cursor);
  }
}

CursorState Shard::save(const Cursor& cursor) {
  CursorState state;
  state.is_open = cursor.is_open();
  state.is_live = cursor.is_live();
  state.is_parked = cursor.place_ == Cursor::Place::lagging && !cursor.is_queued_ && !cursor.is_ahead_ &&
                    !cursor.is_waiting();
  state.seq = cursor.seq_;
  state.offset = cursor.offset_;
  state.resets = cursor.resets_;
  state.announced_at_start = cursor.announced_at_start_;
  state.delivered = cursor.delivered_;
  if (cursor.withheld_) state.dropped = cursor.withheld_->dropped;
  if (cursor.withheld_) state.conflated = cursor.withheld_->conflated;
  state.under_way = cursor.under_way_;
  state.has_fallen_behind = cursor.has_fallen_behind_;
  return state;
}

void Shard::restore(Cursor& cursor, const std::shared_ptr<Channel>& channel, const CursorState& state) {
  // Its group goes on where it stood, behind entries that came since: attached at the end, it would leave
  // them to be trimmed before it has seen them.
  const auto known = channels_.find(channel.get());
  const bool is_first = state.is_live && (known == channels_.end() || known->second->live_.empty());
  attach(cursor, channel, state.seq, state.offset);
  ShardChannel& home = *cursor.home_;
  if (is_first && (!cursor.is_live() || home.resets_ != state.resets)) {
    home.live_seq_ = channel->link_of(*this)->taken = state.seq;
    home.live_offset_ = state.offset;
    home.resets_ = state.resets;
    if (!cursor.is_live()) {
      unqueue(cursor);
      make_live(home, cursor);
    }
    wake(channel.get());
  }
  cursor.resets_ = state.resets;
  cursor.announced_at_start_ = state.announced_at_start;
  cursor.delivered_ = state.delivered;
  const Cursor::Withheld withheld{state.conflated, state.dropped};
  if (withheld != Cursor::Withheld{}) cursor.withheld_ = std::make_unique<Cursor::Withheld>(withheld);
  cursor.under_way_ = state.under_way;
  if (state.is_parked) park(cursor);
  cursor.has_fallen_behind_ = state.has_fallen_behind && !cursor.is_live();
}

bool Shard::is_under_way() {
  if (!touched_.empty()) return true;
  const std::lock_guard lock(mailbox_mutex_);
  return !tasks_.empty();
}

std::unique_ptr<Batch> Shard::take_page(Cursor& cursor, std::size_t entries_max, std::size_t bytes_max) {
  if (cursor.place_ != Cursor::Place::lagging) return nullptr;
  ShardChannel& home = *cursor.home_;
  Channel& channel = *home.channel_;
  const std::lock_guard lock(channel.mutex);
  const Seq end = is_swept(channel) ? channel.log.end_seq() : std::min(channel.log.end_seq(), home.live_seq_);
  std::unique_ptr<Batch> batch;
  if (!has_gap(channel, cursor.seq_, cursor.offset_, cursor.resets_)) {
    if (cursor.seq_ >= end) return nullptr;
    batch = batch_of(channel, cursor.seq_, end, entries_max, bytes_max);
  } else {
    // It holds its page, or somebody does; else the pump waits for one.
    if (is_in_store(cursor, channel)) cursor.page_ = page_for(cursor, channel);
    if (!cursor.page_ || !is_next_in(*cursor.page_, cursor, channel)) return nullptr;
    batch = batch_of_page(cursor, channel, *cursor.page_, entries_max, bytes_max);
  }
  cursor.seq_ = batch->end();
  cursor.offset_ = batch->offset_before(batch->size());
  return batch;
}

void Shard::unsubscribe(Cursor& cursor) {
  if (!cursor.is_open()) return;
  assert(is_current());
  ShardChannel& home = *cursor.home_;
  cursor.forget_ticket();
  cursor.page_.reset();
  if (cursor.is_live()) make_lagging(home, cursor);
  set_ahead(cursor, false);
  unqueue(cursor);
  if (pumped_ == &cursor) pumped_ = nullptr;
  cursor.place_ = Cursor::Place::closed;
  remove_lagging(cursor);
  cursor.home_ = nullptr;
  home.all_.remove(cursor);
  subscriptions_.fetch_sub(1, std::memory_order_relaxed);

  Channel& channel = *home.channel_;
  const std::lock_guard lock(channel.mutex);
  Account account = account_of(cursor, channel);
  if (!account.is_balanced()) ++channel.unbalanced;
  account.returned += std::exchange(account.pending, 0);
  channel.ended += account;
  channel.fan_out.subscribers.fetch_sub(1, std::memory_order_relaxed);
  Channel::Link* link = channel.link_of(*this);
  if (--link->cursors > 0) return;
  channel.links.erase(channel.links.begin() + (link - channel.links.data()));
  if (channel.links.empty()) followed_.fetch_sub(1, std::memory_order_relaxed);
  if (!home.is_idle_) {
    home.is_idle_ = true;
    idle_.push_back(&home);
  }
}

void Shard::rewind(Cursor& cursor, Seq seq, Offset offset) {
  if (!cursor.is_open()) return;
  if (cursor.is_live()) {
    make_lagging(*cursor.home_, cursor);
    cursor.has_fallen_behind_ = true;
  }
  set_ahead(cursor, false);
  unqueue(cursor);
  cursor.page_.reset();  // who waits for a slow client leaves its place to others
  cursor.forget_ticket();
  if (pumped_ == &cursor) pumped_ = nullptr;
  cursor.seq_ = seq;
  cursor.offset_ = offset;
}

void Shard::resume(Cursor& cursor) {
  if (cursor.place_ == Cursor::Place::lagging) queue(cursor);
}

Account Shard::account_of(const Cursor& cursor, const Channel& channel) {
  Account account;
  account.published = channel.announced - cursor.announced_at_start_;
  account.delivered = static_cast<std::int64_t>(cursor.delivered_);
  if (cursor.withheld_) {
    account.conflated = static_cast<std::int64_t>(cursor.withheld_->conflated);
    for (std::size_t i = 0; i < kDropReasons; ++i)
      account.dropped[i] = static_cast<std::int64_t>(cursor.withheld_->dropped[i]);
  }
  account.pending = static_cast<std::int64_t>(channel.log.end_seq() - cursor.seq_) + cursor.under_way_;
  return account;
}

void Shard::begin_ledger() {
  homes_.begin_walk();
  in_ledger_ = nullptr;
}

bool Shard::add_to_ledger(std::vector<LedgerRow>& rows, std::size_t cursors_max, const LedgerFilter& filter) {
  std::size_t left = cursors_max;
  while (left > 0) {
    if (in_ledger_ == nullptr) {
      in_ledger_ = homes_.next();
      if (in_ledger_ == nullptr) return false;
      in_ledger_->all_.begin_walk();
    }
    Channel& channel = *in_ledger_->channel_;
    const std::lock_guard lock(channel.mutex);
    LedgerRow row{.channel = channel.name};
    const Cursor* cursor = nullptr;
    while (left > 0 && (cursor = in_ledger_->all_.next()) != nullptr) {
      --left;
      const bool is_wanted =
          filter.has(channel.name) && (filter.client.empty() || cursor->sink_->client_id() == filter.client);
      if (!is_wanted) continue;
      const Account account = account_of(*cursor, channel);
      if (!account.is_balanced()) ++row.unbalanced;
      row.account += account;
      ++row.subscriptions;
    }
    if (row.subscriptions > 0) rows.push_back(std::move(row));
    if (cursor == nullptr) in_ledger_ = nullptr;
  }
  return true;
}

Position Shard::position_of(const Cursor& cursor) {
  Channel& channel = *cursor.home_->channel_;
  const std::lock_guard lock(channel.mutex);
  return {channel.epoch, cursor.offset_};
}

}  // namespace carillon
