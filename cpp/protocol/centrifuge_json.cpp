#include "protocol/centrifuge_json.hpp"

#include <array>
#include <limits>
#include <string>

#include "protocol/json_span.hpp"
#include "protocol/json_writer.hpp"

namespace carillon {
namespace {

struct RequestField {
  std::string_view key;
  CommandKind kind;
};

// In the order in which they win when a command has several (protocol.md section 1).
constexpr std::array<RequestField, 12> kRequestFields{{
    {"connect", CommandKind::connect},
    {"subscribe", CommandKind::subscribe},
    {"unsubscribe", CommandKind::unsubscribe},
    {"publish", CommandKind::publish},
    {"presence", CommandKind::presence},
    {"presence_stats", CommandKind::presence_stats},
    {"history", CommandKind::history},
    {"rpc", CommandKind::rpc},
    {"send", CommandKind::send},
    {"refresh", CommandKind::refresh},
    {"sub_refresh", CommandKind::sub_refresh},
    {"ping", CommandKind::ping},
}};

std::size_t request_rank(std::string_view key) {
  std::size_t rank = 0;
  while (rank < kRequestFields.size() && kRequestFields[rank].key != key) ++rank;
  return rank;
}

// Which requests have which fields: a field of the wrong type is malformed only where the field is known.

using KindSet = std::uint32_t;

template <class... Kinds>
constexpr KindSet kinds(Kinds... list) {
  return ((KindSet{1} << static_cast<unsigned>(list)) | ...);
}

using enum CommandKind;

template <class Member>
struct MemberField {
  std::string_view key;
  KindSet kinds;
  Member Command::* member;
};

constexpr KindSet kChannelCommands =
    kinds(subscribe, unsubscribe, publish, presence, presence_stats, history, sub_refresh);

constexpr std::array kTextFields{
    MemberField<std::string_view>{"channel", kChannelCommands, &Command::channel},
    MemberField<std::string_view>{"token", kinds(connect, subscribe, refresh, sub_refresh), &Command::token},
    MemberField<std::string_view>{"epoch", kinds(subscribe), &Command::epoch},
    MemberField<std::string_view>{"since", kinds(subscribe), &Command::since},
    MemberField<std::string_view>{"delta", kinds(subscribe), &Command::delta},
    MemberField<std::string_view>{"method", kinds(rpc), &Command::method},
    MemberField<std::string_view>{"after", kinds(presence), &Command::after},
};

constexpr std::array kRawFields{
    MemberField<std::string_view>{"data", kinds(connect, subscribe, publish, rpc, send), &Command::data},
    MemberField<std::string_view>{"subs", kinds(connect), &Command::wishes},
};

constexpr std::array kBooleanFields{
    MemberField<bool>{"recover", kinds(subscribe), &Command::is_recover},
    MemberField<bool>{"positioned", kinds(subscribe), &Command::is_positioned},
    MemberField<bool>{"recoverable", kinds(subscribe), &Command::is_recoverable},
    MemberField<bool>{"join_leave", kinds(subscribe), &Command::is_join_leave},
    MemberField<bool>{"reverse", kinds(history), &Command::is_reverse},
};

constexpr std::array kUnsignedFields{
    MemberField<std::uint64_t>{"offset", kinds(subscribe), &Command::offset},
};

constexpr std::array kSignedFields{
    MemberField<std::int64_t>{"limit", kinds(history), &Command::limit},
    MemberField<std::int64_t>{"type", kinds(subscribe, publish, sub_refresh), &Command::type},
};

template <class Fields>
const typename Fields::value_type* find_field(const Fields& fields, KindSet kind, std::string_view key) {
  for (const auto& field : fields) {
    if ((field.kinds & kind) != 0 && field.key == key) return &field;
  }
  return nullptr;
}

constexpr std::string_view kText = "must be a string";
constexpr std::string_view kWholeNumber = "must be a whole number";

// Reads one command line; scratch is reserved once, so that several decoded strings can be viewed in it.
class CommandReader {
 public:
  CommandReader(std::string_view line, Command& command, std::string& scratch)
      : scanner_(line), line_bytes_(line.size()), command_(command), scratch_(scratch) {}

  bool read();
  /// The whole text is the request of a connect.
  bool read_connect() {
    command_.id = 1;
    command_.kind = CommandKind::connect;
    return read_request(CommandKind::connect) && scanner_.is_at_end() && !scanner_.is_too_deep();
  }
  /// After a refusal: the field that has caused it, and what it must be. Empty: none has, the text is
  /// something else than was expected.
  [[nodiscard]] std::string problem() const { return problem_; }

 private:
  bool read_request(CommandKind kind);
  bool read_since();
  bool assign(KindSet kind, std::string_view key, std::string_view raw);
  bool decode_text(std::string_view raw, std::string_view& text);
  bool fail(std::string_view field, std::string_view what) {
    problem_.append(field).append(": ").append(what);
    return false;
  }

  template <class Value>
  static bool store(std::optional<Value> value, Value& target) {
    if (value) target = *value;
    return value.has_value();
  }

  JsonScanner scanner_;
  std::size_t line_bytes_;
  Command& command_;
  std::string& scratch_;
  std::string problem_;
};

bool CommandReader::read() {
  std::size_t winner = kRequestFields.size();
  std::uint32_t id = 0;
  bool has_send = false;
  if (!scanner_.open_object()) return false;
  std::string_view key;
  JsonStep step;
  while ((step = scanner_.next_field(key)) == JsonStep::field) {
    const std::size_t rank = key == "id" ? kRequestFields.size() : request_rank(key);
    if (rank < kRequestFields.size() && scanner_.peek() == '{') {
      const CommandKind kind = kRequestFields[rank].kind;
      has_send |= kind == CommandKind::send;
      if (rank <= winner) {
        if (rank < winner && winner < kRequestFields.size()) command_ = Command{};
        winner = rank;
        command_.kind = kind;
        if (!read_request(kind)) return false;
        continue;
      }
    }
    std::string_view raw;
    if (!scanner_.take_value(raw)) return false;
    if (is_json_null(raw)) continue;
    if (key == "id") {
      const auto number = json_uint64(raw);
      if (!number || *number > std::numeric_limits<std::uint32_t>::max())
        return fail("id", "must be a whole number from 0 to 4294967295");
      id = static_cast<std::uint32_t>(*number);
    } else if (rank < kRequestFields.size() && raw.front() != '{') {
      return fail(key, "must be an object");
    }
  }
  if (step == JsonStep::malformed || !scanner_.is_at_end()) return false;
  command_.id = id;
  command_.is_too_deep = scanner_.is_too_deep();
  if (id != 0)
    return winner < kRequestFields.size() ||
           fail("id", "stands without a request such as connect or subscribe");
  if (has_send) return command_.kind == CommandKind::send;
  command_ = Command{};
  return true;
}

bool CommandReader::read_request(CommandKind kind) {
  if (!scanner_.open_object()) return false;
  std::string_view key;
  JsonStep step;
  while ((step = scanner_.next_field(key)) == JsonStep::field) {
    if (kind == CommandKind::history && key == "since" && scanner_.peek() == '{') {
      if (!read_since()) return false;
      continue;
    }
    std::string_view raw;
    if (!scanner_.take_value(raw)) return false;
    const bool is_absent = is_json_null(raw) && key != "data";  // null is a payload like others
    if (!is_absent && !assign(kinds(kind), key, raw)) return false;
  }
  return step == JsonStep::end;
}

bool CommandReader::read_since() {
  command_.has_since = true;
  if (!scanner_.open_object()) return false;
  std::string_view key;
  JsonStep step;
  while ((step = scanner_.next_field(key)) == JsonStep::field) {
    std::string_view raw;
    if (!scanner_.take_value(raw)) return false;
    if (is_json_null(raw)) continue;
    if (key == "offset" && !store(json_uint64(raw), command_.offset))
      return fail("since.offset", kWholeNumber);
    if (key == "epoch" && !decode_text(raw, command_.epoch)) return fail("since.epoch", kText);
  }
  return step == JsonStep::end;
}

bool CommandReader::assign(KindSet kind, std::string_view key, std::string_view raw) {
  if (const auto* field = find_field(kTextFields, kind, key)) {
    return decode_text(raw, command_.*field->member) || fail(key, kText);
  }
  if (const auto* field = find_field(kRawFields, kind, key)) {
    command_.*field->member = raw;
    return true;
  }
  if (const auto* field = find_field(kBooleanFields, kind, key)) {
    return store(json_bool(raw), command_.*field->member) || fail(key, "must be true or false");
  }
  if (const auto* field = find_field(kUnsignedFields, kind, key)) {
    return store(json_uint64(raw), command_.*field->member) || fail(key, kWholeNumber);
  }
  if (const auto* field = find_field(kSignedFields, kind, key)) {
    return store(json_int64(raw), command_.*field->member) || fail(key, kWholeNumber);
  }
  if (key == "flag" && (kind & kinds(connect, subscribe)) != 0) {
    std::int64_t flag = 0;
    if (!store(json_int64(raw), flag)) return fail(key, kWholeNumber);
    command_.flag = static_cast<std::uint64_t>(flag);
    return true;
  }
  if (key == "last" && kind == kinds(subscribe)) {
    command_.last = json_uint64(raw);
    return command_.last.has_value() || fail(key, kWholeNumber);
  }
  if (key == "tf" && kind == kinds(subscribe)) {
    command_.has_tags_filter = true;
    command_.filter = raw;
  }
  const bool is_since = key == "since" && kind == kinds(history);  // here it is not an object
  return !is_since || fail(key, "must be an object with offset and epoch");
}

bool CommandReader::decode_text(std::string_view raw, std::string_view& text) {
  if (scratch_.empty() && raw.find('\\') != std::string_view::npos) scratch_.reserve(line_bytes_);
  return store(json_string(raw, scratch_), text);
}

bool read_wish(JsonScanner& scanner, std::string& scratch, SubscriptionWish& wish) {
  if (!scanner.open_object()) return false;
  std::string_view key;
  JsonStep step;
  while ((step = scanner.next_field(key)) == JsonStep::field) {
    std::string_view raw;
    if (!scanner.take_value(raw)) return false;
    if (is_json_null(raw)) continue;
    if (key == "recover") {
      const auto flag = json_bool(raw);
      if (!flag) return false;
      wish.is_recover = *flag;
    } else if (key == "offset") {
      const auto number = json_uint64(raw);
      if (!number) return false;
      wish.offset = *number;
    } else if (key == "epoch") {
      const auto text = json_string(raw, scratch);
      if (!text) return false;
      wish.epoch = *text;
    } else if (key == "delta") {
      const auto text = json_string(raw, scratch);
      if (!text || !is_delta_wish(*text)) return false;
      wish.wants_delta = !text->empty();
    }
  }
  return step == JsonStep::end;
}

void append_payload(JsonObjectWriter& object, const PublicationView& publication) {
  if (publication.form != DataForm::plain && publication.is_json) {
    // SDKs read the text as JSON, and there is none that stands for nothing.
    object.text("data", publication.data.empty() ? std::string_view("null") : publication.data);
    object.boolean_if_true("delta", publication.form == DataForm::delta);
  } else if (publication.is_json) {
    object.json_unless_empty("data", publication.data);
  } else {
    const bool is_text = publication.form != DataForm::plain;
    object.open("data").append(is_text ? R"("{\"b64\":\")" : R"({"b64":")");
    append_base64(object.out(), publication.data);
    object.out().append(is_text ? R"(\"}")" : R"("})");
    object.boolean("binary", true);  // JSON data may look the same
  }
}

// `{"push":{"channel":…,"<kind>":` … `}}`
class PushWriter {
 public:
  PushWriter(std::string& out, std::string_view channel) : reply_(out), push_(reply_.open("push")) {
    push_.text_unless_empty("channel", channel);
  }
  std::string& open(const JsonName& kind) { return push_.open(kind); }
  void close() {
    push_.close();
    reply_.close();
  }

 private:
  JsonObjectWriter reply_;
  JsonObjectWriter push_;
};

void append_info_push(std::string& out, std::string_view channel, const JsonName& kind,
                      std::string_view info) {
  PushWriter push(out, channel);
  JsonObjectWriter body(push.open(kind));
  body.json("info", info);
  body.close();
  push.close();
}

void append_code_push(std::string& out, std::string_view channel, const JsonName& kind, std::uint32_t code,
                      std::string_view reason) {
  PushWriter push(out, channel);
  JsonObjectWriter body(push.open(kind));
  body.number_unless_zero("code", code);
  body.text_unless_empty("reason", reason);
  body.close();
  push.close();
}

void append_fields(JsonObjectWriter& object, const SubscribeResult& result) {
  object.boolean_if_true("expires", result.expires);
  object.number_unless_zero("ttl", result.ttl_s);
  object.boolean_if_true("recoverable", result.is_recoverable);
  object.text_unless_empty("epoch", result.epoch);
  if (!result.publications.empty()) object.list("publications", result.publications);
  object.boolean_if_true("recovered", result.is_recovered);
  object.number_unless_zero("offset", result.offset);
  object.boolean_if_true("positioned", result.is_positioned);
  object.json_unless_empty("data", result.data);
  object.boolean_if_true("was_recovering", result.was_recovering);
  object.boolean_if_true("delta", result.has_delta);
  object.boolean_if_true("conflated", result.is_conflated);
}

void append_fields(JsonObjectWriter& object, const RefreshResult& result) {
  object.text_unless_empty("client", result.client);
  object.text_unless_empty("version", result.version);
  object.boolean_if_true("expires", result.expires);
  object.number_unless_zero("ttl", result.ttl_s);
}

// `{"id":…,"<name>":{` … `}}`
class ReplyWriter {
 public:
  ReplyWriter(std::string& out, std::uint32_t id, const JsonName& name)
      : reply_(out), result_((reply_.number_unless_zero("id", id), reply_.open(name))) {}
  JsonObjectWriter* operator->() { return &result_; }
  JsonObjectWriter& object() { return result_; }
  void close() {
    result_.close();
    reply_.close();
  }

 private:
  JsonObjectWriter reply_;
  JsonObjectWriter result_;
};

}  // namespace

DecodeStep CentrifugeJsonCodec::decode(std::string_view& frame, Command& out, std::string& scratch) const {
  if (frame.empty()) return DecodeStep::end;
  const std::size_t newline = frame.find('\n');
  const std::string_view line = frame.substr(0, newline);
  frame.remove_prefix(newline == std::string_view::npos ? frame.size() : newline + 1);
  out = Command{};
  scratch.clear();
  return CommandReader(line, out, scratch).read() ? DecodeStep::command : DecodeStep::malformed;
}

std::string CentrifugeJsonCodec::why_malformed(std::string_view frame) const {
  Command command;
  std::string scratch;
  CommandReader reader(frame.substr(0, frame.find('\n')), command, scratch);
  if (reader.read() || reader.problem().empty()) return "a command is not valid JSON";
  return reader.problem();
}

bool CentrifugeJsonCodec::decode_wishes(std::string_view wishes, std::size_t most,
                                        std::vector<SubscriptionWish>& out) const {
  out.clear();
  if (wishes.empty()) return true;
  JsonScanner scanner(wishes);
  if (!scanner.open_object()) return false;
  std::string_view key;
  std::string scratch;
  JsonStep step;
  while ((step = scanner.next_field(key)) == JsonStep::field) {
    if (out.size() == most) return true;
    const auto channel = json_key(key, scratch);
    if (!channel) return false;
    out.push_back({.channel = std::string(*channel)});
    if (!read_wish(scanner, scratch, out.back())) return false;
    scratch.clear();
  }
  return step == JsonStep::end;
}

void CentrifugeJsonCodec::encode_error(std::string& out, std::uint32_t id, std::uint32_t code,
                                       std::string_view message, bool is_temporary) const {
  ReplyWriter reply(out, id, "error");
  reply->number("code", code);
  reply->text("message", message);
  reply->boolean_if_true("temporary", is_temporary);
  reply.close();
}

void CentrifugeJsonCodec::encode_connect(std::string& out, std::uint32_t id,
                                         const ConnectResult& result) const {
  ReplyWriter reply(out, id, "connect");
  reply->text_unless_empty("client", result.client);
  reply->text_unless_empty("version", result.version);
  reply->number_unless_zero("ping", result.ping_s);
  reply->boolean_if_true("pong", result.is_pong_expected);
  reply->text_unless_empty("session", result.session);
  reply->text_unless_empty("node", result.node);
  reply->boolean_if_true("expires", result.expires);
  reply->number_unless_zero("ttl", result.ttl_s);
  reply->json_unless_empty("data", result.data);
  reply->number_unless_zero("time", result.time_ms);
  if (!result.subscriptions.empty()) reply->open("subs").append("{").append(result.subscriptions).append("}");
  reply.close();
}

void CentrifugeJsonCodec::encode_subscribe(std::string& out, std::uint32_t id,
                                           const SubscribeResult& result) const {
  ReplyWriter reply(out, id, "subscribe");
  append_fields(reply.object(), result);
  reply.close();
}

void CentrifugeJsonCodec::encode_refresh(std::string& out, std::uint32_t id,
                                         const RefreshResult& result) const {
  ReplyWriter reply(out, id, "refresh");
  append_fields(reply.object(), result);
  reply.close();
}

void CentrifugeJsonCodec::encode_sub_refresh(std::string& out, std::uint32_t id,
                                             const RefreshResult& result) const {
  ReplyWriter reply(out, id, "sub_refresh");
  append_fields(reply.object(), result);
  reply.close();
}

void CentrifugeJsonCodec::encode_unsubscribe(std::string& out, std::uint32_t id) const {
  ReplyWriter(out, id, "unsubscribe").close();
}

void CentrifugeJsonCodec::encode_publish(std::string& out, std::uint32_t id) const {
  ReplyWriter(out, id, "publish").close();
}

void CentrifugeJsonCodec::encode_presence(std::string& out, std::uint32_t id,
                                          std::span<const ClientInfoView> clients, bool has_more) const {
  ReplyWriter reply(out, id, "presence");
  append_presence_map(reply->open("presence"), clients);
  reply->boolean_if_true("has_more", has_more);
  reply.close();
}

void CentrifugeJsonCodec::encode_presence_stats(std::string& out, std::uint32_t id, std::uint64_t clients,
                                                std::uint64_t users) const {
  ReplyWriter reply(out, id, "presence_stats");
  reply->number("num_clients", clients);
  reply->number("num_users", users);
  reply.close();
}

void CentrifugeJsonCodec::encode_history(std::string& out, std::uint32_t id, std::string_view publications,
                                         std::string_view epoch, std::uint64_t offset) const {
  ReplyWriter reply(out, id, "history");
  reply->list("publications", publications);
  reply->text("epoch", epoch);
  reply->number("offset", offset);
  reply.close();
}

void CentrifugeJsonCodec::encode_ping_reply(std::string& out, std::uint32_t id) const {
  ReplyWriter(out, id, "ping").close();
}

void CentrifugeJsonCodec::encode_rpc(std::string& out, std::uint32_t id, std::string_view data,
                                     bool is_binary) const {
  ReplyWriter reply(out, id, "rpc");
  PublicationView payload;
  payload.data = data;
  payload.is_json = !is_binary;
  append_payload(reply.object(), payload);
  reply.close();
}

void CentrifugeJsonCodec::encode_heartbeat(std::string& out) const { out.append("{}"); }

void CentrifugeJsonCodec::encode_publication(std::string& out, const PublicationView& publication) const {
  JsonObjectWriter object(out);
  append_payload(object, publication);
  object.json_unless_empty("info", publication.info_json);
  object.number_unless_zero("offset", publication.offset);
  object.text_map_unless_empty("tags", publication.tags);
  if (publication.offset == 1) object.text_unless_empty("epoch", publication.epoch);
  object.close();
}

void CentrifugeJsonCodec::append_listed(std::string& list, std::string_view publication) const {
  append_list_item(list, publication);
}

void CentrifugeJsonCodec::append_subscription(std::string& list, std::string_view channel,
                                              const SubscribeResult& result) const {
  if (!list.empty()) list.push_back(',');
  append_json_string(list, channel);
  list.push_back(':');
  JsonObjectWriter object(list);
  append_fields(object, result);
  object.close();
}

void CentrifugeJsonCodec::encode_push_publication(std::string& out, std::string_view channel,
                                                  const PublicationView& publication) const {
  PushWriter push(out, channel);
  push.open("pub");
  encode_publication(out, publication);
  push.close();
}

void CentrifugeJsonCodec::encode_push_join(std::string& out, std::string_view channel,
                                           std::string_view info) const {
  append_info_push(out, channel, "join", info);
}

void CentrifugeJsonCodec::encode_push_leave(std::string& out, std::string_view channel,
                                            std::string_view info) const {
  append_info_push(out, channel, "leave", info);
}

void CentrifugeJsonCodec::encode_push_unsubscribe(std::string& out, std::string_view channel,
                                                  std::uint32_t code, std::string_view reason) const {
  append_code_push(out, channel, "unsubscribe", code, reason);
}

void CentrifugeJsonCodec::encode_push_subscribe(std::string& out, std::string_view channel,
                                                const SubscribeResult& result) const {
  PushWriter push(out, channel);
  JsonObjectWriter body(push.open("subscribe"));
  append_fields(body, result);
  body.close();
  push.close();
}

void CentrifugeJsonCodec::encode_push_refresh(std::string& out, const RefreshResult& result) const {
  PushWriter push(out, {});
  JsonObjectWriter body(push.open("refresh"));
  append_fields(body, result);
  body.close();
  push.close();
}

void CentrifugeJsonCodec::encode_push_disconnect(std::string& out, std::uint32_t code,
                                                 std::string_view reason) const {
  append_code_push(out, {}, "disconnect", code, reason);
}

bool decode_connect_request(std::string_view request, Command& out, std::string& scratch) {
  out = Command{};
  scratch.clear();
  return CommandReader(request, out, scratch).read_connect();
}

std::string why_no_connect_request(std::string_view request) {
  Command command;
  std::string scratch;
  CommandReader reader(request, command, scratch);
  if (!reader.read_connect() && !reader.problem().empty()) return reader.problem();
  return check_json(request) == JsonCheck::too_deep ? "is nested deeper than 64 arrays and objects"
                                                    : "is not a JSON object";
}

const CentrifugeJsonCodec& centrifuge_json_codec() {
  static const CentrifugeJsonCodec codec;
  return codec;
}

void append_presence_map(std::string& out, std::span<const ClientInfoView> clients) {
  out.push_back('{');
  bool is_first = true;
  for (const ClientInfoView& info : clients) {
    if (!is_first) out.push_back(',');
    is_first = false;
    append_json_string(out, info.client);
    out.push_back(':');
    append_client_info(out, info);
  }
  out.push_back('}');
}

}  // namespace carillon
