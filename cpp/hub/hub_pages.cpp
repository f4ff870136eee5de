// Pages: what the ring of a channel has no more, as the store has it. They are read once for all cursors that
// want them, and so many at one time.
#include <algorithm>
#include <bit>
#include <memory>
#include <utility>
#include <vector>

#include "hub/hub.hpp"

namespace carillon {

namespace {
/// A page that nobody holds is kept for that long: clients that come back after one event come within it.
constexpr Millis kRecentMs = 30'000;
// The pauses before a page is asked for again, which the store could not give: they double, with jitter.
constexpr Millis kFirstPauseMs = 200;
constexpr Millis kLastPauseMs = 5'000;
}  // namespace

bool StoredPage::is_of(const Channel& channel) const {
  return epoch_ == channel.epoch && channel.pages && removals_ == channel.pages->removals;
}

bool ChannelPages::Fetch::is_of(const Channel& channel) const {
  return resets == channel.resets && removals == channel.pages->removals;
}

void Hub::fetch_page(const std::shared_ptr<Channel>& channel, Offset offset, PageDone done) {
  fetch_page(channel, {offset, true, std::move(done)});
}

void Hub::fetch_page(const std::shared_ptr<Channel>& channel, ChannelPages::Waiter waiter) {
  StoredPageRef page;
  std::shared_ptr<ChannelPages::Fetch> fetch;
  {
    const std::lock_guard lock(channel->mutex);
    if (!channel->pages) {
      channel->pages = std::make_unique<ChannelPages>();
      channel->pages->part_entries = limits_.page_entries;
    }
    ChannelPages& pages = *channel->pages;
    page = pages.find(waiter.offset);
    if (!page) {
      const Offset size = pages.part_entries;
      const Offset end = (waiter.offset + size - 1) / size * size;
      for (const auto& known : pages.fetches) {
        const bool is_same =
            known->is_of(*channel) && known->first <= waiter.offset && waiter.offset <= known->end;
        if (!is_same || (known->retry_ms > 0 && !waiter.is_patient)) continue;
        known->waiters.push_back(std::move(waiter));
        return;
      }
      fetch = std::make_shared<ChannelPages::Fetch>();
      fetch->end = end;
      fetch->first = end + 1 - size;
      // A page before it in the same part was cut short: the next one begins behind it.
      const StoredPageRef before = pages.before(waiter.offset);
      if (before && before->last() >= fetch->first) fetch->first = before->last() + 1;
      fetch->resets = channel->resets;
      fetch->removals = pages.removals;
      fetch->waiters.push_back(std::move(waiter));
      pages.fetches.push_back(fetch);
    }
  }
  if (page) return waiter.done(StoreError::none, page);
  read_page(channel, fetch);
}

void Hub::read_page(const std::shared_ptr<Channel>& channel,
                    const std::shared_ptr<ChannelPages::Fetch>& fetch) {
  // A place comes free where the last reader lets go of a page, and that may be under a channel's lock.
  page_room_->when_there_is_room([this, channel, fetch] {
    Shard* shard = Shard::current();
    const std::lock_guard lock(shards_mutex_);
    if (shard == nullptr && !shards_.empty()) shard = shards_.front();
    if (shard != nullptr) shard->post([this, channel, fetch] { read_page_now(channel, fetch); });
  });
}

void Hub::read_page_now(const std::shared_ptr<Channel>& channel,
                        const std::shared_ptr<ChannelPages::Fetch>& fetch) {
  if (is_closed_) return;
  ReadRange range{.first = fetch->first, .bytes_max = limits_.page_bytes};
  range.entries_max = static_cast<std::size_t>(fetch->end - fetch->first + 1);
  Page changed;  // the log, while it waited
  bool is_same_log = true;
  {
    const std::lock_guard lock(channel->mutex);
    range.last = channel->log.top();
    is_same_log = fetch->is_of(*channel);
    changed.top.epoch = channel->epoch;
  }
  if (!is_same_log) return on_page(channel, fetch, range, changed);
  store_.read(channel->name, range, [this, channel, fetch, range](const Page& read) {
    const bool is_known =
        read.top.epoch.is_set() || (read.error != StoreError::none && read.error != StoreError::not_held);
    if (is_known) return on_page(channel, fetch, range, read);
    // The store has lost the channel: asked for its top, it says in which epoch it goes on.
    store_.top(channel->name, [this, channel, fetch, range](const TopResult& result) {
      const bool is_set = result.error != StoreError::none || result.top.epoch.is_set();
      on_page(channel, fetch, range,
              {.error = is_set ? result.error : StoreError::unavailable, .top = result.top, .entries = {}});
    });
  });
}

void Hub::on_page(const std::shared_ptr<Channel>& channel, const std::shared_ptr<ChannelPages::Fetch>& fetch,
                  const ReadRange& range, const Page& read) {
  StoredPageRef page;
  StoreError error = read.error == StoreError::not_held ? StoreError::none : read.error;
  std::vector<ChannelPages::Waiter> told;
  {
    const std::lock_guard lock(channel->mutex);
    ChannelPages& pages = *channel->pages;
    if (error == StoreError::none && read.top.epoch != channel->epoch) {
      believe(*channel, read.top);
      if (read.top.epoch != channel->epoch) error = StoreError::unavailable;  // of an epoch that was replaced
    }
    if (error == StoreError::none && fetch->is_of(*channel)) page = page_of(*channel, range, read);
    const bool is_retried = error != StoreError::none && error != StoreError::closed;
    const auto is_told = [&](const ChannelPages::Waiter& waiter) {
      return !is_retried || !waiter.is_patient;
    };
    for (auto& waiter : fetch->waiters)
      if (is_told(waiter)) told.push_back(std::move(waiter));
    std::erase_if(fetch->waiters, [](const ChannelPages::Waiter& waiter) { return !waiter.done; });
    if (fetch->waiters.empty()) {
      std::erase(pages.fetches, fetch);
    } else {
      const Millis pause = std::min(kLastPauseMs, kFirstPauseMs << std::min(fetch->failures++, 8U));
      fetch->retry_ms =
          clock_.now_ms() + pause / 2 + static_cast<Millis>(random_.below(static_cast<std::uint64_t>(pause)));
    }
  }
  if (!page) page_room_->done();
  if (page && page->held_from() <= page->last()) keep_recent(page);
  // Who gets neither a page with what he wants nor an error looks again: the log is another one, or the parts
  // have become smaller.
  for (const auto& waiter : told) waiter.done(error, page && page->tells_of(waiter.offset) ? page : nullptr);
}

StoredPageRef Hub::page_of(Channel& channel, const ReadRange& range, const Page& read) {
  ChannelPages& pages = *channel.pages;
  std::vector<EntryRef> entries = read.entries;
  std::size_t bytes = 0;
  for (const EntryRef& entry : entries) {
    count_into_gauge(entry);
    bytes += entry->cost_bytes();
  }
  if (!entries.empty()) {
    pages_read_.fetch_add(1, std::memory_order_relaxed);
    page_publications_.fetch_add(entries.size(), std::memory_order_relaxed);
  }
  const bool is_cut = !entries.empty() && read.has_more && entries.size() < range.entries_max;
  if (is_cut) {
    pages.part_entries = std::bit_floor(entries.size());
  } else if (entries.size() >= pages.part_entries && bytes <= limits_.page_bytes / 4) {
    pages.part_entries = std::min(2 * pages.part_entries, limits_.page_entries);
  }
  const Offset last = entries.empty() ? range.last : entries.back()->offset;
  auto page = std::make_shared<const StoredPage>(channel.epoch, pages.removals, range.first, last,
                                                 std::move(entries), page_room_);
  std::erase_if(pages.held, [](const auto& known) { return known.second.expired(); });
  pages.held[range.first] = page;
  return page;
}

void Hub::keep_recent(const StoredPageRef& page) {
  StoredPageRef oldest;  // let go without the lock: its place may be taken at once
  const std::lock_guard lock(recent_pages_mutex_);
  oldest = recent_pages_.add(page, clock_.now_ms());
}

void Hub::forget_recent() { forget_recent_before(clock_.now_ms() - kRecentMs); }

void Hub::forget_recent_before(Millis ms) {
  for (;;) {
    StoredPageRef oldest;
    const std::lock_guard lock(recent_pages_mutex_);
    oldest = recent_pages_.take_before(ms);
    if (!oldest) return;
  }
}

void Hub::bound_recent(std::size_t pages_max) {
  for (;;) {
    StoredPageRef oldest;
    const std::lock_guard lock(recent_pages_mutex_);
    recent_pages_.set_max(pages_max);
    oldest = recent_pages_.take_beyond();
    if (!oldest) return;
  }
}

void Hub::forget_pages(Channel& channel) {
  if (!channel.pages) return;
  channel.pages->held.clear();
  ++channel.pages->removals;
}

std::vector<std::shared_ptr<ChannelPages::Fetch>> Hub::failed_fetches(Channel& channel) {
  std::vector<std::shared_ptr<ChannelPages::Fetch>> failed;
  if (!channel.pages) return failed;
  for (const auto& fetch : channel.pages->fetches) {
    if (fetch->retry_ms == 0 || fetch->retry_ms > clock_.now_ms()) continue;
    fetch->retry_ms = 0;
    failed.push_back(fetch);
  }
  return failed;
}

}  // namespace carillon
