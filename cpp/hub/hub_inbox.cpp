// What a user has not read: ranges from the store, resolved from the channels' logs and put in order.
#include <algorithm>
#include <mutex>
#include <utility>

#include "hub/hub.hpp"

namespace carillon {

/// Ranges on their way to become items.
struct Hub::InboxRead {
  std::mutex mutex;
  Inbox inbox;
  std::vector<std::vector<InboxItem>> parts;  // by range
  std::vector<InboxRange> ranges;
  std::size_t missing = 0;
  std::size_t limit = 0;
  bool is_merging = false;
  bool is_adaptive = false;  // some of what is merged is an adaptive channel's
  std::int64_t began_ns = 0;
  std::function<void(Inbox)> done;
};

namespace {

/// By time, so that all strategies show the same row; a channel's own order wins over its clock.
void put_in_order(std::vector<std::vector<InboxItem>>& parts, Inbox& inbox, std::size_t limit) {
  struct Timed {
    Millis time = 0;
    InboxItem item;
  };
  std::vector<Timed> all;
  for (std::vector<InboxItem>& part : parts) {
    for (InboxItem& item : part) all.push_back({0, std::move(item)});
  }
  std::sort(all.begin(), all.end(), [](const Timed& a, const Timed& b) {
    return a.item.channel != b.item.channel ? a.item.channel < b.item.channel : a.item.first < b.item.first;
  });
  Millis latest = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (i == 0 || all[i].item.channel != all[i - 1].item.channel) latest = 0;
    if (all[i].item.entry) latest = std::max(latest, all[i].item.entry->wall_ms);
    all[i].time = latest;
  }
  std::stable_sort(all.begin(), all.end(), [](const Timed& a, const Timed& b) { return a.time < b.time; });
  if (all.size() > limit) {
    all.resize(limit);
    inbox.has_more = true;
  }
  for (Timed& each : all) inbox.items.push_back(std::move(each.item));
}

}  // namespace

void Hub::inbox(std::string_view user, std::size_t limit, std::function<void(Inbox)> done) {
  auto read = std::make_shared<InboxRead>();
  read->limit = limit;
  read->done = std::move(done);
  read->began_ns = clock_.now_ns();
  inbox_reads_.fetch_add(1, std::memory_order_relaxed);
  store_.inbox(user, limit, [this, read](const InboxResult& result) {
    read->inbox.error = result.error;
    read->inbox.unread = result.content.unread;
    read->inbox.is_incomplete = result.content.is_incomplete;
    std::uint64_t unread = 0;
    for (const auto& [channel, count] : result.content.unread) unread += count;
    if (result.error != StoreError::none || read->limit == 0) {
      read->inbox.has_more = unread > 0;
      return read->done(std::move(read->inbox));
    }
    read->ranges = result.content.entered;
    read->ranges.insert(read->ranges.end(), result.content.merged.begin(), result.content.merged.end());
    inbox_merges_.fetch_add(result.content.merged.size(), std::memory_order_relaxed);
    read->is_merging = !result.content.merged.empty();
    for (const InboxRange& range : result.content.merged) {
      if (find_or_add(range.channel)->fan_out.strategy() == FanOut::adaptive) read->is_adaptive = true;
    }
    read->parts.resize(read->ranges.size());
    read->missing = read->ranges.size();
    read->inbox.has_more = unread > read->limit;
    if (read->ranges.empty()) return read->done(std::move(read->inbox));
    for (std::size_t i = 0; i < read->parts.size(); ++i) resolve(read, i, read->ranges[i]);
  });
}

void Hub::resolve(const std::shared_ptr<InboxRead>& read, std::size_t index, const InboxRange& range) {
  HistoryQuery query;
  query.limit = static_cast<std::int64_t>(std::min<std::uint64_t>(range.size(), read->limit));
  query.since = Since{range.epoch, false, range.first - 1};
  history(range.channel, query, [this, read, index, range](const HistoryResult& found) {
    std::vector<InboxItem>& part = read->parts[index];
    const auto add_gap = [&](Offset first, Offset last) {
      if (first <= last) part.push_back({range.channel, range.epoch, nullptr, first, last});
    };
    Offset next = range.first;
    for (const EntryRef& entry : found.entries) {
      if (entry->offset > range.last) break;
      add_gap(next, entry->offset - 1);
      part.push_back({range.channel, range.epoch, entry, entry->offset, entry->offset});
      next = entry->offset + 1;
    }
    // Nothing is there from here on, unless it is merely more than was asked for, or still to be announced.
    const bool is_cut = part.size() >= read->limit && next <= range.last;
    const Offset last = found.top.epoch == range.epoch ? std::min(range.last, found.top.offset) : range.last;
    if (!is_cut && found.error != HistoryError::unavailable) add_gap(next, last);
    const std::lock_guard lock(read->mutex);
    if (found.error == HistoryError::unavailable) read->inbox.error = StoreError::unavailable;
    if (--read->missing > 0) return;
    put_in_order(read->parts, read->inbox, read->limit);
    if (read->is_merging)  // not what is done with it
      adaptive_.count_read(clock_.now_ns() - read->began_ns, read->is_adaptive);
    read->done(std::move(read->inbox));
  });
}

void Hub::mark_read(std::string_view user, std::string_view name, Offset offset,
                    std::function<void(FanOutError)> done) {
  const auto channel = open_channel(name);
  when_open(channel, [this, channel, user = std::string(user), offset, done = std::move(done)] {
    {
      const std::lock_guard lock(channel->mutex);
      if (!channel->is_open) return done(FanOutError::unavailable);
      if (offset > channel->log.top()) return done(FanOutError::above_top);
    }
    store_.mark_read(user, channel->name, offset, [done](StoreError error) {
      done(error == StoreError::none ? FanOutError::none : FanOutError::unavailable);
    });
  });
}

}  // namespace carillon
