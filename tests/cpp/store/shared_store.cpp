#include "store/shared_store.hpp"

#include <algorithm>
#include <utility>

#include "store/entry_codec.hpp"

namespace carillon {

SharedLog::SharedLog(const Clock& clock, RandomSource& random, const StoreLimits& limits)
    : clock_(clock), memory_(clock, random, limits) {
  memory_.set_listener(this);
  memory_.open();
}

SharedLog::Stream& SharedLog::use(const std::string& channel) {
  Stream& stream = streams_[channel];
  if (!std::exchange(stream.is_followed, true)) memory_.follow(channel, [](const TopResult&) {});
  return stream;
}

// Under the memory store's lock, so nobody is told yet.
void SharedLog::on_announced(const Announcement& announcement) { announced_ = announcement; }

void SharedLog::announce(std::string_view channel) {
  const Announcement announcement = *std::exchange(announced_, std::nullopt);
  std::string bytes;
  encode_entry(*announcement.entry, bytes);
  const Offset offset = announcement.entry->offset;
  if (announcement.entry->is_stored()) {
    use(std::string(channel))
        .entries.push_back({offset, bytes, announcement.entry->cost_bytes(), announcement.entry->wall_ms});
  }
  for (SharedStore* store : stores_) {
    if (store->listener_ == nullptr || store->is_closed_ || !store->follows_.contains(channel)) continue;
    Announcement copy = announcement;  // each gateway has an entry of its own
    copy.channel = channel;
    copy.entry = decode_entry(bytes, offset);
    copy.handle = nullptr;
    store->listener_->on_announced(copy);
  }
}

void SharedLog::trim(Stream& stream, const Retention& retention) const {
  stream.ttl_ms = retention.ttl_ms;
  std::size_t bytes = 0;
  for (const Kept& each : stream.entries) bytes += each.cost;
  while (!stream.entries.empty() && ((retention.entries > 0 && stream.entries.size() > retention.entries) ||
                                     (retention.bytes > 0 && bytes > retention.bytes))) {
    bytes -= stream.entries.front().cost;
    stream.entries.pop_front();
  }
}

SharedStore::SharedStore(std::shared_ptr<SharedLog> log)
    : ForwardingStore(log->memory_), log_(std::move(log)) {
  const std::lock_guard lock(log_->mutex_);
  log_->stores_.push_back(this);
}

SharedStore::~SharedStore() {
  const std::lock_guard lock(log_->mutex_);
  std::erase(log_->stores_, this);
}

void SharedStore::append(std::string_view channel, std::shared_ptr<Entry> entry, const AppendOptions& options,
                         std::function<void(const AppendResult&)> done) {
  if (is_closed_) return done({.error = StoreError::closed, .position = {}});
  const std::lock_guard lock(log_->mutex_);
  SharedLog::Stream& stream = log_->use(std::string(channel));
  AppendResult result;
  log_->memory_.append(channel, std::move(entry), options,
                       [&](const AppendResult& answer) { result = answer; });
  if (log_->announced_) log_->announce(channel);
  if (result.error == StoreError::none && !options.is_ephemeral) log_->trim(stream, options.retention);
  done(result);
}

void SharedStore::follow(std::string_view channel, std::function<void(const TopResult&)> done) {
  const std::lock_guard lock(log_->mutex_);
  if (!is_closed_) ++follows_[std::string(channel)];
  top(channel, std::move(done));
}

void SharedStore::unfollow(std::string_view channel) {
  const std::lock_guard lock(log_->mutex_);
  const auto found = follows_.find(channel);
  if (found != follows_.end() && --found->second == 0) follows_.erase(found);
}

void SharedStore::top(std::string_view channel, std::function<void(const TopResult&)> done) {
  const std::lock_guard lock(log_->mutex_);
  if (is_closed_) return done({.error = StoreError::closed, .top = {}});
  log_->memory_.top(channel, [&](TopResult result) {
    result.in_store = nullptr;
    done(result);
  });
}

void SharedStore::read(std::string_view channel, const ReadRange& range,
                       std::function<void(const Page&)> done) {
  Page page;
  {
    const std::lock_guard lock(log_->mutex_);
    page = page_of(channel, range);
  }
  done(page);
}

Page SharedStore::page_of(std::string_view channel, const ReadRange& range) {
  Page page;
  page.error = is_closed_ ? StoreError::closed : StoreError::not_held;
  const auto found = log_->streams_.find(channel);
  if (is_closed_ || found == log_->streams_.end()) return page;
  page.error = StoreError::none;
  log_->memory_.top(channel, [&](const TopResult& result) { page.top = result.top; });
  const SharedLog::Stream& stream = found->second;
  const Millis now = log_->clock_.wall_ms();
  const Offset first = std::max<Offset>(range.first, 1);
  const Offset last = std::min(range.last, page.top.offset);
  std::vector<const SharedLog::Kept*> held;
  for (const SharedLog::Kept& each : stream.entries) {
    const bool is_old = stream.ttl_ms > 0 && each.wall_ms + stream.ttl_ms <= now;
    if (!is_old && each.offset >= first && each.offset <= last) held.push_back(&each);
  }
  if (first <= last && (held.empty() || held.front()->offset > first)) page.error = StoreError::not_held;
  if (range.is_backward) std::reverse(held.begin(), held.end());
  std::size_t bytes = 0;
  for (const SharedLog::Kept* each : held) {
    bytes += each->cost;
    page.has_more =
        page.entries.size() >= range.entries_max || (!page.entries.empty() && bytes > range.bytes_max);
    if (page.has_more) break;
    page.entries.push_back(decode_entry(each->bytes, each->offset));
  }
  if (range.is_backward) std::reverse(page.entries.begin(), page.entries.end());
  if (range.is_backward && page.has_more) page.error = StoreError::none;  // it does not come to the start
  return page;
}

void SharedStore::remove_history(std::string_view channel, std::function<void(StoreError)> done) {
  const std::lock_guard lock(log_->mutex_);
  if (is_closed_) return done(StoreError::closed);
  const auto found = log_->streams_.find(channel);
  if (found != log_->streams_.end()) found->second.entries.clear();
  Position top;
  log_->memory_.top(channel, [&](const TopResult& result) { top = result.top; });
  for (SharedStore* store : log_->stores_) {
    if (store->listener_ != nullptr && !store->is_closed_ && store->follows_.contains(channel))
      store->listener_->on_history_removed(channel, top.epoch, top.offset);
  }
  done(StoreError::none);
}

void SharedStore::add_members(std::string_view channel, std::span<const std::string> users,
                              std::function<void(const MembersResult&)> done) {
  if (is_closed_) return done({.error = StoreError::closed, .members = 0, .users = {}});
  log_->memory_.add_members(channel, users, std::move(done));
}

void SharedStore::remove_members(std::string_view channel, std::span<const std::string> users,
                                 std::function<void(const MembersResult&)> done) {
  if (is_closed_) return done({.error = StoreError::closed, .members = 0, .users = {}});
  log_->memory_.remove_members(channel, users, std::move(done));
}

void SharedStore::mark_read(std::string_view user, std::string_view channel, Offset offset,
                            std::function<void(StoreError)> done) {
  if (is_closed_) return done(StoreError::closed);
  log_->memory_.mark_read(user, channel, offset, std::move(done));
}

}  // namespace carillon
