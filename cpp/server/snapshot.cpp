#include "server/snapshot.hpp"

#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace carillon {

namespace {

// ---- what is in a record, in the order of the bytes: fields are only ever added, and only at the end

template <typename Archive>
void fields(Archive& archive, Position& position) {
  archive(position.epoch, position.offset);
}
template <typename Archive>
void fields(Archive& archive, Publication& publication) {
  archive(publication.data, publication.content, publication.has_delta, publication.info_json,
          publication.tags, publication.key);
}
template <typename Archive>
void fields(Archive& archive, Account& account) {
  archive(account.published, account.delivered, account.conflated, account.dropped, account.returned,
          account.pending);
}
template <typename Archive>
void fields(Archive& archive, PresenceMember& member) {
  archive(member.client, member.user, member.conn_info_json, member.chan_info_json);
}
template <typename Archive>
void fields(Archive& archive, StoreState::Stream& stream) {
  archive(stream.channel, stream.top, stream.age_ms, stream.version, stream.version_epoch);
}
template <typename Archive>
void fields(Archive& archive, StoreState::Key& key) {
  archive(key.id, key.position, key.left_ms);
}
template <typename Archive>
void fields(Archive& archive, StoreState::Member& member) {
  archive(member.channel, member.member);
}
template <typename Archive>
void fields(Archive& archive, MemoryInboxesState::Roster& roster) {
  archive(roster.channel, roster.last_read_mode);
}
template <typename Archive>
void fields(Archive& archive, MemoryInboxesState::Membership& membership) {
  archive(membership.roster, membership.read, membership.until, membership.merged_to);
}
template <typename Archive>
void fields(Archive& archive, MemoryInboxesState::Run& run) {
  archive(run.roster, run.first, run.count);
}
template <typename Archive>
void fields(Archive& archive, MemoryInboxesState::User& user) {
  archive(user.name, user.memberships, user.runs, user.is_incomplete);
}
template <typename Archive>
void fields(Archive& archive, MemoryInboxesState& inboxes) {
  archive(inboxes.rosters, inboxes.users);
}
template <typename Archive>
void fields(Archive& archive, StoreState& store) {
  archive(store.streams, store.keys, store.presence, store.inboxes, store.url, store.has_descriptor);
}
template <typename Archive>
void fields(Archive& archive, LogState::Slot& slot) {
  archive(slot.entry, slot.seq, slot.offset_before, slot.age_ms);
}
template <typename Archive>
void fields(Archive& archive, LogState& log) {
  archive(log.slots, log.ephemeral_kept, log.ephemeral_kept_bytes, log.end_seq, log.top, log.history_from);
}
template <typename Archive>
void fields(Archive& archive, ChannelState& channel) {
  archive(channel.name, channel.epoch, channel.log, channel.needs_unfollow, channel.resets,
          channel.epoch_resets, channel.announced, channel.unbalanced, channel.ended,
          channel.has_chosen_fan_out, channel.fan_out, channel.fan_out_threshold, channel.fan_out_mode,
          channel.fan_out_switches);
}
template <typename Archive>
void fields(Archive& archive, HubState& hub) {
  archive(hub.channels, hub.published, hub.forgotten_unbalanced, hub.forgotten, hub.adaptive_permille);
}
template <typename Archive>
void fields(Archive& archive, CursorState& cursor) {
  archive(cursor.is_open, cursor.is_live, cursor.is_parked, cursor.seq, cursor.offset, cursor.resets,
          cursor.announced_at_start, cursor.delivered, cursor.dropped, cursor.under_way,
          cursor.has_fallen_behind, cursor.conflated);
}
template <typename Archive>
void fields(Archive& archive, Expiry& expiry) {
  archive(expiry.at_s, expiry.is_renewed_by_client);
}
template <typename Archive>
void fields(Archive& archive, ClientState::Subscription& subscription) {
  archive(subscription.channel, subscription.cursor, subscription.wants_notices, subscription.has_notices,
          subscription.has_presence, subscription.is_ending, subscription.is_by_server,
          subscription.info_json, subscription.expiry, subscription.has_delta, subscription.has_base,
          subscription.filter);
}
template <typename Archive>
void fields(Archive& archive, ClientState::Skipped& skipped) {
  archive(skipped.channel, skipped.position);
}
template <typename Archive>
void fields(Archive& archive, ClientRequest& request) {
  archive(request.headers, request.query, request.address);
}
template <typename Archive>
void fields(Archive& archive, ClientState::Queued& queued) {
  archive(queued.messages, queued.is_begun, queued.close_code);
}
template <typename Archive>
void fields(Archive& archive, WebSocketLinkState& link) {
  archive(link.has_own_pings, link.pong, link.unfinished, link.is_deflated);
}
template <typename Archive>
void fields(Archive& archive, StreamLinkState& link) {
  archive(link.framing, link.session);
}
template <typename Archive>
void fields(Archive& archive, UniWebSocketLinkState& link) {
  archive(link.socket, link.session);
}
template <typename Archive>
void fields(Archive& archive, UniSseLinkState& link) {
  archive(link.session);
}
template <typename Archive>
void fields(Archive& archive, UniHttpStreamLinkState& link) {
  archive(link.session);
}
template <typename Archive>
void fields(Archive& archive, ClientState& session) {
  archive(session.link, session.encoding, session.phase, session.is_ping_due, session.ping_left_ms,
          session.pong_left_ms, session.phase_left_ms, session.expiry, session.token_channels, session.user,
          session.client, session.conn_info_json, session.queued, session.subscriptions, session.skipped,
          session.claimed_user, session.request);
}
template <typename Archive>
void fields(Archive& archive, SseState::Subscription& subscription) {
  archive(subscription.channel, subscription.cursor, subscription.epoch, subscription.has_history,
          subscription.has_presence, subscription.has_notices, subscription.gets_notices);
}
template <typename Archive>
void fields(Archive& archive, SseState& session) {
  archive(session.user, session.info_json, session.expiry, session.client, session.comment_left_ms,
          session.is_ending, session.subscriptions);
}
template <typename Archive>
void fields(Archive& archive, PollState::Subscription& subscription) {
  archive(subscription.channel, subscription.cursor, subscription.epoch, subscription.ends_at,
          subscription.has_history, subscription.in_answer);
}
template <typename Archive>
void fields(Archive& archive, PollState& poll) {
  archive(poll.left_ms, poll.publications, poll.statuses, poll.taken, poll.has_news, poll.is_answered,
          poll.has_failed, poll.subscriptions);
}
template <typename Archive>
void fields(Archive& archive, HttpState& session) {
  archive(session.state, session.is_over_limit, session.is_keep_alive, session.is_head,
          session.is_reading_paused, session.is_answer_unsent, session.unfinished, session.ahead,
          session.cors, session.left_ms, session.requests, session.poll, session.user, session.is_http_1_0,
          session.is_head_known);
}
template <typename Archive>
void fields(Archive& archive, SessionState& session) {
  archive(session.kind, session.connected_age_ms, session.end_code, session.end_reason,
          session.is_end_goodbye);
}
template <typename Archive>
void fields(Archive& archive, ConnectionState& connection) {
  archive(connection.session, connection.unsent, connection.is_clogged, connection.wants_empty_notice,
          connection.is_reading_paused, connection.has_peer_closed, connection.is_close_wanted,
          connection.is_lingering, connection.stalled_ms, connection.linger_left_ms, connection.listener);
}
template <typename Archive>
void fields(Archive& archive, ListenerState& listener) {
  archive(listener.host, listener.port, listener.is_internal);
}
template <typename Archive>
void fields(Archive& archive, GatewayState& gateway) {
  archive(gateway.host, gateway.port, gateway.connections, gateway.further, gateway.node);
}
template <typename Archive>
void fields(Archive& archive, EndpointKeys& keys) {
  archive(keys.endpoint, keys.jwks);
}
template <typename Archive>
void fields(Archive& archive, Snapshot& snapshot) {
  archive(snapshot.process, snapshot.held_since_ms, snapshot.store, snapshot.hub, snapshot.gateway,
          snapshot.keys);
}

// ---- writing and reading

template <typename T>
concept Number = std::is_integral_v<T> || std::is_enum_v<T>;

/// Numbers take eight bytes, lowest first, texts and lists their size and then what is in them, a record its
/// size in bytes and then its fields.
class SnapshotWriter {
 public:
  SnapshotWriter(std::string& out, const SentEntries& sent) : out_(out), sent_(sent) {}

  template <typename... Fields>
  void operator()(const Fields&... values) {
    (write(values), ...);
  }

 private:
  template <Number T>
  void write(const T& value) {
    put(static_cast<std::uint64_t>(value));
  }
  void write(const std::string& text) { write_text(text); }
  void write(const Epoch& epoch) { write_text(epoch.text()); }
  template <typename T, std::size_t N>
  void write(const std::array<T, N>& values) {
    put(N);
    for (const T& value : values) write(value);
  }
  template <typename T>
  void write(const std::vector<T>& values) {
    put(values.size());
    for (const T& value : values) write(value);
  }
  template <typename T>
  void write(const std::optional<T>& value) {
    put(value.has_value() ? 1 : 0);
    if (value) write(*value);
  }
  template <typename... Kinds>
  void write(const std::variant<Kinds...>& value) {
    put(value.index());
    std::visit([this](const auto& kind) { write(kind); }, value);
  }
  void write(const Tag& tag) {
    write_text(tag.first);
    write_text(tag.second);
  }
  void write(const EntryRef& entry) {
    const std::size_t begin = begin_record();
    if (const auto number = sent_.number_of(*entry)) {
      put(*number + 1);
    } else {
      (*this)(std::uint64_t{0}, entry->kind, entry->wall_ms, entry->offset, entry->publication);
    }
    end_record(begin);
  }
  template <typename Record>
  void write(const Record& record) {
    const std::size_t begin = begin_record();
    fields(*this, const_cast<Record&>(record));  // one list of fields for reading and writing
    end_record(begin);
  }

  void put(std::uint64_t number) {
    std::array<char, 8> bytes;
    for (char& byte : bytes) {
      byte = static_cast<char>(number & 0xFFU);
      number >>= 8U;
    }
    out_.append(bytes.data(), bytes.size());
  }
  void write_text(std::string_view text) {
    put(text.size());
    out_.append(text);
  }
  std::size_t begin_record() {
    put(0);
    return out_.size();
  }
  void end_record(std::size_t begin) {
    std::uint64_t size = out_.size() - begin;
    for (std::size_t i = 8; i > 0; --i, size >>= 8U) out_[begin - i] = static_cast<char>(size & 0xFFU);
  }

  std::string& out_;
  const SentEntries& sent_;
};

class SnapshotReader {
 public:
  SnapshotReader(std::string_view bytes, const std::vector<EntryRef>& sent) : bytes_(bytes), sent_(sent) {}

  [[nodiscard]] bool is_at_end() const { return bytes_.empty(); }

  template <typename... Fields>
  void operator()(Fields&... values) {
    (read_field(values), ...);
  }

 private:
  /// Where a record ends before this field, its writer did not know it.
  template <typename T>
  void read_field(T& value) {
    if (!bytes_.empty()) read(value);
  }
  template <Number T>
  void read(T& value) {
    value = static_cast<T>(take());
  }
  void read(std::string& text) { text = take_text(); }
  void read(Epoch& epoch) { epoch = Epoch::parse(take_text()).value_or(Epoch{}); }
  template <typename T, std::size_t N>
  void read(std::array<T, N>& values) {
    const std::uint64_t count = take_count();
    for (std::uint64_t i = 0; i < count; ++i) {
      T value{};
      read(value);
      if (i < N) values[i] = value;
    }
  }
  template <typename T>
  void read(std::vector<T>& values) {
    const std::uint64_t count = take_count();
    values.reserve(count);
    for (std::uint64_t i = 0; i < count; ++i) read(values.emplace_back());
  }
  template <typename T>
  void read(std::optional<T>& value) {
    if (take() == 0) return value.reset();
    read(value.emplace());
  }
  template <typename... Kinds>
  void read(std::variant<Kinds...>& value) {
    const std::uint64_t index = take();
    if (index >= sizeof...(Kinds))
      throw SnapshotError("the snapshot holds a session or a transport of an unknown kind");
    std::uint64_t next = 0;
    (void)((next++ == index ? (read(value.template emplace<Kinds>()), true) : false) || ...);
  }
  void read(Tag& tag) {
    read(tag.first);
    read(tag.second);
  }
  void read(EntryRef& entry) {
    SnapshotReader record(take_text(), sent_);
    std::uint64_t number = 0;
    EntryKind kind{};
    Millis wall_ms = 0;
    Offset offset = 0;
    Publication publication;
    record(number, kind, wall_ms, offset, publication);
    if (number > 0) {
      if (number > sent_.size()) throw SnapshotError("the snapshot refers to an entry that was not sent");
      entry = sent_[number - 1];
      return;
    }
    auto made = std::make_shared<Entry>(kind, std::move(publication), wall_ms);
    made->offset = offset;
    entry = std::move(made);
  }
  template <typename Record>
  void read(Record& record) {
    SnapshotReader inside(take_text(), sent_);
    fields(inside, record);
  }

  std::uint64_t take() {
    if (bytes_.size() < 8) throw SnapshotError("the snapshot is cut short");
    std::uint64_t number = 0;
    for (std::size_t i = 8; i > 0; --i) number = number << 8U | static_cast<std::uint8_t>(bytes_[i - 1]);
    bytes_.remove_prefix(8);
    return number;
  }
  std::string_view take_text() {
    const std::uint64_t size = take();
    if (size > bytes_.size()) throw SnapshotError("the snapshot is cut short");
    const std::string_view text = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return text;
  }
  /// Of things that take eight bytes at least.
  std::uint64_t take_count() {
    const std::uint64_t count = take();
    if (count > bytes_.size() / 8) throw SnapshotError("the snapshot is cut short");
    return count;
  }

  std::string_view bytes_;
  const std::vector<EntryRef>& sent_;
};

}  // namespace

void encode_entry(std::string& out, const Entry& entry) {
  const SentEntries none;
  SnapshotWriter writer(out, none);
  writer(EntryRef(EntryRef(), &entry));
}

void decode_entries(std::string_view bytes, std::vector<EntryRef>& entries) {
  const std::vector<EntryRef> none;
  SnapshotReader reader(bytes, none);
  while (!reader.is_at_end()) reader(entries.emplace_back());
}

std::string encode_snapshot(const Snapshot& snapshot, const SentEntries& sent) {
  std::string bytes;
  SnapshotWriter writer(bytes, sent);
  writer(snapshot);
  return bytes;
}

Snapshot decode_snapshot(std::string_view bytes, const std::vector<EntryRef>& sent) {
  Snapshot snapshot;
  SnapshotReader reader(bytes, sent);
  reader(snapshot);
  return snapshot;
}

}  // namespace carillon
