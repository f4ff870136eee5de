#include "protocol/centrifuge_protobuf.hpp"

#include <array>
#include <limits>
#include <optional>

#include "protocol/json_span.hpp"
#include "protocol/protobuf.hpp"
#include "protocol/utf8.hpp"

namespace carillon {
namespace {

struct ProtobufRequest {
  std::uint32_t number;
  CommandKind kind;
};

// In the order in which they win when a command has several (protocol.md section 1).
constexpr std::array<ProtobufRequest, 12> kProtobufRequests{{
    {4, CommandKind::connect},
    {5, CommandKind::subscribe},
    {6, CommandKind::unsubscribe},
    {7, CommandKind::publish},
    {8, CommandKind::presence},
    {9, CommandKind::presence_stats},
    {10, CommandKind::history},
    {13, CommandKind::rpc},
    {12, CommandKind::send},
    {14, CommandKind::refresh},
    {15, CommandKind::sub_refresh},
    {11, CommandKind::ping},
}};

std::size_t protobuf_rank(std::uint32_t number) {
  std::size_t rank = 0;
  while (rank < kProtobufRequests.size() && kProtobufRequests[rank].number != number) ++rank;
  return rank;
}

/// One field of a request, and where it goes: exactly one of the members is set.
struct Target {
  std::uint32_t number;
  std::string_view Command::* text = nullptr;  // valid UTF-8
  std::string_view Command::* bytes = nullptr;
  bool Command::* flag = nullptr;
  std::uint64_t Command::* unsigned_number = nullptr;
  std::int64_t Command::* signed_number = nullptr;
};

constexpr Target kConnect[]{{.number = 1, .text = &Command::token},
                            {.number = 2, .bytes = &Command::data},
                            {.number = 7, .unsigned_number = &Command::flag}};
constexpr Target kSubscribe[]{
    {.number = 1, .text = &Command::channel},           {.number = 2, .text = &Command::token},
    {.number = 3, .flag = &Command::is_recover},        {.number = 6, .text = &Command::epoch},
    {.number = 7, .unsigned_number = &Command::offset}, {.number = 8, .bytes = &Command::data},
    {.number = 9, .flag = &Command::is_positioned},     {.number = 10, .flag = &Command::is_recoverable},
    {.number = 11, .flag = &Command::is_join_leave},    {.number = 12, .text = &Command::delta},
    {.number = 14, .unsigned_number = &Command::flag},  {.number = 15, .signed_number = &Command::type},
    {.number = 1'001, .text = &Command::since}};
constexpr Target kPublish[]{{.number = 1, .text = &Command::channel},
                            {.number = 2, .bytes = &Command::data},
                            {.number = 3, .signed_number = &Command::type}};
constexpr Target kPresence[]{{.number = 1, .text = &Command::channel},
                             {.number = 1'001, .text = &Command::after}};
constexpr Target kChannel[]{{.number = 1, .text = &Command::channel}};
constexpr Target kHistory[]{{.number = 1, .text = &Command::channel},
                            {.number = 7, .signed_number = &Command::limit},
                            {.number = 9, .flag = &Command::is_reverse}};
constexpr Target kRpc[]{{.number = 1, .bytes = &Command::data}, {.number = 2, .text = &Command::method}};
constexpr Target kSend[]{{.number = 1, .bytes = &Command::data}};
constexpr Target kRefresh[]{{.number = 1, .text = &Command::token}};
constexpr Target kSubRefresh[]{{.number = 1, .text = &Command::channel},
                               {.number = 2, .text = &Command::token},
                               {.number = 3, .signed_number = &Command::type}};

std::span<const Target> targets_of(CommandKind kind) {
  switch (kind) {
    case CommandKind::connect:
      return kConnect;
    case CommandKind::subscribe:
      return kSubscribe;
    case CommandKind::publish:
      return kPublish;
    case CommandKind::presence:
      return kPresence;
    case CommandKind::unsubscribe:
    case CommandKind::presence_stats:
      return kChannel;
    case CommandKind::history:
      return kHistory;
    case CommandKind::rpc:
      return kRpc;
    case CommandKind::send:
      return kSend;
    case CommandKind::refresh:
      return kRefresh;
    case CommandKind::sub_refresh:
      return kSubRefresh;
    case CommandKind::ping:
    case CommandKind::pong:
      break;
  }
  return {};
}

bool assign(const ProtobufField& field, const Target& target, Command& command) {
  const bool is_text = target.text != nullptr;
  if (field.is_bytes != (is_text || target.bytes != nullptr)) return false;
  if (is_text) {
    command.*target.text = field.bytes;
    return is_utf8(field.bytes);
  }
  if (target.bytes != nullptr) command.*target.bytes = field.bytes;
  if (target.flag != nullptr) command.*target.flag = field.boolean();
  if (target.unsigned_number != nullptr) command.*target.unsigned_number = field.value;
  if (target.signed_number != nullptr) command.*target.signed_number = field.int64();
  return true;
}

bool read_position(std::string_view message, Command& command) {
  command.has_since = true;
  ProtobufReader reader(message);
  ProtobufField field;
  while (reader.next(field)) {
    if (field.number == 1) {
      if (field.is_bytes) return false;
      command.offset = field.value;
    } else if (field.number == 2) {
      if (!field.is_bytes || !is_utf8(field.bytes)) return false;
      command.epoch = field.bytes;
    }
  }
  return !reader.is_malformed();
}

/// Fields without a simple target.
bool assign_other(const ProtobufField& field, Command& command) {
  if (command.kind == CommandKind::subscribe && field.number == 13) {
    command.has_tags_filter = true;
    command.filter = field.bytes;
    return field.is_bytes;
  }
  if (command.kind == CommandKind::subscribe && field.number == 1'002) {
    command.last = field.value;
    return !field.is_bytes;
  }
  if (command.kind == CommandKind::history && field.number == 8)
    return field.is_bytes && read_position(field.bytes, command);
  return true;
}

bool read_wish(std::string_view message, SubscriptionWish& wish) {
  ProtobufReader reader(message);
  ProtobufField field;
  while (reader.next(field)) {
    if (field.number == 3) {
      if (field.is_bytes) return false;
      wish.is_recover = field.boolean();
    } else if (field.number == 6) {
      if (!field.is_bytes || !is_utf8(field.bytes)) return false;
      wish.epoch = field.bytes;
    } else if (field.number == 7) {
      if (field.is_bytes) return false;
      wish.offset = field.value;
    } else if (field.number == 12) {
      if (!field.is_bytes || !is_delta_wish(field.bytes)) return false;
      wish.wants_delta = !field.bytes.empty();
    }
  }
  return !reader.is_malformed();
}

/// An entry of the map `subs`.
bool read_wish_entry(std::string_view message, SubscriptionWish& wish) {
  ProtobufReader reader(message);
  ProtobufField field;
  while (reader.next(field)) {
    if (field.number == 1) {
      if (!field.is_bytes || !is_utf8(field.bytes)) return false;
      wish.channel = field.bytes;
    } else if (field.number == 2) {
      if (!field.is_bytes || !read_wish(field.bytes, wish)) return false;
    }
  }
  return !reader.is_malformed();
}

bool read_request(std::string_view message, Command& command) {
  if (command.kind == CommandKind::connect) command.wishes = message;  // `subs` is spread over it
  const std::span<const Target> targets = targets_of(command.kind);
  ProtobufReader reader(message);
  ProtobufField field;
  while (reader.next(field)) {
    const Target* target = targets.data();
    while (target != targets.data() + targets.size() && target->number != field.number) ++target;
    const bool is_simple = target != targets.data() + targets.size();
    if (!(is_simple ? assign(field, *target, command) : assign_other(field, command))) return false;
  }
  if (!command.data.empty()) {
    const JsonCheck check = check_json(command.data);
    command.is_binary = check == JsonCheck::malformed;
    command.is_too_deep = check == JsonCheck::too_deep;
  }
  return !reader.is_malformed();
}

bool read_command(std::string_view message, Command& command) {
  std::size_t winner = kProtobufRequests.size();
  std::string_view request;
  std::uint64_t id = 0;
  bool has_send = false;
  ProtobufReader reader(message);
  ProtobufField field;
  while (reader.next(field)) {
    const std::size_t rank = protobuf_rank(field.number);
    if (field.number == 1) {
      if (field.is_bytes || field.value > std::numeric_limits<std::uint32_t>::max()) return false;
      id = field.value;
    } else if (rank < kProtobufRequests.size()) {
      if (!field.is_bytes) return false;
      has_send |= kProtobufRequests[rank].kind == CommandKind::send;
      if (rank > winner) continue;
      winner = rank;
      request = field.bytes;
    }
  }
  if (reader.is_malformed()) return false;
  if (id == 0 && !has_send) return true;  // a pong
  if (winner == kProtobufRequests.size()) return false;
  command.id = static_cast<std::uint32_t>(id);
  command.kind = kProtobufRequests[winner].kind;
  if (id == 0 && command.kind != CommandKind::send) return false;
  return read_request(request, command);
}

/// A reply behind its length, with one result in it.
class ProtobufReply {
 public:
  ProtobufReply(std::string& out, std::uint32_t id, std::uint32_t field)
      : out_(out), reply_(ProtobufWriter::open_delimited(out)), writer_(out) {
    writer_.number(1, id);
    result_ = writer_.open(field);
  }
  ProtobufWriter* operator->() { return &writer_; }
  ProtobufWriter& writer() { return writer_; }
  void close() {
    writer_.close(result_);
    ProtobufWriter::close_delimited(out_, reply_);
  }

 private:
  std::string& out_;
  std::size_t reply_;
  std::size_t result_ = 0;
  ProtobufWriter writer_;
};

/// A push of a channel, with one event in it.
class ProtobufPush {
 public:
  ProtobufPush(std::string& out, std::string_view channel, std::uint32_t field) : reply_(out, 0, 4) {
    reply_->bytes(2, channel);
    event_ = reply_->open(field);
  }
  ProtobufWriter* operator->() { return &reply_.writer(); }
  ProtobufWriter& writer() { return reply_.writer(); }
  void close() {
    reply_->close(event_);
    reply_.close();
  }

 private:
  ProtobufReply reply_;
  std::size_t event_ = 0;
};

void write_client_info(ProtobufWriter& writer, const ClientInfoView& info) {
  writer.bytes(1, info.user);
  writer.bytes(2, info.client);
  writer.bytes(3, info.conn_info);
  writer.bytes(4, info.chan_info);
}

/// Of the text that entries have, see append_client_info().
void write_info(ProtobufWriter& writer, std::uint32_t field, std::string_view info_json) {
  std::string scratch;
  const std::optional<ClientInfoView> info = read_client_info(info_json, scratch);
  if (!info) return;
  const std::size_t begin = writer.open(field);
  write_client_info(writer, *info);
  writer.close(begin);
}

void write_publication(ProtobufWriter& writer, const PublicationView& publication) {
  writer.bytes(4, publication.data);
  if (!publication.info_json.empty()) write_info(writer, 5, publication.info_json);
  writer.number(6, publication.offset);
  for (const Tag& tag : publication.tags) {
    const std::size_t entry = writer.open(7);
    writer.bytes(1, tag.first);
    writer.bytes(2, tag.second);
    writer.close(entry);
  }
  writer.number(8, publication.form == DataForm::delta ? 1 : 0);
  if (publication.offset == 1) writer.bytes(14, publication.epoch);
}

/// A list by append_listed(), as repeated fields.
void write_list(ProtobufWriter& writer, std::uint32_t field, std::string_view list) {
  while (const auto item = take_delimited(list)) writer.present_bytes(field, *item);
}

void write_subscribe(ProtobufWriter& writer, const SubscribeResult& result) {
  writer.number(1, result.expires ? 1 : 0);
  writer.number(2, result.ttl_s);
  writer.number(3, result.is_recoverable ? 1 : 0);
  writer.bytes(6, result.epoch);
  write_list(writer, 7, result.publications);
  writer.number(8, result.is_recovered ? 1 : 0);
  writer.number(9, result.offset);
  writer.number(10, result.is_positioned ? 1 : 0);
  writer.bytes(11, result.data);
  writer.number(12, result.was_recovering ? 1 : 0);
  writer.number(13, result.has_delta ? 1 : 0);
  writer.number(1'001, result.is_conflated ? 1 : 0);
}

void encode_empty(std::string& out, std::uint32_t id, std::uint32_t field) {
  ProtobufReply(out, id, field).close();
}

}  // namespace

DecodeStep CentrifugeProtobufCodec::decode(std::string_view& frame, Command& out,
                                           std::string& scratch) const {
  if (frame.empty()) return DecodeStep::end;
  out = Command{};
  scratch.clear();
  const std::optional<std::string_view> message = take_delimited(frame);
  return message && read_command(*message, out) ? DecodeStep::command : DecodeStep::malformed;
}

std::string CentrifugeProtobufCodec::why_malformed(std::string_view /*frame*/) const {
  return "a command is not valid Protobuf";
}

bool CentrifugeProtobufCodec::decode_wishes(std::string_view wishes, std::size_t most,
                                            std::vector<SubscriptionWish>& out) const {
  out.clear();
  ProtobufReader reader(wishes);
  ProtobufField field;
  while (reader.next(field)) {
    if (field.number != 3) continue;
    if (out.size() == most) return true;
    if (!field.is_bytes || !read_wish_entry(field.bytes, out.emplace_back())) return false;
  }
  return !reader.is_malformed();
}

void CentrifugeProtobufCodec::encode_error(std::string& out, std::uint32_t id, std::uint32_t code,
                                           std::string_view message, bool is_temporary) const {
  ProtobufReply reply(out, id, 2);
  reply->number(1, code);
  reply->bytes(2, message);
  reply->number(3, is_temporary ? 1 : 0);
  reply.close();
}

void CentrifugeProtobufCodec::encode_connect(std::string& out, std::uint32_t id,
                                             const ConnectResult& result) const {
  ProtobufReply reply(out, id, 5);
  reply->bytes(1, result.client);
  reply->bytes(2, result.version);
  reply->number(7, result.ping_s);
  reply->number(8, result.is_pong_expected ? 1 : 0);
  reply->bytes(9, result.session);
  reply->bytes(10, result.node);
  reply->number(3, result.expires ? 1 : 0);
  reply->number(4, result.ttl_s);
  reply->bytes(5, result.data);
  write_list(reply.writer(), 6, result.subscriptions);
  reply->number(11, result.time_ms);
  reply.close();
}

void CentrifugeProtobufCodec::encode_subscribe(std::string& out, std::uint32_t id,
                                               const SubscribeResult& result) const {
  ProtobufReply reply(out, id, 6);
  write_subscribe(reply.writer(), result);
  reply.close();
}

void CentrifugeProtobufCodec::encode_refresh(std::string& out, std::uint32_t id,
                                             const RefreshResult& result) const {
  ProtobufReply reply(out, id, 14);
  reply->bytes(1, result.client);
  reply->bytes(2, result.version);
  reply->number(3, result.expires ? 1 : 0);
  reply->number(4, result.ttl_s);
  reply.close();
}

void CentrifugeProtobufCodec::encode_sub_refresh(std::string& out, std::uint32_t id,
                                                 const RefreshResult& result) const {
  ProtobufReply reply(out, id, 15);
  reply->number(1, result.expires ? 1 : 0);
  reply->number(2, result.ttl_s);
  reply.close();
}

void CentrifugeProtobufCodec::encode_unsubscribe(std::string& out, std::uint32_t id) const {
  encode_empty(out, id, 7);
}

void CentrifugeProtobufCodec::encode_publish(std::string& out, std::uint32_t id) const {
  encode_empty(out, id, 8);
}

void CentrifugeProtobufCodec::encode_presence(std::string& out, std::uint32_t id,
                                              std::span<const ClientInfoView> clients, bool has_more) const {
  ProtobufReply reply(out, id, 9);
  for (const ClientInfoView& info : clients) {
    const std::size_t entry = reply->open(1);
    reply->bytes(1, info.client);
    const std::size_t value = reply->open(2);
    write_client_info(reply.writer(), info);
    reply->close(value);
    reply->close(entry);
  }
  reply->number(1'001, has_more ? 1 : 0);
  reply.close();
}

void CentrifugeProtobufCodec::encode_presence_stats(std::string& out, std::uint32_t id, std::uint64_t clients,
                                                    std::uint64_t users) const {
  ProtobufReply reply(out, id, 10);
  reply->number(1, clients);
  reply->number(2, users);
  reply.close();
}

void CentrifugeProtobufCodec::encode_history(std::string& out, std::uint32_t id,
                                             std::string_view publications, std::string_view epoch,
                                             std::uint64_t offset) const {
  ProtobufReply reply(out, id, 11);
  write_list(reply.writer(), 1, publications);
  reply->bytes(2, epoch);
  reply->number(3, offset);
  reply.close();
}

void CentrifugeProtobufCodec::encode_ping_reply(std::string& out, std::uint32_t id) const {
  encode_empty(out, id, 12);
}

void CentrifugeProtobufCodec::encode_rpc(std::string& out, std::uint32_t id, std::string_view data,
                                         bool /*is_binary*/) const {
  ProtobufReply reply(out, id, 13);
  reply->bytes(1, data);
  reply.close();
}

void CentrifugeProtobufCodec::encode_heartbeat(std::string& out) const { out.push_back('\0'); }

void CentrifugeProtobufCodec::encode_publication(std::string& out, const PublicationView& publication) const {
  ProtobufWriter writer(out);
  write_publication(writer, publication);
}

void CentrifugeProtobufCodec::append_listed(std::string& list, std::string_view publication) const {
  append_varint(list, publication.size());
  list.append(publication);
}

void CentrifugeProtobufCodec::append_subscription(std::string& list, std::string_view channel,
                                                  const SubscribeResult& result) const {
  const std::size_t item = ProtobufWriter::open_delimited(list);
  ProtobufWriter writer(list);
  writer.bytes(1, channel);
  const std::size_t value = writer.open(2);
  write_subscribe(writer, result);
  writer.close(value);
  ProtobufWriter::close_delimited(list, item);
}

void CentrifugeProtobufCodec::encode_push_publication(std::string& out, std::string_view channel,
                                                      const PublicationView& publication) const {
  ProtobufPush push(out, channel, 4);
  write_publication(push.writer(), publication);
  push.close();
}

void CentrifugeProtobufCodec::encode_push_join(std::string& out, std::string_view channel,
                                               std::string_view info) const {
  ProtobufPush push(out, channel, 5);
  write_info(push.writer(), 1, info);
  push.close();
}

void CentrifugeProtobufCodec::encode_push_leave(std::string& out, std::string_view channel,
                                                std::string_view info) const {
  ProtobufPush push(out, channel, 6);
  write_info(push.writer(), 1, info);
  push.close();
}

void CentrifugeProtobufCodec::encode_push_unsubscribe(std::string& out, std::string_view channel,
                                                      std::uint32_t code, std::string_view reason) const {
  ProtobufPush push(out, channel, 7);
  push->number(2, code);
  push->bytes(3, reason);
  push.close();
}

void CentrifugeProtobufCodec::encode_push_subscribe(std::string& out, std::string_view channel,
                                                    const SubscribeResult& result) const {
  ProtobufPush push(out, channel, 9);
  push->number(1, result.is_recoverable ? 1 : 0);
  push->bytes(4, result.epoch);
  push->number(5, result.offset);
  push->number(6, result.is_positioned ? 1 : 0);
  push->bytes(7, result.data);
  push.close();
}

void CentrifugeProtobufCodec::encode_push_refresh(std::string& out, const RefreshResult& result) const {
  ProtobufPush push(out, {}, 12);
  push->number(1, result.expires ? 1 : 0);
  push->number(2, result.ttl_s);
  push.close();
}

void CentrifugeProtobufCodec::encode_push_disconnect(std::string& out, std::uint32_t code,
                                                     std::string_view reason) const {
  ProtobufPush push(out, {}, 11);
  push->number(1, code);
  push->bytes(2, reason);
  push.close();
}

}  // namespace carillon
