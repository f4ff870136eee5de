#include "protocol/api_request.hpp"

#include <algorithm>
#include <array>
#include <initializer_list>

#include "protocol/centrifuge_json.hpp"
#include "protocol/json_span.hpp"
#include "protocol/json_writer.hpp"

namespace carillon {
namespace {

struct MethodName {
  std::string_view name;
  ApiMethod method;
};

constexpr std::array<MethodName, 18> kMethodNames{{
    {"publish", ApiMethod::publish},
    {"broadcast", ApiMethod::broadcast},
    {"history", ApiMethod::history},
    {"presence", ApiMethod::presence},
    {"presence_stats", ApiMethod::presence_stats},
    {"channels", ApiMethod::channels},
    {"info", ApiMethod::info},
    {"stats", ApiMethod::stats},
    {"ledger", ApiMethod::ledger},
    {"drain", ApiMethod::drain},
    {"add_members", ApiMethod::add_members},
    {"remove_members", ApiMethod::remove_members},
    {"members", ApiMethod::members},
    {"inbox", ApiMethod::inbox},
    {"unread", ApiMethod::unread},
    {"mark_read", ApiMethod::mark_read},
    {"set_fanout", ApiMethod::set_fanout},
    {"fanout", ApiMethod::fanout},
}};

// Reads one body; scratch is reserved once, so that several decoded strings can be viewed in it.
class BodyReader {
 public:
  BodyReader(ApiMethod method, std::string_view body, ApiRequest& request, std::string& scratch)
      : method_(method), scanner_(body), request_(request), scratch_(scratch) {
    scratch_.clear();
    if (body.find('\\') != std::string_view::npos || body.find("\"b64data\"") != std::string_view::npos) {
      scratch_.reserve(2 * body.size());  // an escaped base64 text is in it before and after it is decoded
    }
  }

  ApiDecode read();

 private:
  // Each reads one field's value and says whether it is well-formed and of the right type.
  bool read_field(std::string_view key);
  bool read_publish_field(std::string_view key);
  bool read_history_field(std::string_view key);
  bool read_drain_field(std::string_view key);
  bool read_fan_out_field(std::string_view key);
  bool read_tags();
  bool read_texts(std::vector<std::string_view>& texts);
  bool read_since();
  bool read_base64();
  bool read_text(std::string_view& text);
  bool ignore_value();

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

  bool is_publishing() const { return method_ == ApiMethod::publish || method_ == ApiMethod::broadcast; }
  bool is_any_of(std::initializer_list<ApiMethod> methods) const {
    return std::find(methods.begin(), methods.end(), method_) != methods.end();
  }
  bool has_channel() const {
    using enum ApiMethod;
    return is_any_of({publish, history, presence, presence_stats, add_members, remove_members, members,
                      mark_read, set_fanout, fanout});
  }
  bool has_users() const { return is_any_of({ApiMethod::add_members, ApiMethod::remove_members}); }
  bool has_user() const { return is_any_of({ApiMethod::inbox, ApiMethod::unread, ApiMethod::mark_read}); }
  bool is_complete() const;

  ApiMethod method_;
  JsonScanner scanner_;
  ApiRequest& request_;
  std::string& scratch_;
  bool has_data_ = false;
  std::optional<std::string_view> bytes_;  // of `b64data`
  bool is_base64_valid_ = true;
};

ApiDecode BodyReader::read() {
  if (!scanner_.open_object()) return ApiDecode::malformed;
  std::string_view key;
  JsonStep step;
  while ((step = scanner_.next_field(key)) == JsonStep::field) {
    if (!read_field(key)) {
      request_.malformed = key;
      return ApiDecode::malformed;
    }
  }
  if (step == JsonStep::malformed || !scanner_.is_at_end()) return ApiDecode::malformed;
  if (bytes_ && (!has_data_ || !bytes_->empty())) {
    request_.data = *bytes_;
    request_.is_json = false;
  }
  if (scanner_.is_too_deep()) return ApiDecode::too_deep;
  return is_complete() ? ApiDecode::ok : ApiDecode::bad_request;
}

bool BodyReader::is_complete() const {
  if (has_channel() && request_.channel.empty()) return false;
  if (method_ == ApiMethod::broadcast && request_.channels.empty()) return false;
  if (has_users() && request_.users.empty()) return false;
  if (has_user() && request_.user.empty()) return false;
  if (method_ == ApiMethod::mark_read && request_.offset == 0) return false;
  if (method_ == ApiMethod::set_fanout && request_.strategy.empty()) return false;
  return !is_publishing() || (is_base64_valid_ && (has_data_ || bytes_));
}

bool BodyReader::read_field(std::string_view key) {
  if (key == "channel" && has_channel()) return read_text(request_.channel);
  if (key == "channels" && method_ == ApiMethod::broadcast) return read_texts(request_.channels);
  if (key == "pattern" && method_ == ApiMethod::channels) return read_text(request_.pattern);
  if (key == "limit" && method_ == ApiMethod::ledger) return read_value(request_.rows, json_uint64);
  if (is_publishing()) return read_publish_field(key);
  if (method_ == ApiMethod::history) return read_history_field(key);
  if (method_ == ApiMethod::drain) return read_drain_field(key);
  return read_fan_out_field(key);
}

bool BodyReader::read_publish_field(std::string_view key) {
  if (key == "data") {
    has_data_ = true;
    return scanner_.take_value(request_.data);  // null is a payload like others
  }
  if (key == "b64data") return read_base64();
  if (key == "skip_history") return read_value(request_.is_history_skipped, json_bool);
  if (key == "tags") return read_tags();
  if (key == "idempotency_key") return read_text(request_.idempotency_key);
  if (key == "key") return read_text(request_.key);
  if (key == "version") return read_value(request_.version, json_uint64);
  if (key == "version_epoch") return read_text(request_.version_epoch);
  return ignore_value();
}

bool BodyReader::read_history_field(std::string_view key) {
  if (key == "limit") return read_value(request_.limit, json_int64);
  if (key == "last") return read_value(request_.last, json_uint64);
  if (key == "reverse") return read_value(request_.is_reverse, json_bool);
  if (key == "since") return read_since();
  return ignore_value();
}

bool BodyReader::read_drain_field(std::string_view key) {
  const auto number = [](std::string_view raw) -> std::optional<std::optional<std::uint64_t>> {
    const auto value = json_uint64(raw);
    constexpr std::uint64_t kDayMs = 86'400'000;
    if (!value || *value > kDayMs) return std::nullopt;
    return std::make_optional(value);
  };
  if (key == "deadline_ms") return read_value(request_.deadline_ms, number);
  if (key == "pace_ms") return read_value(request_.pace_ms, number);
  if (key == "port") return read_value(request_.port, number);
  return ignore_value();
}

bool BodyReader::read_fan_out_field(std::string_view key) {
  const auto number = [](std::string_view raw) -> std::optional<std::optional<std::int64_t>> {
    const auto value = json_int64(raw);
    if (!value) return std::nullopt;
    return std::make_optional(value);
  };
  if (key == "users" && has_users()) return read_texts(request_.users);
  if (key == "user" && has_user()) return read_text(request_.user);
  if (key == "offset" && method_ == ApiMethod::mark_read) return read_value(request_.offset, json_uint64);
  if (key == "limit" && is_any_of({ApiMethod::members, ApiMethod::inbox}))
    return read_value(request_.items_max, number);
  if (key == "after" && is_any_of({ApiMethod::members, ApiMethod::presence, ApiMethod::channels}))
    return read_text(request_.after);
  if (key == "strategy" && method_ == ApiMethod::set_fanout) return read_text(request_.strategy);
  if (key == "threshold" && method_ == ApiMethod::set_fanout) return read_value(request_.threshold, number);
  return ignore_value();
}

bool BodyReader::read_text(std::string_view& text) {
  return read_value(text, [this](std::string_view raw) { return json_string(raw, scratch_); });
}

bool BodyReader::ignore_value() {
  std::string_view raw;
  return scanner_.take_value(raw);
}

bool BodyReader::read_base64() {
  if (scanner_.peek() == 'n') return ignore_value();
  std::string_view text;
  if (!read_text(text)) return false;
  const std::size_t begin = scratch_.size();
  is_base64_valid_ = append_from_base64(scratch_, text);
  bytes_ = std::string_view(scratch_).substr(begin);
  return true;
}

bool BodyReader::read_tags() {
  if (scanner_.peek() == 'n') return ignore_value();
  request_.tags.clear();
  if (!scanner_.open_object()) return false;
  std::string_view raw_key;
  JsonStep step;
  while ((step = scanner_.next_field(raw_key)) == JsonStep::field) {
    const auto key = json_key(raw_key, scratch_);
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
    const bool is_read = key == "offset"  ? read_value(request_.offset, json_uint64)
                         : key == "epoch" ? read_text(request_.epoch)
                                          : ignore_value();
    if (!is_read) return false;
  }
  return step == JsonStep::end;
}

}  // namespace

std::optional<ApiMethod> find_api_method(std::string_view name) {
  for (const MethodName& row : kMethodNames) {
    if (row.name == name) return row.method;
  }
  return std::nullopt;
}

ApiDecode decode_api_request(ApiMethod method, std::string_view body, ApiRequest& out, std::string& scratch) {
  out = ApiRequest{};
  return BodyReader(method, body.empty() ? "{}" : body, out, scratch).read();
}

std::string_view api_requirements(ApiMethod method) {
  switch (method) {
    case ApiMethod::add_members:
    case ApiMethod::remove_members:
      return "channel or users is missing or empty";
    case ApiMethod::members:
    case ApiMethod::fanout:
      return "channel is missing or empty";
    case ApiMethod::inbox:
    case ApiMethod::unread:
      return "user is missing or empty";
    case ApiMethod::mark_read:
      return "user or channel is missing or empty, or offset is missing or 0";
    case ApiMethod::set_fanout:
      return "channel or strategy is missing or empty";
    default:
      return "channel is missing or empty, data and b64data are missing, or b64data is not base64";
  }
}

}  // namespace carillon
