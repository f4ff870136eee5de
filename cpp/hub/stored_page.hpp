#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "env/clock.hpp"
#include "hub/catch_up.hpp"
#include "store/entry.hpp"
#include "store/position.hpp"
#include "store/store.hpp"

namespace carillon {

struct Channel;

/// A part of a channel's history as the store has it, beside the ring. Cursors that the ring cannot serve
/// read from it; it lives as long as one of them holds it. Immutable.
class StoredPage {
 public:
  /// It tells of every offset in [first, last]: those without an entry are gone. `entries`: consecutive, up
  /// to `last`; or none. It takes a place in `room`, and gives it back in the end.
  StoredPage(const Epoch& epoch, std::uint32_t removals, Offset first, Offset last,
             std::vector<EntryRef> entries, std::shared_ptr<CatchUp> room)
      : epoch_(epoch),
        removals_(removals),
        first_(first),
        last_(last),
        entries_(std::move(entries)),
        room_(std::move(room)) {}
  ~StoredPage() { room_->done(); }
  StoredPage(const StoredPage&) = delete;
  StoredPage& operator=(const StoredPage&) = delete;

  /// Is the channel's log still the one that it was read of?
  [[nodiscard]] bool is_of(const Channel& channel) const;
  [[nodiscard]] Offset first() const { return first_; }
  [[nodiscard]] Offset last() const { return last_; }
  [[nodiscard]] bool tells_of(Offset offset) const { return first_ <= offset && offset <= last_; }
  /// Oldest offset that the store had; last() + 1: none of them.
  [[nodiscard]] Offset held_from() const { return entries_.empty() ? last_ + 1 : entries_.front()->offset; }
  [[nodiscard]] bool has(Offset offset) const { return held_from() <= offset && offset <= last_; }
  /// The entry at an offset in [held_from(), last()].
  [[nodiscard]] const EntryRef& at(Offset offset) const {
    return entries_[static_cast<std::size_t>(offset - entries_.front()->offset)];
  }

 private:
  const Epoch epoch_;
  const std::uint32_t removals_;
  const Offset first_;
  const Offset last_;
  const std::vector<EntryRef> entries_;
  const std::shared_ptr<CatchUp> room_;
};
using StoredPageRef = std::shared_ptr<const StoredPage>;

/// Called on any thread. No page and no error: the log is another one by now, so look again.
using PageDone = std::function<void(StoreError, const StoredPageRef&)>;

/// Who reads pages for cursors: the hub.
class PageSource {
 public:
  virtual ~PageSource() = default;
  /// The page that tells of `offset`, in [1, top]. It comes when the store has answered, however late. Not
  /// with the channel's lock.
  virtual void fetch_page(const std::shared_ptr<Channel>& channel, Offset offset, PageDone done) = 0;
};

/// Pages of one channel: those that somebody holds, and those on their way. Plain state of the channel, whose
/// lock guards it.
struct ChannelPages {
  struct Waiter {
    Offset offset = 0;
    bool is_patient = false;  ///< waits until the store can be reached again
    PageDone done;
  };
  /// A page of one aligned part of the log, on its way.
  struct Fetch {
    Offset first = 0;
    Offset end = 0;  ///< last offset of the part
    std::uint32_t resets = 0;
    std::uint32_t removals = 0;
    Millis retry_ms = 0;  ///< when keep_house tries again; 0: it is under way
    std::uint32_t failures = 0;
    std::vector<Waiter> waiters;

    /// Is the channel's log still the one that it was begun for?
    [[nodiscard]] bool is_of(const Channel& channel) const;
  };

  /// The page that tells of an offset, if somebody holds it.
  [[nodiscard]] StoredPageRef find(Offset offset) {
    StoredPageRef page = before(offset + 1);
    return page && page->tells_of(offset) ? page : nullptr;
  }
  /// The page with the largest first offset below `offset`.
  [[nodiscard]] StoredPageRef before(Offset offset) {
    for (auto found = held.lower_bound(offset); found != held.begin();) {
      if (StoredPageRef page = (--found)->second.lock()) return page;
      found = held.erase(found);
    }
    return nullptr;
  }

  std::map<Offset, std::weak_ptr<const StoredPage>> held;  ///< by first offset; those that are gone go later
  std::vector<std::shared_ptr<Fetch>> fetches;
  std::uint32_t removals = 0;  ///< of the history: what was read before is not shown after one
  /// Publications of a part, by which pages are aligned. Where these are large it becomes smaller, so that a
  /// page is not cut, and nobody reads much that he does not want.
  std::size_t part_entries = 0;
};

/// Keeps the newest pages for a while, so that they are read once though their readers come one after
/// another. Not thread-safe.
class RecentPages {
 public:
  explicit RecentPages(std::size_t pages_max) : pages_max_(pages_max) {}
  void set_max(std::size_t pages_max) { pages_max_ = pages_max; }
  /// Returns what has to go for it.
  [[nodiscard]] StoredPageRef add(StoredPageRef page, Millis now_ms) {
    pages_.emplace_back(now_ms, std::move(page));
    return take_beyond();
  }
  /// One that there is no room for any more; null: there is none.
  [[nodiscard]] StoredPageRef take_beyond() { return pages_.size() > pages_max_ ? pop() : nullptr; }
  /// One that was added before; null: there is none any more.
  [[nodiscard]] StoredPageRef take_before(Millis ms) {
    return !pages_.empty() && pages_.front().first < ms ? pop() : nullptr;
  }

 private:
  StoredPageRef pop() {
    StoredPageRef oldest = std::move(pages_.front().second);
    pages_.pop_front();
    return oldest;
  }
  std::size_t pages_max_;
  std::deque<std::pair<Millis, StoredPageRef>> pages_;  // oldest first
};

}  // namespace carillon
