#include "protocol/api_request.hpp"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <variant>

#include "protocol/centrifuge_json.hpp"
#include "protocol/json_span.hpp"
#include "protocol/json_writer.hpp"
#include "protocol/names.hpp"
#include "protocol/utf8.hpp"

namespace carillon {
namespace {

constexpr std::array<ApiMethodName, 26> kMethodNames{{
    {"publish", ApiMethod::publish},
    {"broadcast", ApiMethod::broadcast},
    {"history", ApiMethod::history},
    {"presence", ApiMethod::presence},
    {"presence_stats", ApiMethod::presence_stats},
    {"channels", ApiMethod::channels},
    {"history_remove", ApiMethod::history_remove},
    {"subscribe", ApiMethod::subscribe},
    {"unsubscribe", ApiMethod::unsubscribe},
    {"disconnect", ApiMethod::disconnect},
    {"refresh", ApiMethod::refresh},
    {"batch", ApiMethod::batch},
    {"rpc", ApiMethod::rpc},
    {"info", ApiMethod::info},
    {"stats", ApiMethod::stats},
    {"ledger", ApiMethod::ledger},
    {"drain", ApiMethod::drain},
    {"reload", ApiMethod::reload},
    {"add_members", ApiMethod::add_members},
    {"remove_members", ApiMethod::remove_members},
    {"members", ApiMethod::members},
    {"inbox", ApiMethod::inbox},
    {"unread", ApiMethod::unread},
    {"mark_read", ApiMethod::mark_read},
    {"set_fanout", ApiMethod::set_fanout},
    {"fanout", ApiMethod::fanout},
}};

// ---- the fields of the methods

using MethodSet = std::uint32_t;

template <typename... Methods>
constexpr MethodSet methods(Methods... list) {
  return ((MethodSet{1} << static_cast<unsigned>(list)) | ...);
}

/// Fields whose value is more than one text, number or flag.
enum class Composed : std::uint8_t {
  payload,
  info,
  base64,
  base64_info,
  tags,
  position,
  close,
  overrides,
  commands,
  ignored
};

using Place = std::variant<std::string_view ApiRequest::*, std::vector<std::string_view> ApiRequest::*,
                           bool ApiRequest::*, std::int64_t ApiRequest::*, std::uint64_t ApiRequest::*,
                           std::optional<std::int64_t> ApiRequest::*,
                           std::optional<std::uint64_t> ApiRequest::*, Composed>;

struct Field {
  std::string_view name;
  MethodSet methods;
  Place place;
  std::string_view needed = {};  ///< what to give; empty: the field may be missing
};

constexpr MethodSet kPublishing = methods(ApiMethod::publish, ApiMethod::broadcast);
/// What acts on connections: those of a user, or one.
constexpr MethodSet kOnConnections =
    methods(ApiMethod::subscribe, ApiMethod::unsubscribe, ApiMethod::disconnect, ApiMethod::refresh);

constexpr std::array kFields = [] {
  using enum ApiMethod;
  constexpr MethodSet kOnChannel =
      methods(publish, history, presence, presence_stats, history_remove, subscribe, unsubscribe, add_members,
              remove_members, members, mark_read, set_fanout, fanout);
  return std::array{
      Field{"channel", kOnChannel, &ApiRequest::channel, "give the name of a channel"},
      Field{"channels", methods(broadcast), &ApiRequest::channels, "give a list of names of channels"},
      Field{"data", kPublishing, Composed::payload},
      Field{"b64data", kPublishing, Composed::base64},
      Field{"skip_history", kPublishing, &ApiRequest::is_history_skipped},
      Field{"tags", kPublishing, Composed::tags},
      Field{"idempotency_key", kPublishing, &ApiRequest::idempotency_key},
      Field{"key", kPublishing, &ApiRequest::key},
      Field{"version", kPublishing, &ApiRequest::version},
      Field{"version_epoch", kPublishing, &ApiRequest::version_epoch},
      Field{"expected_offset", kPublishing, &ApiRequest::expected_offset},
      Field{"delta", kPublishing, &ApiRequest::has_delta},
      Field{"last", methods(history), &ApiRequest::last},
      Field{"since", methods(history), Composed::position},
      Field{"limit", methods(history), &ApiRequest::limit},
      Field{"reverse", methods(history), &ApiRequest::is_reverse},
      Field{"pattern", methods(channels), &ApiRequest::pattern},
      Field{"limit", methods(ledger), &ApiRequest::rows},
      Field{"channel", methods(ledger), &ApiRequest::channel},
      Field{"client", methods(ledger), &ApiRequest::client},
      Field{"limit", methods(members, inbox), &ApiRequest::items_max},
      Field{"after", methods(members, presence, channels), &ApiRequest::after},
      Field{"users", methods(add_members, remove_members), &ApiRequest::users, "give a list of user ids"},
      Field{"user", methods(inbox, unread, mark_read), &ApiRequest::user, "give a user id"},
      Field{"user", kOnConnections, &ApiRequest::user},
      Field{"client", kOnConnections, &ApiRequest::client},
      Field{"session", kOnConnections, &ApiRequest::session},
      Field{"info", methods(subscribe, refresh), Composed::info},
      Field{"b64info", methods(subscribe), Composed::base64_info},
      Field{"data", methods(subscribe), Composed::payload},
      Field{"b64data", methods(subscribe), Composed::base64},
      Field{"expire_at", methods(subscribe, refresh), &ApiRequest::expire_at},
      Field{"expired", methods(refresh), &ApiRequest::is_expired},
      Field{"recover_since", methods(subscribe), Composed::position},
      Field{"override", methods(subscribe), Composed::overrides},
      Field{"whitelist", methods(disconnect), &ApiRequest::whitelist},
      Field{"commands", methods(batch), Composed::commands},
      Field{"parallel", methods(batch), &ApiRequest::is_parallel},
      Field{"method", methods(rpc), &ApiRequest::method, "give the name of a method"},
      Field{"params", methods(rpc), Composed::ignored},
      Field{"disconnect", methods(disconnect), Composed::close},
      Field{"offset", methods(mark_read), &ApiRequest::offset,
            "give the offset of the last publication read"},
      Field{"strategy", methods(set_fanout), &ApiRequest::strategy,
            "give write, read, hybrid, adaptive or configured"},
      Field{"threshold", methods(set_fanout), &ApiRequest::threshold},
      Field{"deadline_ms", methods(drain), &ApiRequest::deadline_ms},
      Field{"pace_ms", methods(drain), &ApiRequest::pace_ms},
      Field{"port", methods(drain), &ApiRequest::port},
  };
}();

constexpr bool is_needed(const Field& field) { return !field.needed.empty(); }
constexpr std::array kNeededFields = [] {
  std::array<Field, std::count_if(kFields.begin(), kFields.end(), is_needed)> fields{};
  std::copy_if(kFields.begin(), kFields.end(), fields.begin(), is_needed);
  return fields;
}();

std::vector<std::string_view> names_of(ApiMethod method) {
  std::vector<std::string_view> names;
  for (const Field& field : kFields) {
    if ((field.methods & methods(method)) != 0) names.push_back(field.name);
  }
  return names;
}

ApiFieldType type_of(Composed field) {
  switch (field) {
    case Composed::payload:
    case Composed::info:
    case Composed::ignored:
      return ApiFieldType::payload;
    case Composed::base64:
    case Composed::base64_info:
      return ApiFieldType::base64;
    case Composed::tags:
      return ApiFieldType::tags;
    case Composed::position:
      return ApiFieldType::position;
    case Composed::close:
      return ApiFieldType::close;
    case Composed::overrides:
      return ApiFieldType::overrides;
    case Composed::commands:
      return ApiFieldType::commands;
  }
  return ApiFieldType::payload;
}

ApiFieldType type_of(const Field& field) {
  switch (field.place.index()) {
    case 0:
      return ApiFieldType::text;
    case 1:
      return ApiFieldType::texts;
    case 2:
      return ApiFieldType::flag;
    case 3:
    case 5:
      return ApiFieldType::integer;
    case 4:
    case 6:
      return ApiFieldType::natural;
    default:
      return type_of(std::get<Composed>(field.place));
  }
}

std::string_view name_of(ApiFieldType type) {
  switch (type) {
    case ApiFieldType::text:
      return "a string";
    case ApiFieldType::texts:
      return "a list of strings";
    case ApiFieldType::flag:
      return "true or false";
    case ApiFieldType::integer:
      return "a whole number";
    case ApiFieldType::natural:
      return "a whole number, 0 or more";
    case ApiFieldType::payload:
      return "a JSON value";
    case ApiFieldType::base64:
      return "a string of base64";
    case ApiFieldType::tags:
      return "an object of strings";
    case ApiFieldType::position:
      return R"(a position, "<epoch>:<offset>", "oldest" or {"epoch":…,"offset":…})";
    case ApiFieldType::close:
      return R"(an object, {"code":…,"reason":…})";
    case ApiFieldType::overrides:
      return R"(an object, {"presence":{"value":true},…})";
    case ApiFieldType::commands:
      return R"(a list of objects, {"<method>":{…}})";
  }
  return "";
}

constexpr std::array<std::pair<std::string_view, std::optional<bool> ApiRequest::*>, 5> kOverrides{{
    {"presence", &ApiRequest::presence},
    {"join_leave", &ApiRequest::join_leave},
    {"force_push_join_leave", &ApiRequest::force_push_join_leave},
    {"force_recovery", &ApiRequest::force_recovery},
    {"force_positioning", &ApiRequest::force_positioning},
}};

// Reads one body; scratch is reserved once, when it is first needed, so that several decoded strings can be
// viewed in it.
class BodyReader {
 public:
  BodyReader(ApiMethod method, std::string_view body, ApiRequest& request, std::string& scratch)
      : method_(method), body_bytes_(body.size()), scanner_(body), request_(request), scratch_(scratch) {
    scratch_.clear();
  }

  ApiDecode read();

 private:
  ApiDecode read_fields();
  // Each reads one value and says whether it is well-formed and of the right type.
  bool read_field(const Field& field);
  bool read_composed(Composed field);
  bool read_tags();
  bool read_texts(std::vector<std::string_view>& texts);
  bool read_since();
  bool read_close();
  bool read_overrides();
  bool read_flag_value(std::optional<bool>& flag);
  bool read_commands();
  bool read_base64(std::string_view field, std::optional<std::string_view>& bytes);
  bool read_text(std::string_view& text);
  bool ignore_value();
  /// An escaped base64 text is in scratch before and after it is decoded.
  std::string& scratch() {
    scratch_.reserve(2 * body_bytes_);
    return scratch_;
  }
  std::string& scratch_for(std::string_view text) {
    return text.find('\\') == std::string_view::npos ? scratch_ : scratch();
  }

  // `null` leaves the target as it is.
  template <class Value, class Decode>
  bool read_value(Value& target, Decode decode) {
    std::string_view raw;
    if (!scanner_.take_value(raw)) return false;
    if (is_json_null(raw)) return true;
    const auto value = decode(raw);
    if (value) target = *value;
    return value.has_value();
  }

  bool read(std::string_view& value) { return read_text(value); }
  bool read(std::vector<std::string_view>& value) { return read_texts(value); }
  bool read(bool& value) { return read_value(value, json_bool); }
  bool read(std::int64_t& value) { return read_value(value, json_int64); }
  bool read(std::uint64_t& value) { return read_value(value, json_uint64); }
  bool read(std::optional<std::int64_t>& value) { return read_value(value, json_int64); }
  bool read(std::optional<std::uint64_t>& value) { return read_value(value, json_uint64); }

  /// Is a field that must be given empty, or 0?
  [[nodiscard]] bool is_missing(const Field& field) const;
  /// What is missing, for a message; empty: nothing.
  [[nodiscard]] std::string missing() const;

  ApiMethod method_;
  std::size_t body_bytes_;
  JsonScanner scanner_;
  ApiRequest& request_;
  std::string& scratch_;
  bool has_data_ = false;
  std::optional<std::string_view> bytes_;       // of `b64data`
  std::optional<std::string_view> info_bytes_;  // of `b64info`
  std::string_view bad_base64_;                 // the field
};

ApiDecode BodyReader::read() {
  if (const ApiDecode decoded = read_fields(); decoded != ApiDecode::ok) return decoded;
  if (bytes_ && (!has_data_ || !bytes_->empty())) {
    request_.data = *bytes_;
    request_.is_json = false;
  }
  if (info_bytes_) request_.info = *info_bytes_;
  if (scanner_.is_too_deep()) return ApiDecode::too_deep;
  request_.problem = missing();
  return request_.problem.empty() ? ApiDecode::ok : ApiDecode::bad_request;
}

ApiDecode BodyReader::read_fields() {
  const auto malformed = [this](std::string problem) {
    request_.problem = std::move(problem);
    return ApiDecode::malformed;
  };
  static constexpr std::string_view kNoObject = "the body is not a JSON object";
  if (!scanner_.open_object()) return malformed(std::string(kNoObject));
  std::string_view key;
  std::string unknown;
  JsonStep step;
  while ((step = scanner_.next_field(key)) == JsonStep::field) {
    const auto field = std::find_if(kFields.begin(), kFields.end(), [&](const Field& each) {
      return each.name == key && (each.methods & methods(method_)) != 0;
    });
    if (field == kFields.end()) {
      if (unknown.empty()) unknown = unknown_name("field", key, names_of(method_));
      if (!ignore_value()) return malformed(std::string(kNoObject));
    } else if (!read_field(*field)) {
      return malformed(std::string(field->name) + ": broken JSON, or not " +
                       std::string(name_of(type_of(*field))));
    }
  }
  if (step == JsonStep::malformed || !scanner_.is_at_end()) return malformed(std::string(kNoObject));
  if (unknown.empty()) return ApiDecode::ok;
  request_.problem = std::move(unknown);
  return ApiDecode::bad_request;
}

bool BodyReader::is_missing(const Field& field) const {
  if (const auto* text = std::get_if<std::string_view ApiRequest::*>(&field.place))
    return (request_.**text).empty();
  if (const auto* list = std::get_if<std::vector<std::string_view> ApiRequest::*>(&field.place))
    return (request_.**list).empty();
  if (const auto* number = std::get_if<std::uint64_t ApiRequest::*>(&field.place))
    return request_.**number == 0;
  return false;
}

std::string BodyReader::missing() const {
  for (const Field& field : kNeededFields) {
    if ((field.methods & methods(method_)) == 0 || !is_missing(field)) continue;
    return std::string(field.name) + ": missing or empty; " + std::string(field.needed);
  }
  if ((kOnConnections & methods(method_)) != 0 && request_.user.empty() && request_.client.empty() &&
      request_.session.empty())
    return "user: missing or empty; give a user id, or the id of a client as client";
  if (!bad_base64_.empty()) return std::string(bad_base64_) + ": not base64; give the padded standard form";
  if ((kPublishing & methods(method_)) == 0) return {};
  return has_data_ || bytes_ ? "" : "data: missing; give any JSON value, or bytes in base64 as b64data";
}

bool BodyReader::read_field(const Field& field) {
  return std::visit(
      [this](auto place) {
        if constexpr (std::is_same_v<decltype(place), Composed>) {
          return read_composed(place);
        } else {
          return read(request_.*place);
        }
      },
      field.place);
}

bool BodyReader::read_composed(Composed field) {
  switch (field) {
    case Composed::payload:
      has_data_ = true;
      return scanner_.take_value(request_.data);  // null is a payload like others
    case Composed::info:
      return scanner_.take_value(request_.info);
    case Composed::base64:
      return read_base64("b64data", bytes_);
    case Composed::base64_info:
      return read_base64("b64info", info_bytes_);
    case Composed::tags:
      return read_tags();
    case Composed::position:
      return read_since();
    case Composed::close:
      return read_close();
    case Composed::overrides:
      return read_overrides();
    case Composed::commands:
      return read_commands();
    case Composed::ignored:
      return ignore_value();
  }
  return false;
}

bool BodyReader::read_text(std::string_view& text) {
  return read_value(text, [this](std::string_view raw) { return json_string(raw, scratch_for(raw)); });
}

bool BodyReader::ignore_value() {
  std::string_view raw;
  return scanner_.take_value(raw);
}

bool BodyReader::read_base64(std::string_view field, std::optional<std::string_view>& bytes) {
  if (scanner_.peek() == 'n') return ignore_value();
  std::string_view text;
  if (!read_text(text)) return false;
  const std::size_t begin = scratch_.size();
  if (!append_from_base64(scratch(), text)) bad_base64_ = field;
  bytes = std::string_view(scratch_).substr(begin);
  return true;
}

bool BodyReader::read_tags() {
  if (scanner_.peek() == 'n') return ignore_value();
  request_.tags.clear();
  if (!scanner_.open_object()) return false;
  std::string_view raw_key;
  JsonStep step;
  while ((step = scanner_.next_field(raw_key)) == JsonStep::field) {
    const auto key = json_key(raw_key, scratch_for(raw_key));
    std::string_view value;
    if (!key || !read_text(value)) return false;
    request_.tags.emplace_back(*key, value);
  }
  return step == JsonStep::end;
}

bool BodyReader::read_texts(std::vector<std::string_view>& texts) {
  if (scanner_.peek() == 'n') return ignore_value();
  texts.clear();
  if (!scanner_.open_array()) return false;
  JsonStep step;
  while ((step = scanner_.next_item()) == JsonStep::field) {
    if (!read_text(texts.emplace_back())) return false;
  }
  return step == JsonStep::end;
}

bool BodyReader::read_since() {
  if (scanner_.peek() == '"') return read_text(request_.since);
  if (scanner_.peek() == 'n') return ignore_value();
  request_.has_since = true;
  if (!scanner_.open_object()) return false;
  std::string_view key;
  JsonStep step;
  while ((step = scanner_.next_field(key)) == JsonStep::field) {
    const bool is_read = key == "offset"  ? read(request_.offset)
                         : key == "epoch" ? read(request_.epoch)
                                          : false;
    if (!is_read) return false;
  }
  return step == JsonStep::end;
}

bool BodyReader::read_close() {
  if (scanner_.peek() == 'n') return ignore_value();
  if (!scanner_.open_object()) return false;
  std::string_view key;
  JsonStep step;
  while ((step = scanner_.next_field(key)) == JsonStep::field) {
    const bool is_read = key == "code"     ? read(request_.code)
                         : key == "reason" ? read(request_.reason)
                                           : false;
    if (!is_read) return false;
  }
  return step == JsonStep::end;
}

bool BodyReader::read_overrides() {
  if (scanner_.peek() == 'n') return ignore_value();
  if (!scanner_.open_object()) return false;
  std::string_view key;
  JsonStep step;
  while ((step = scanner_.next_field(key)) == JsonStep::field) {
    const auto option = std::find_if(kOverrides.begin(), kOverrides.end(),
                                     [&](const auto& each) { return each.first == key; });
    if (option == kOverrides.end() || !read_flag_value(request_.*option->second)) return false;
  }
  return step == JsonStep::end;
}

bool BodyReader::read_flag_value(std::optional<bool>& flag) {
  if (scanner_.peek() == 'n') return ignore_value();
  if (!scanner_.open_object()) return false;
  flag = false;  // as an object without its value says
  std::string_view key;
  JsonStep step;
  while ((step = scanner_.next_field(key)) == JsonStep::field) {
    if (key != "value" || !read_value(flag, json_bool)) return false;
  }
  return step == JsonStep::end;
}

bool BodyReader::read_commands() {
  if (scanner_.peek() == 'n') return ignore_value();
  request_.commands.clear();
  if (!scanner_.open_array()) return false;
  JsonStep step;
  while ((step = scanner_.next_item()) == JsonStep::field) {
    if (scanner_.peek() != '{' || !scanner_.take_value(request_.commands.emplace_back())) return false;
  }
  return step == JsonStep::end;
}

}  // namespace

std::span<const ApiMethodName> api_methods() { return kMethodNames; }

std::vector<ApiField> api_fields(ApiMethod method) {
  std::vector<ApiField> fields;
  for (const Field& field : kFields) {
    if ((field.methods & methods(method)) != 0)
      fields.push_back({field.name, type_of(field), is_needed(field)});
  }
  return fields;
}

std::optional<ApiMethod> find_api_method(std::string_view name) {
  for (const ApiMethodName& row : kMethodNames) {
    if (row.name == name) return row.method;
  }
  return std::nullopt;
}

std::string unknown_api_method(std::string_view name) {
  std::vector<std::string_view> names;
  for (const ApiMethodName& row : kMethodNames) names.push_back(row.name);
  return unknown_name("method", name, names);
}

ApiDecode decode_api_request(ApiMethod method, std::string_view body, ApiRequest& out, std::string& scratch) {
  return BodyReader(method, body.empty() ? "{}" : body, out, scratch).read();
}

}  // namespace carillon
