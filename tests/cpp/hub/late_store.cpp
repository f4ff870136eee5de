#include "hub/late_store.hpp"

#include <gtest/gtest.h>

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
  if (is_failed) result.error = StoreError::unavailable;
  const auto& done = request.done;
  if (is_failed && fails(50)) return later([done, result] { done(result); });

  const std::string key = request.key.empty() ? "" : request.channel + ' ' + request.key;
  const auto known = key.empty() ? keys_.end() : keys_.find(key);
  if (known != keys_.end()) {
    result.position = known->second;
    result.is_duplicate = true;
    return later([done, result] { done(result); });
  }
  Stream& stream = touch(request.channel);
  result.position.epoch = stream.epoch;
  std::size_t members = 0;
  if (!request.is_ephemeral) {
    result.position.offset = request.entry->offset = stream.entries.size() + 1;
    stream.entries.push_back(request.entry);
    stream.modes.push_back(request.mode);
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
    if (touch(request.channel).epoch != epoch) return;  // lost with the rest
  }
  listener_->on_announced({request.channel, epoch, request.entry, request.mode, members});
}

void LateStore::open(std::string_view channel, std::function<void(const OpenResult&)> done) {
  const std::lock_guard lock(mutex_);
  later([this, channel = std::string(channel), done = std::move(done)] {
    OpenResult result;
    {
      const std::lock_guard event_lock(mutex_);
      if (fails(faults_.open_fails)) {
        result.error = StoreError::unavailable;
      } else {
        Stream& stream = touch(channel);
        ++stream.opens;
        result.top = {stream.epoch, stream.entries.size()};
        if (stream.roster) result.members = stream.roster->members();
      }
    }
    done(result);
  });
}

void LateStore::release(std::string_view channel) {
  const std::lock_guard lock(mutex_);
  Stream& stream = touch(std::string(channel));
  --stream.opens;
  EXPECT_GE(stream.opens, 0) << channel << " was released more often than opened";
}

void LateStore::read(std::string_view channel, Offset first, Offset last,
                     std::function<void(const ReadResult&)> done) {
  EXPECT_LE(first, last);
  const std::lock_guard lock(mutex_);
  ++reads_[std::string(channel) + ' ' + std::to_string(first) + ' ' + std::to_string(last)];
  later([this, channel = std::string(channel), first, last, done = std::move(done)] {
    ReadResult result;
    {
      const std::lock_guard event_lock(mutex_);
      const Stream& stream = touch(channel);
      result.epoch = stream.epoch;
      if (fails(faults_.read_fails)) {
        result.error = StoreError::unavailable;
      } else if (last > stream.entries.size() || fails(faults_.range_is_gone)) {
        result.error = StoreError::gone;
      } else {
        if (first <= stream.removed_to) result.error = StoreError::gone;
        for (Offset offset = std::max(first, stream.removed_to + 1); offset <= last; ++offset) {
          result.entries.push_back(stream.entries[offset - 1]);
        }
      }
    }
    done(result);
  });
}

void LateStore::remove_history(std::string_view channel) {
  const std::lock_guard lock(mutex_);
  Stream& stream = touch(std::string(channel));
  stream.removed_to = stream.entries.size();
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

void LateStore::enter(std::string_view channel, Offset first, Offset last, std::size_t members_max,
                      std::function<void(const EnterResult&)> done) {
  const std::lock_guard lock(mutex_);
  later([this, channel = std::string(channel), first, last, members_max, done = std::move(done)] {
    EnterResult result;
    {
      const std::lock_guard event_lock(mutex_);
      const auto roster = touch(channel).roster;
      if (fails(faults_.enter_fails)) {
        result.error = StoreError::unavailable;
      } else if (roster) {
        result.step = inboxes_.enter(*roster, first, last, members_max);
      } else {
        result.step.is_done = true;
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

void LateStore::renew(std::string_view channel) {
  const std::lock_guard lock(mutex_);
  Stream& stream = touch(std::string(channel));
  stream.epoch = Epoch::from_bits(random_.next());
  stream.entries.clear();
  stream.modes.clear();
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

std::map<std::string, std::uint64_t> LateStore::reads() {
  const std::lock_guard lock(mutex_);
  return reads_;
}

std::int64_t LateStore::open_channels() {
  const std::lock_guard lock(mutex_);
  std::int64_t sum = 0;
  for (const auto& [channel, stream] : streams_) sum += stream.opens;
  return sum;
}

std::size_t LateStore::waiting() {
  const std::lock_guard lock(mutex_);
  return events_.size();
}

}  // namespace carillon
