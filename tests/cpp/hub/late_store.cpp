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
  later([this, channel = std::string(channel), entry = std::move(entry), is_ephemeral = options.is_ephemeral,
         key = std::string(options.idempotency_key),
         done = std::move(done)] { apply(channel, entry, is_ephemeral, key, done); });
}

void LateStore::apply(const std::string& channel, const std::shared_ptr<Entry>& entry, bool is_ephemeral,
                      const std::string& key, const std::function<void(const AppendResult&)>& done) {
  const std::lock_guard lock(mutex_);
  AppendResult result;
  const bool is_failed = fails(faults_.append_fails);
  if (is_failed) result.error = StoreError::unavailable;
  if (is_failed && fails(50)) return later([done, result] { done(result); });

  const auto known = key.empty() ? keys_.end() : keys_.find(channel + ' ' + key);
  if (known != keys_.end()) {
    result.position = known->second;
    result.is_duplicate = true;
    return later([done, result] { done(result); });
  }
  Stream& stream = touch(channel);
  result.position.epoch = stream.epoch;
  if (!is_ephemeral) {
    result.position.offset = entry->offset = stream.entries.size() + 1;
    stream.entries.push_back(entry);
  }
  if (!key.empty()) keys_[channel + ' ' + key] = result.position;
  if (is_ephemeral || !fails(faults_.announcement_is_lost)) {
    later([this, channel, epoch = stream.epoch, entry] { announce(channel, epoch, entry); });
  }
  if (!is_ephemeral && fails(faults_.announcement_repeats)) {
    later([this, channel, epoch = stream.epoch, entry] { announce(channel, epoch, entry); });
  }
  later([done, result] { done(result); });
}

void LateStore::announce(const std::string& channel, const Epoch& epoch, const EntryRef& entry) {
  {
    const std::lock_guard lock(mutex_);
    if (touch(channel).epoch != epoch) return;  // lost with the rest
  }
  listener_->on_announced({channel, epoch, entry});
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
        ++stream.holds;
        result.top = {stream.epoch, stream.entries.size()};
      }
    }
    done(result);
  });
}

void LateStore::release(std::string_view channel) {
  const std::lock_guard lock(mutex_);
  Stream& stream = touch(std::string(channel));
  --stream.holds;
  EXPECT_GE(stream.holds, 0) << channel << " was released more often than opened";
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
      } else if (last > stream.entries.size() || fails(faults_.read_is_not_held)) {
        result.error = StoreError::not_held;
      } else {
        if (first <= stream.removed_to) result.error = StoreError::not_held;
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

std::int64_t LateStore::holds() {
  const std::lock_guard lock(mutex_);
  std::int64_t sum = 0;
  for (const auto& [channel, stream] : streams_) sum += stream.holds;
  return sum;
}

std::size_t LateStore::waiting() {
  const std::lock_guard lock(mutex_);
  return events_.size();
}

}  // namespace carillon
