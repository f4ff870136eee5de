#include "hub/late_store.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

namespace carillon {

LateStore::Stream& LateStore::touch(const std::string& channel) {
  Stream& stream = streams_[channel];
  if (!stream.epoch.is_set()) stream.epoch = Epoch::from_bits(random_.next());
  return stream;
}

void LateStore::later(Event event) { events_.push_back(std::move(event)); }

void LateStore::append(std::string_view channel, std::shared_ptr<Entry> entry, const AppendOptions& options,
                       std::function<void(const AppendResult&)> done) {
  const std::lock_guard lock(mutex_);
  later([this, request = Request{std::string(channel), std::move(entry), options.is_ephemeral, options.mode,
                                 std::string(options.idempotency_key), std::move(done)}] { apply(request); });
}

void LateStore::apply(const Request& request) {
  const std::lock_guard lock(mutex_);
  AppendResult result;
  const bool is_failed = fails(faults_.append_fails);
  if (is_failed) result.error = failure();
  const auto& done = request.done;
  const bool has_happened = !is_closed_ && is_failed && fails(50);
  if (has_happened) result.error = StoreError::outcome_unknown;
  if (is_failed && !has_happened) return later([done, result] { done(result); });

  const std::string key = request.key.empty() ? "" : request.channel + ' ' + request.key;
  const auto known = key.empty() ? keys_.end() : keys_.find(key);
  if (known != keys_.end()) {
    result.position = known->second;
    result.is_duplicate = true;
    if (const auto& roster = touch(request.channel).roster) result.members = roster->members();
    return later([done, result] { done(result); });
  }
  Stream& stream = touch(request.channel);
  result.position.epoch = stream.epoch;
  std::size_t& members = result.members;
  if (!request.is_ephemeral) {
    result.position.offset = request.entry->offset = stream.entries.size() + 1;
    stream.entries.push_back(request.entry);
    stream.modes.push_back(request.mode);
    if (has_happened) stream.unheard.insert(result.position.offset);
    if (stream.roster) members = inboxes_.on_appended(stream.roster, result.position.offset, request.mode);
  }
  if (!key.empty()) keys_[key] = result.position;
  const auto announcement = [this, request, epoch = stream.epoch, members] {
    announce(request, epoch, members);
  };
  if (!request.is_ephemeral && fails(faults_.announcement_repeats)) later(announcement);
  if (!request.is_ephemeral && fails(faults_.announcement_is_lost))
    return later([done, result] { done(result); });
  later([this, announcement, done, result] {
    announcement();
    const std::lock_guard event_lock(mutex_);
    later([done, result] { done(result); });
  });
}

void LateStore::announce(const Request& request, const Epoch& epoch, std::size_t members) {
  {
    const std::lock_guard lock(mutex_);
    const Stream& stream = touch(request.channel);
    if (stream.epoch != epoch || stream.follows == 0) return;  // lost with the rest, or nobody's
  }
  listener_->on_announced({request.channel, epoch, request.entry, request.mode, members});
}

void LateStore::follow(std::string_view channel, std::function<void(const TopResult&)> done) {
  answer_top(channel, true, std::move(done));
}

void LateStore::top(std::string_view channel, std::function<void(const TopResult&)> done) {
  answer_top(channel, false, std::move(done));
}

void LateStore::answer_top(std::string_view channel, bool is_followed,
                           std::function<void(const TopResult&)> done) {
  const std::lock_guard lock(mutex_);
  later([this, is_followed, channel = std::string(channel), done = std::move(done)] {
    TopResult result;
    {
      const std::lock_guard event_lock(mutex_);
      if (fails(faults_.follow_fails)) {
        result.error = failure();
      } else {
        Stream& stream = touch(channel);
        if (is_followed) ++stream.follows;
        stream.is_unknown = false;
        result.top = {stream.epoch, stream.entries.size()};
        if (stream.roster) result.members = stream.roster->members();
      }
    }
    done(result);
  });
}

void LateStore::unfollow(std::string_view channel) {
  const std::lock_guard lock(mutex_);
  Stream& stream = touch(std::string(channel));
  --stream.follows;
  EXPECT_GE(stream.follows, 0) << channel << " was unfollowed more often than followed";
}

void LateStore::read(std::string_view channel, const ReadRange& range,
                     std::function<void(const Page&)> done) {
  EXPECT_LE(range.first, range.last);
  const std::lock_guard lock(mutex_);
  ++reads_[std::string(channel) + ' ' + std::to_string(range.first) + ' ' + std::to_string(range.last)];
  later([this, channel = std::string(channel), range, done = std::move(done)] {
    Page page;
    {
      const std::lock_guard event_lock(mutex_);
      const Stream& stream = touch(channel);
      const Offset top = stream.entries.size();
      page.top = {stream.epoch, top};
      if (stream.is_unknown) page.top = {};
      if (stream.is_unknown) {
        page.error = StoreError::not_held;
      } else if (fails(faults_.read_fails)) {
        page.error = failure();
      } else if (fails(faults_.range_is_gone)) {
        page.error = StoreError::not_held;
      } else {
        if (range.first <= stream.removed_to) page.error = StoreError::not_held;
        Offset first = std::max(range.first, stream.removed_to + 1);
        Offset last = std::min(range.last, top);
        if (first <= last && last - first >= range.entries_max) {
          page.has_more = true;
          range.is_backward ? first = last + 1 - range.entries_max : last = first + range.entries_max - 1;
        }
        std::size_t bytes = 0;
        for (Offset offset = first; offset <= last; ++offset) {
          bytes += stream.entries[offset - 1]->cost_bytes();
          if (!range.is_backward && bytes > range.bytes_max && offset > first) {
            page.has_more = true;
            break;
          }
          page.entries.push_back(stream.entries[offset - 1]);
        }
        entries_read_ += page.entries.size();
      }
    }
    done(page);
  });
}

void LateStore::remove_history(std::string_view channel, std::function<void(StoreError)> done) {
  const std::lock_guard lock(mutex_);
  later([this, channel = std::string(channel), done = std::move(done)] {
    {
      const std::lock_guard event_lock(mutex_);
      Stream& stream = touch(channel);
      stream.removed_to = stream.entries.size();
    }
    done(StoreError::none);
  });
}

// ---- members

void LateStore::add_members(std::string_view channel, std::span<const std::string> users,
                            std::function<void(const MembersResult&)> done) {
  const std::lock_guard lock(mutex_);
  later([this, channel = std::string(channel), users = std::vector(users.begin(), users.end()),
         done = std::move(done)] {
    MembersResult result;
    {
      const std::lock_guard event_lock(mutex_);
      Stream& stream = touch(channel);
      if (!stream.roster)
        stream.roster = inboxes_.make_roster(channel, {stream.epoch, stream.entries.size()});
      EXPECT_TRUE(inboxes_.add(stream.roster, users));
      result.members = stream.roster->members();
    }
    done(result);
  });
}

void LateStore::remove_members(std::string_view channel, std::span<const std::string> users,
                               std::function<void(const MembersResult&)> done) {
  const std::lock_guard lock(mutex_);
  later([this, channel = std::string(channel), users = std::vector(users.begin(), users.end()),
         done = std::move(done)] {
    MembersResult result;
    {
      const std::lock_guard event_lock(mutex_);
      const auto roster = touch(channel).roster;
      if (roster) inboxes_.remove(*roster, users);
      if (roster) result.members = roster->members();
    }
    done(result);
  });
}

void LateStore::members(std::string_view channel, std::string_view after, std::size_t limit,
                        std::function<void(const MembersResult&)> done) {
  const std::lock_guard lock(mutex_);
  MembersResult result;
  if (const auto roster = touch(std::string(channel)).roster) {
    result.members = roster->members();
    result.users = MemoryInboxes::members(*roster, after, limit);
  }
  later([done = std::move(done), result] { done(result); });
}

void LateStore::enter(std::string_view channel, std::size_t members_max,
                      std::function<void(const EnterResult&)> done) {
  const std::lock_guard lock(mutex_);
  later([this, channel = std::string(channel), members_max, done = std::move(done)] {
    EnterResult result;
    {
      const std::lock_guard event_lock(mutex_);
      const auto roster = touch(channel).roster;
      if (fails(faults_.enter_fails)) {
        result.error = failure();
      } else if (roster) {
        result.step = inboxes_.enter(*roster, members_max);
      } else {
        result.step = {.entered = 0, .entered_to = ~Offset{0}, .is_done = true};
      }
    }
    done(result);
  });
}

void LateStore::unread(std::string_view user, std::string_view channel,
                       std::function<void(const UnreadResult&)> done) {
  const std::lock_guard lock(mutex_);
  later([this, user = std::string(user), channel = std::string(channel), done = std::move(done)] {
    UnreadResult result;
    {
      const std::lock_guard event_lock(mutex_);
      if (const auto roster = touch(channel).roster) result.publications = inboxes_.unread(user, *roster);
    }
    done(result);
  });
}

void LateStore::inbox(std::string_view user, std::size_t limit,
                      std::function<void(const InboxResult&)> done) {
  const std::lock_guard lock(mutex_);
  later([this, user = std::string(user), limit, done = std::move(done)] {
    done({StoreError::none, inboxes_.inbox(user, limit)});
  });
}

void LateStore::mark_read(std::string_view user, std::string_view channel, Offset offset,
                          std::function<void(StoreError)> done) {
  const std::lock_guard lock(mutex_);
  later([this, user = std::string(user), channel = std::string(channel), offset, done = std::move(done)] {
    {
      const std::lock_guard event_lock(mutex_);
      if (const auto roster = touch(channel).roster) inboxes_.mark_read(user, *roster, offset);
    }
    done(StoreError::none);
  });
}

std::size_t LateStore::entered(const std::string& user, const std::string& channel, Offset offset) {
  const std::lock_guard lock(mutex_);
  const Epoch epoch = touch(channel).epoch;
  std::size_t found = 0;
  for (const InboxRange& range : inboxes_.inbox(user, 1'000'000).entered) {
    const bool is_in = range.first <= offset && offset <= range.last;
    if (range.channel == channel && range.epoch == epoch && is_in) ++found;
  }
  return found;
}

Millis LateStore::wall_ms(const std::string& channel, Offset offset) {
  const std::lock_guard lock(mutex_);
  return touch(channel).entries.at(offset - 1)->wall_ms;
}

FanOutMode LateStore::mode(const std::string& channel, Offset offset) {
  const std::lock_guard lock(mutex_);
  return touch(channel).modes.at(offset - 1);
}

void LateStore::note_unheard(const std::string& channel, Offset offset) {
  const std::lock_guard lock(mutex_);
  touch(channel).unheard.insert(offset);
}

bool LateStore::is_unheard(const std::string& channel, Offset offset) {
  const std::lock_guard lock(mutex_);
  return touch(channel).unheard.contains(offset);
}

// ---- what a test does

bool LateStore::run_one() {
  Event event;
  {
    const std::lock_guard lock(mutex_);
    if (events_.empty()) return false;
    // Mostly in order, so that much happens; sometimes anything.
    const std::size_t pick = random_.below(2) == 0 ? 0 : random_.below(events_.size());
    std::swap(events_[pick], events_.front());
    event = std::move(events_.front());
    events_.pop_front();
  }
  event();
  return true;
}

void LateStore::close() {
  {
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
  }
  while (run_one()) {
  }
}

void LateStore::renew(std::string_view channel) {
  const std::lock_guard lock(mutex_);
  Stream& stream = touch(std::string(channel));
  stream.epoch = Epoch::from_bits(random_.next());
  stream.is_unknown = false;
  stream.entries.clear();
  stream.modes.clear();
  stream.unheard.clear();
  stream.roster.reset();
  stream.removed_to = 0;
}

void LateStore::set_faults(const StoreFaults& faults) {
  const std::lock_guard lock(mutex_);
  faults_ = faults;
}

Position LateStore::top(std::string_view channel) {
  const std::lock_guard lock(mutex_);
  const Stream& stream = touch(std::string(channel));
  return {stream.epoch, stream.entries.size()};
}

void LateStore::forget(const std::string& channel) {
  renew(channel);
  const std::lock_guard lock(mutex_);
  touch(channel).is_unknown = true;
}

void LateStore::trim(const std::string& channel, Offset up_to) {
  const std::lock_guard lock(mutex_);
  touch(channel).removed_to = up_to;
}

std::map<std::string, std::uint64_t> LateStore::reads() {
  const std::lock_guard lock(mutex_);
  return reads_;
}

std::uint64_t LateStore::entries_read() {
  const std::lock_guard lock(mutex_);
  return entries_read_;
}

std::int64_t LateStore::followed_channels() {
  const std::lock_guard lock(mutex_);
  std::int64_t sum = 0;
  for (const auto& [channel, stream] : streams_) sum += stream.follows;
  return sum;
}

std::size_t LateStore::waiting() {
  const std::lock_guard lock(mutex_);
  return events_.size();
}

}  // namespace carillon
