#include "store/memory_store.hpp"

#include <algorithm>
#include <functional>
#include <limits>
#include <utility>

namespace carillon {

namespace {
std::string idempotency_id(std::string_view channel, std::string_view key) {
  std::string id(channel);
  id.push_back('\0');  // no channel name holds a NUL
  id.append(key);
  return id;
}
std::string_view channel_of_id(std::string_view id) { return id.substr(0, id.find('\0')); }
/// What a channel takes in the table, measured.
std::size_t stream_bytes(std::string_view name) { return 176 + (name.size() < 16 ? 0 : name.size() + 16); }
}  // namespace

MemoryStore::MemoryStore(const Clock& clock, RandomSource& random, const StoreLimits& limits)
    : clock_(clock),
      random_(random),
      limits_(limits),
      hash_(random),
      stripes_(hash_),
      inboxes_(limits.inbox_entries, limits.inbox_bytes_total, hash_) {}

MemoryStore::Streams::value_type& MemoryStore::touch(Stripe& stripe, const HashedName& channel) {
  auto found = stripe.streams.find(channel);
  if (found == stripe.streams.end()) {
    found = stripe.streams.try_emplace(std::pmr::string(channel.name, &stripe.pool)).first;
    found->second.epoch = Epoch::from_bits(random_.next());
    found->second.stripe = static_cast<std::uint8_t>(StoreStripes::index_of(channel));
  }
  touch(stripe, *found);
  return *found;
}

MemoryStore::Streams::value_type* MemoryStore::find(Stripe& stripe, const HashedName& channel) {
  const auto found = stripe.streams.find(channel);
  return found != stripe.streams.end() ? &*found : nullptr;
}

void MemoryStore::touch(Stripe& stripe, Streams::value_type& node) {
  node.second.touched_ms = clock_.now_ms();
  if (node.second.is_dormant) unlink(stripe, node);
  if (node.second.follows == 0) link_newest(stripe, node);
}

void MemoryStore::link_newest(Stripe& stripe, Streams::value_type& node) {
  node.second.is_dormant = true;
  node.second.newer = nullptr;
  node.second.older = stripe.newest;
  (stripe.newest != nullptr ? stripe.newest->second.newer : stripe.oldest) = &node;
  stripe.newest = &node;
  ++stripe.dormant;
  stripe.dormant_bytes += stream_bytes(node.first);
}

void MemoryStore::unlink(Stripe& stripe, Streams::value_type& node) {
  Stream& stream = node.second;
  (stream.older != nullptr ? stream.older->second.newer : stripe.oldest) = stream.newer;
  (stream.newer != nullptr ? stream.newer->second.older : stripe.newest) = stream.older;
  stream.is_dormant = false;
  --stripe.dormant;
  stripe.dormant_bytes -= stream_bytes(node.first);
}

void MemoryStore::forget_beyond(Stripe& stripe, std::size_t dormant_max) {
  while (stripe.dormant > dormant_max) {
    Streams::value_type& node = *stripe.oldest;
    unlink(stripe, node);
    stripe.streams.erase(stripe.streams.find(node.first));
  }
}

void MemoryStore::remember(Stripe& stripe, std::string key, Position position) {
  const auto [known, is_new] = stripe.keys.try_emplace(std::move(key));
  if (!is_new) stripe.keys_by_age.erase(known->second.age);  // it had expired
  known->second = {position, clock_.now_ms() + limits_.idempotency_window_ms,
                   stripe.keys_by_age.insert(stripe.keys_by_age.end(), known->first)};
  while (stripe.keys.size() > std::max<std::size_t>(1, limits_.idempotency_keys / kStripes))
    forget_oldest_key(stripe);
}

void MemoryStore::forget_oldest_key(Stripe& stripe) {
  const std::string_view oldest = stripe.keys_by_age.front();
  stripe.keys_by_age.pop_front();
  stripe.keys.erase(stripe.keys.find(oldest));
}

/// Is the channel another one than the append expects? Otherwise it has the append's version from now on.
bool MemoryStore::is_unexpected(Stream& stream, const AppendOptions& options) {
  if (options.expected_offset && *options.expected_offset != stream.top) return true;
  if (options.version.number == 0) return false;
  if (!stream.version) stream.version = std::make_unique<LastVersion>();
  LastVersion& last = *stream.version;
  if (last.epoch == options.version.epoch && options.version.number <= last.number) return true;
  last.number = options.version.number;
  last.epoch = options.version.epoch;
  return false;
}

void MemoryStore::append(std::string_view channel, std::shared_ptr<Entry> entry, const AppendOptions& options,
                         std::function<void(const AppendResult&)> done) {
  AppendResult result;
  {
    auto* known =
        options.handle == nullptr
            ? nullptr
            : static_cast<Streams::value_type*>(options.handle->in_store.load(std::memory_order_acquire));
    const HashedName name = known == nullptr ? hash_.of(channel) : HashedName{};
    Stripe& stripe = known == nullptr ? stripes_.of(name) : stripes_[known->second.stripe];
    const std::lock_guard lock(stripe.mutex);
    std::string key;
    if (is_closed_) {
      result.error = StoreError::closed;
    } else if (!options.idempotency_key.empty()) {
      key = idempotency_id(channel, options.idempotency_key);
      const auto used = stripe.keys.find(key);
      if (used != stripe.keys.end() && used->second.until_ms > clock_.now_ms()) {
        result.position = used->second.position;
        result.is_duplicate = true;
        if (known == nullptr) known = find(stripe, name);
        if (known != nullptr && known->second.roster) result.members = known->second.roster->members();
      }
    }
    if (!is_closed_ && !result.is_duplicate) {
      if (known == nullptr) {
        known = &touch(stripe, name);
      } else {
        touch(stripe, *known);
      }
      Stream& stream = known->second;
      result.position.epoch = stream.epoch;
      if (is_unexpected(stream, options)) [[unlikely]] {
        result.error = StoreError::conflict;
        result.position.offset = stream.top;
      } else {
        if (!options.is_ephemeral) {
          result.position.offset = entry->offset = ++stream.top;
          if (stream.roster) result.members = inboxes_.on_appended(stream.roster, stream.top, options.mode);
        }
        listener_->on_announced(
            {channel, stream.epoch, std::move(entry), options.mode, result.members, options.handle});
        if (!key.empty()) remember(stripe, std::move(key), result.position);
      }
      forget_beyond(stripe, std::max<std::size_t>(1, limits_.dormant_channels / kStripes));
    }
  }
  done(result);
}

void MemoryStore::follow(std::string_view channel, std::function<void(const TopResult&)> done) {
  TopResult result;
  {
    const HashedName name = hash_.of(channel);
    Stripe& stripe = stripes_.of(name);
    const std::lock_guard lock(stripe.mutex);
    if (is_closed_) {
      result.error = StoreError::closed;
    } else {
      Streams::value_type& node = touch(stripe, name);
      hold(stripe, node);
      result.top = {node.second.epoch, node.second.top};
      result.in_store = &node;
      if (node.second.roster) result.members = node.second.roster->members();
    }
  }
  done(result);
}

void MemoryStore::hold(Stripe& stripe, Streams::value_type& node) {
  if (node.second.is_dormant) unlink(stripe, node);
  ++node.second.follows;
}

void MemoryStore::unfollow(std::string_view channel) {
  const HashedName name = hash_.of(channel);
  Stripe& stripe = stripes_.of(name);
  const std::lock_guard lock(stripe.mutex);
  const auto found = stripe.streams.find(name);
  if (found != stripe.streams.end() && found->second.follows > 0) let_go(stripe, *found);
}

void MemoryStore::let_go(Stripe& stripe, Streams::value_type& node) {
  if (--node.second.follows > 0) return;
  node.second.touched_ms = clock_.now_ms();
  link_newest(stripe, node);
  forget_beyond(stripe, std::max<std::size_t>(1, limits_.dormant_channels / kStripes));
}

void MemoryStore::top(std::string_view channel, std::function<void(const TopResult&)> done) {
  TopResult result;
  {
    const HashedName name = hash_.of(channel);
    Stripe& stripe = stripes_.of(name);
    const std::lock_guard lock(stripe.mutex);
    if (is_closed_) {
      result.error = StoreError::closed;
    } else {
      const Stream& stream = touch(stripe, name).second;
      result.top = {stream.epoch, stream.top};
      if (stream.roster) result.members = stream.roster->members();
      forget_beyond(stripe, std::max<std::size_t>(1, limits_.dormant_channels / kStripes));
    }
  }
  done(result);
}

void MemoryStore::read(std::string_view /*channel*/, const ReadRange& /*range*/,
                       std::function<void(const Page&)> done) {
  Page page;
  page.error = StoreError::not_held;
  done(page);
}

void MemoryStore::remove_history(std::string_view channel, std::function<void(StoreError)> done) {
  StoreError error = StoreError::none;
  {
    const Stripe& stripe = stripes_.of(hash_.of(channel));
    const std::lock_guard lock(stripe.mutex);
    if (is_closed_) error = StoreError::closed;
  }
  done(error);
}

// ---- presence

void MemoryStore::add_presence(std::string_view channel, const PresenceMember& member) {
  const HashedName name = hash_.of(channel);
  Stripe& stripe = stripes_.of(name);
  const std::lock_guard lock(stripe.mutex);
  stripe.presence.add(name, member);
}

void MemoryStore::remove_presence(std::string_view channel, std::string_view client) {
  const HashedName name = hash_.of(channel);
  Stripe& stripe = stripes_.of(name);
  const std::lock_guard lock(stripe.mutex);
  stripe.presence.remove(name, client);
}

void MemoryStore::presence(std::string_view channel, const PresencePage& page,
                           std::function<void(const PresenceResult&)> done) {
  PresenceResult result;
  {
    const HashedName name = hash_.of(channel);
    Stripe& stripe = stripes_.of(name);
    const std::lock_guard lock(stripe.mutex);
    result = stripe.presence.page(name, page);
  }
  done(result);
}

void MemoryStore::presence_counts(std::string_view channel, std::function<void(const PresenceCounts&)> done) {
  PresenceCounts counts;
  {
    const HashedName name = hash_.of(channel);
    Stripe& stripe = stripes_.of(name);
    const std::lock_guard lock(stripe.mutex);
    counts = stripe.presence.counts(name);
  }
  done(counts);
}

// ---- members and inboxes

std::shared_ptr<MemoryInboxes::Roster> MemoryStore::roster_of(std::string_view channel) {
  const HashedName name = hash_.of(channel);
  Stripe& stripe = stripes_.of(name);
  const std::lock_guard lock(stripe.mutex);
  const auto found = stripe.streams.find(name);
  return found == stripe.streams.end() ? nullptr : found->second.roster;
}

const std::shared_ptr<MemoryInboxes::Roster>& MemoryStore::make_roster(Stripe& stripe,
                                                                       const HashedName& channel) {
  Streams::value_type& node = touch(stripe, channel);
  if (!node.second.roster) {
    node.second.roster = inboxes_.make_roster(std::string(node.first), {node.second.epoch, node.second.top});
    stripe.with_roster.push_back(&node);
    hold(stripe, node);
  }
  return node.second.roster;
}

void MemoryStore::add_members(std::string_view channel, std::span<const std::string> users,
                              std::function<void(const MembersResult&)> done) {
  MembersResult result;
  if (const auto roster = roster_of(channel)) result.members = roster->members();  // also of an empty list
  const HashedName name = hash_.of(channel);
  Stripe& stripe = stripes_.of(name);
  for (; !users.empty(); users = users.subspan(std::min(users.size(), kMembersPerLock))) {
    const std::lock_guard lock(stripe.mutex);
    if (is_closed_) {
      result.error = StoreError::closed;
      break;
    }
    const std::shared_ptr<MemoryInboxes::Roster>& roster = make_roster(stripe, name);
    const bool is_full = !inboxes_.add(roster, users.first(std::min(users.size(), kMembersPerLock)));
    result.members = roster->members();
    if (!is_full) continue;
    result.error = StoreError::full;
    break;
  }
  done(result);
}

void MemoryStore::remove_members(std::string_view channel, std::span<const std::string> users,
                                 std::function<void(const MembersResult&)> done) {
  MembersResult result;
  if (const auto roster = roster_of(channel)) result.members = roster->members();  // also of an empty list
  const HashedName name = hash_.of(channel);
  Stripe& stripe = stripes_.of(name);
  for (; !users.empty(); users = users.subspan(std::min(users.size(), kMembersPerLock))) {
    const std::lock_guard lock(stripe.mutex);
    const auto found = stripe.streams.find(name);
    if (is_closed_) result.error = StoreError::closed;
    if (is_closed_ || found == stripe.streams.end() || !found->second.roster) break;
    inboxes_.remove(*found->second.roster, users.first(std::min(users.size(), kMembersPerLock)));
    result.members = found->second.roster->members();
  }
  done(result);
}

void MemoryStore::members(std::string_view channel, std::string_view after, std::size_t limit,
                          std::function<void(const MembersResult&)> done) {
  MembersResult result;
  if (const auto roster = roster_of(channel)) {
    result.members = roster->members();
    result.users = MemoryInboxes::members(*roster, after, limit);
  }
  done(result);
}

void MemoryStore::enter(std::string_view channel, std::size_t members_max,
                        std::function<void(const EnterResult&)> done) {
  EnterResult result;
  if (const auto roster = roster_of(channel)) {
    result.step = inboxes_.enter(*roster, members_max);
  } else {
    result.step = {.entered = 0, .entered_to = std::numeric_limits<Offset>::max(), .is_done = true};
  }
  done(result);
}

void MemoryStore::unread(std::string_view user, std::string_view channel,
                         std::function<void(const UnreadResult&)> done) {
  UnreadResult result;
  if (const auto roster = roster_of(channel)) result.publications = inboxes_.unread(user, *roster);
  done(result);
}

void MemoryStore::inbox(std::string_view user, std::size_t limit,
                        std::function<void(const InboxResult&)> done) {
  done({StoreError::none, inboxes_.inbox(user, limit)});
}

void MemoryStore::mark_read(std::string_view user, std::string_view channel, Offset offset,
                            std::function<void(StoreError)> done) {
  StoreError error = StoreError::none;
  {
    const HashedName name = hash_.of(channel);
    Stripe& stripe = stripes_.of(name);
    const std::lock_guard lock(stripe.mutex);
    const auto found = stripe.streams.find(name);
    if (is_closed_) {
      error = StoreError::closed;
    } else if (offset > (found == stripe.streams.end() ? 0 : found->second.top)) {
      error = StoreError::conflict;
    } else if (found != stripe.streams.end() && found->second.roster) {
      inboxes_.mark_read(user, *found->second.roster, offset);
    }
  }
  done(error);
}

void MemoryStore::keep_house() {
  const Millis now = clock_.now_ms();
  for (Stripe& stripe : stripes_) {
    const std::lock_guard lock(stripe.mutex);
    std::erase_if(stripe.with_roster, [&](Streams::value_type* node) {
      // Who adds a member holds the roster from before it has one.
      if (!node->second.roster->is_unused() || node->second.roster.use_count() > 1) return false;
      node->second.roster.reset();
      let_go(stripe, *node);
      return true;
    });
    while (stripe.oldest != nullptr &&
           now - stripe.oldest->second.touched_ms >= limits_.channel_lifetime_ms) {
      forget_beyond(stripe, stripe.dormant - 1);
    }
    while (!stripe.keys_by_age.empty()) {
      if (stripe.keys.find(stripe.keys_by_age.front())->second.until_ms > now) break;
      forget_oldest_key(stripe);
    }
  }
}

void MemoryStore::open() {
  const Stillness still = hold_still();
  is_closed_ = false;
}

void MemoryStore::restore(const StoreState& state, Descriptor /*descriptor*/) {
  if (state.url != "memory")
    throw StoreRefused("store.url: the running server has its logs in " + state.url +
                       ", and this one would have them in memory; give the same store, or let the clients "
                       "leave (SIGTERM) and start anew");
  restore(state);
}

std::unique_ptr<HeldStore> MemoryStore::hold_still(Time /*until*/) {
  class Held final : public HeldStore {
   public:
    explicit Held(MemoryStore& store) : store_(store), still_(store.hold_still()) {}
    [[nodiscard]] StoreState save() const override { return store_.save(); }
    void give_away() noexcept override { store_.close(still_); }

   private:
    MemoryStore& store_;
    const Stillness still_;
  };
  return std::make_unique<Held>(*this);
}

StoreFigures MemoryStore::figures() const {
  return {.channels_known = channels_known(),
          .dormant_bytes = dormant_bytes(),
          .inbox_bytes = inbox_bytes(),
          .inbox_users = inbox_users()};
}

void MemoryStore::close() {
  const Stillness still = hold_still();
  close(still);
}

StoreState MemoryStore::save() const {
  const Millis now = clock_.now_ms();
  StoreState state;
  const auto save_stream = [&](const Streams::value_type& node) {
    const auto& [name, stream] = node;
    StoreState::Stream& saved = state.streams.emplace_back();
    saved = {std::string(name), {stream.epoch, stream.top}, now - stream.touched_ms};
    if (!stream.version) return;
    saved.version = stream.version->number;
    saved.version_epoch = stream.version->epoch;
  };
  for (const Stripe& stripe : stripes_) {
    for (const auto& node : stripe.streams) {
      if (!node.second.is_dormant) save_stream(node);
    }
    for (const auto* node = stripe.oldest; node != nullptr; node = node->second.newer) save_stream(*node);
    for (const std::string_view id : stripe.keys_by_age) {
      const Remembered& key = stripe.keys.find(id)->second;
      state.keys.push_back({std::string(id), key.position, key.until_ms - now});
    }
    stripe.presence.visit([&](const std::string& channel, const PresenceMember& member) {
      state.presence.push_back({channel, member});
    });
  }
  state.inboxes = inboxes_.save();
  return state;
}

void MemoryStore::restore(const StoreState& state) {
  const Millis now = clock_.now_ms();
  for (const StoreState::Stream& saved : state.streams) {
    const HashedName name = hash_.of(saved.channel);
    Stripe& stripe = stripes_.of(name);
    const std::lock_guard lock(stripe.mutex);
    const auto [node, is_new] = stripe.streams.try_emplace(std::pmr::string(saved.channel, &stripe.pool));
    if (!is_new) continue;
    node->second.epoch = saved.top.epoch;
    node->second.top = saved.top.offset;
    node->second.stripe = static_cast<std::uint8_t>(StoreStripes::index_of(name));
    node->second.touched_ms = now - saved.age_ms;
    if (saved.version != 0)
      node->second.version = std::make_unique<LastVersion>(LastVersion{saved.version, saved.version_epoch});
    link_newest(stripe, *node);
  }
  for (const StoreState::Key& saved : state.keys) {
    const HashedName name = hash_.of(channel_of_id(saved.id));
    Stripe& stripe = stripes_.of(name);
    const std::lock_guard lock(stripe.mutex);
    const auto [known, is_new] = stripe.keys.try_emplace(saved.id);
    if (!is_new) continue;
    known->second = {saved.position, now + saved.left_ms,
                     stripe.keys_by_age.insert(stripe.keys_by_age.end(), known->first)};
  }
  for (const StoreState::Member& saved : state.presence) add_presence(saved.channel, saved.member);
  inboxes_.restore(state.inboxes, [this](const std::string& channel) {
    const HashedName name = hash_.of(channel);
    Stripe& stripe = stripes_.of(name);
    const std::lock_guard lock(stripe.mutex);
    return make_roster(stripe, name);
  });
}

std::size_t MemoryStore::dormant_bytes() const {
  std::size_t bytes = 0;
  for (const Stripe& stripe : stripes_) {
    const std::lock_guard lock(stripe.mutex);
    bytes += stripe.dormant_bytes;
  }
  return bytes;
}

std::size_t MemoryStore::channels_known() const {
  std::size_t known = 0;
  for (const Stripe& stripe : stripes_) {
    const std::lock_guard lock(stripe.mutex);
    known += stripe.streams.size();
  }
  return known;
}

}  // namespace carillon
