// What a user has not read: ranges from the store, resolved from the channels' logs and put in order.
#include <algorithm>
#include <map>
#include <mutex>
#include <optional>
#include <tuple>
#include <utility>

#include "hub/hub.hpp"

namespace carillon {

/// What is read of one channel: its ranges one after another, a page at a time.
struct InboxPart {
  std::vector<InboxRange> ranges;  // ascending
  std::size_t range = 0;           // under way
  Offset next = 0;                 // in it; 0: at its start
  std::vector<InboxItem> items;
  std::vector<Millis> times;  // of the items: never back, a channel's own order wins over its clock
  std::size_t wanted = 0;     // items, by the end of the round

  [[nodiscard]] bool is_read() const { return range == ranges.size(); }
};

/// A read of an inbox under way. It goes in rounds: each reads a page of the channels from which the first
/// `limit` items may come, so that it costs what its answer holds and not all that is unread.
struct Hub::InboxRead {
  std::mutex mutex;  // guards `missing` and the error
  Inbox inbox;
  std::vector<InboxPart> parts;
  std::vector<std::size_t> asked;  // the parts of the round
  std::size_t next_asked = 0;
  std::size_t missing = 0;
  std::size_t limit = 0;
  bool is_merging = false;
  bool is_adaptive = false;  // some of what is merged is an adaptive channel's
  std::int64_t began_ns = 0;
  std::int64_t paused_ns = 0;  // when the piece before ended
  std::function<void(Inbox)> done;
};

namespace {

/// An item's place in the answer: by time, so that all strategies show the same row, then by channel.
struct InboxPlace {
  Millis time = 0;
  std::string_view channel;
  Offset first = 0;
  std::size_t part = 0;
  std::size_t item = 0;
  friend bool operator<(const InboxPlace& a, const InboxPlace& b) {
    return std::tie(a.time, a.channel, a.first) < std::tie(b.time, b.channel, b.first);
  }
};

std::vector<InboxPart> parts_of(const InboxContent& content) {
  std::map<std::string_view, InboxPart> by_channel;
  for (const auto* ranges : {&content.entered, &content.merged}) {
    for (const InboxRange& range : *ranges) by_channel[range.channel].ranges.push_back(range);
  }
  std::vector<InboxPart> parts;
  parts.reserve(by_channel.size());
  for (auto& [channel, part] : by_channel) {
    std::sort(part.ranges.begin(), part.ranges.end(),
              [](const InboxRange& a, const InboxRange& b) { return a.first < b.first; });
    InboxPart joined;
    for (InboxRange& range : part.ranges) {
      if (!joined.ranges.empty() && joined.ranges.back().epoch == range.epoch &&
          joined.ranges.back().last + 1 == range.first) {
        joined.ranges.back().last = range.last;
      } else {
        joined.ranges.push_back(std::move(range));
      }
    }
    parts.push_back(std::move(joined));
  }
  return parts;
}

/// Adds what was found of the range under way: publications, and gaps where there are none.
void add_found(InboxPart& part, const HistoryResult& found, std::size_t wanted) {
  const InboxRange& range = part.ranges[part.range];
  Offset next = part.next;
  const auto add = [&](EntryRef entry, Offset first, Offset last) {
    Millis time = part.times.empty() ? 0 : part.times.back();
    if (entry) time = std::max(time, entry->wall_ms);
    part.times.push_back(time);
    part.items.push_back({range.channel, range.epoch, std::move(entry), first, last});
  };
  for (const EntryRef& entry : found.entries) {
    if (entry->offset > range.last) break;
    if (next < entry->offset) add(nullptr, next, entry->offset - 1);
    add(entry, entry->offset, entry->offset);
    next = entry->offset + 1;
  }
  // Nothing is there from here on, unless it is merely more than was asked for.
  const bool is_cut =
      found.entries.size() >= wanted && next <= range.last && found.entries.back()->offset < range.last;
  const Offset last = found.top.epoch == range.epoch ? std::min(range.last, found.top.offset) : range.last;
  if (!is_cut && found.error != HistoryError::unavailable && next <= last) add(nullptr, next, last);
  part.next = is_cut ? next : 0;
  if (!is_cut) ++part.range;
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
    read->inbox.has_more = unread > read->limit;
    inbox_merges_.fetch_add(result.content.merged.size(), std::memory_order_relaxed);
    read->is_merging = !result.content.merged.empty();
    for (const InboxRange& range : result.content.merged) {
      const auto channel = find(range.channel);
      const FanOut strategy = channel ? channel->fan_out.strategy() : options_for(range.channel).fan_out;
      if (strategy == FanOut::adaptive) read->is_adaptive = true;
    }
    read->parts = parts_of(result.content);
    if (read->parts.empty()) return read->done(std::move(read->inbox));
    const std::size_t page =
        std::max<std::size_t>(1, (read->limit + read->parts.size() - 1) / read->parts.size());
    for (std::size_t i = 0; i < read->parts.size(); ++i) {
      read->parts[i].wanted = page;
      read->asked.push_back(i);
    }
    read_round(read);
  });
}

void Hub::read_round(const std::shared_ptr<InboxRead>& read) {
  static constexpr std::size_t kChannelsPerTurn = 256;
  read->missing = read->asked.size();
  read->next_asked = 0;
  read->paused_ns = clock_.now_ns();
  Shard::in_pieces([this, read] {
    read->began_ns += clock_.now_ns() - read->paused_ns;  // while others had their turn
    const std::size_t end = std::min(read->asked.size(), read->next_asked + kChannelsPerTurn);
    const bool has_more = end < read->asked.size();
    while (read->next_asked < end) {
      const std::size_t part = read->asked[read->next_asked++];
      if (!has_more && read->next_asked == end) {  // with the last answer all of this may be over
        resolve(read, part);
        return false;
      }
      resolve(read, part);
    }
    read->paused_ns = clock_.now_ns();
    return has_more;
  });
}

void Hub::resolve(const std::shared_ptr<InboxRead>& read, std::size_t index) {
  InboxPart& part = read->parts[index];
  const InboxRange range = part.ranges[part.range];
  if (part.next == 0) part.next = range.first;
  const std::size_t wanted = part.wanted - part.items.size();
  HistoryQuery query;
  query.limit = static_cast<std::int64_t>(std::min<std::uint64_t>(range.last + 1 - part.next, wanted));
  query.since = Since{range.epoch, false, part.next - 1};
  const auto take = [this, read, index, limit = query.limit](const HistoryResult& found) {
    InboxPart& mine = read->parts[index];
    add_found(mine, found, static_cast<std::size_t>(limit));
    if (found.error == HistoryError::unavailable) mine.range = mine.ranges.size();
    if (!mine.is_read() && mine.items.size() < mine.wanted) return resolve(read, index);
    {
      const std::lock_guard lock(read->mutex);
      if (found.error == HistoryError::unavailable) read->inbox.error = StoreError::unavailable;
      if (--read->missing > 0) return;
    }
    end_round(read);
  };
  history(range.channel, query, [this, range, query, take](const HistoryResult& found) {
    // The inbox may tell of what has not been announced to this gateway yet.
    const bool is_behind = found.top.epoch != range.epoch || found.top.offset < range.last;
    if (is_behind && found.error != HistoryError::unavailable && store_.keeps_entries())
      return read_history(range.channel, query, take);
    take(found);
  });
}

void Hub::end_round(const std::shared_ptr<InboxRead>& read) {
  std::vector<InboxPlace> places;
  std::optional<InboxPlace>
      first_open;  // the newest of a channel of which there is more, whose is the oldest
  for (std::size_t i = 0; i < read->parts.size(); ++i) {
    const InboxPart& part = read->parts[i];
    for (std::size_t item = 0; item < part.items.size(); ++item)
      places.push_back({part.times[item], part.items[item].channel, part.items[item].first, i, item});
    if (!part.is_read() && (!first_open || places.back() < *first_open)) first_open = places.back();
  }
  std::sort(places.begin(), places.end());
  const std::size_t shown = std::min(read->limit, places.size());
  if (first_open && (shown < read->limit || *first_open < places[shown - 1])) {
    // Behind that one there may be others that come before what is here.
    read->asked.clear();
    const InboxPlace& last = places[shown - 1];
    for (std::size_t i = 0; i < read->parts.size(); ++i) {
      InboxPart& part = read->parts[i];
      if (part.is_read()) continue;
      const InboxPlace newest{part.times.back(), part.items.back().channel, part.items.back().first, i, 0};
      if (shown == read->limit && last < newest) continue;
      part.wanted = std::min(2 * part.items.size(), part.items.size() + read->limit);
      read->asked.push_back(i);
    }
    return read_round(read);
  }
  read->inbox.has_more = read->inbox.has_more || first_open || places.size() > read->limit;
  for (std::size_t i = 0; i < shown; ++i)
    read->inbox.items.push_back(std::move(read->parts[places[i].part].items[places[i].item]));
  if (read->is_merging)  // not what is done with it
    adaptive_.count_read(clock_.now_ns() - read->began_ns, read->is_adaptive);
  read->done(std::move(read->inbox));
}

void Hub::mark_read(std::string_view user, std::string_view name, Offset offset,
                    std::function<void(FanOutError, StoreError)> done) {
  store_.mark_read(user, name, offset, [done = std::move(done)](StoreError error) {
    if (error == StoreError::conflict) return done(FanOutError::above_top, error);
    done(error == StoreError::none ? FanOutError::none : FanOutError::unavailable, error);
  });
}

}  // namespace carillon
