#include "proxy/backend_reply.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "protocol/centrifuge_codes.hpp"
#include "protocol/json_span.hpp"

namespace carillon {

namespace {

constexpr std::size_t kReasonBytesMax = 123;  // what a close frame has room for

/// Calls `take` with each field that is not null. False: it is not an object, or `take` has returned false.
template <typename Take>
bool each_field(std::string_view text, Take&& take) {
  JsonObjectReader reader(text);
  std::string_view key;
  std::string_view value;
  JsonStep step;
  while ((step = reader.next(key, value)) == JsonStep::field) {
    if (!is_json_null(value) && !take(key, value)) return false;
  }
  return step == JsonStep::end;
}

/// The fields of all results: those of one name mean the same in each.
struct Result {
  std::string user;
  std::int64_t expire_at = 0;
  bool is_expired = false;
  std::string info_json;
  std::optional<std::string> data;
  bool is_data_binary = false;
  bool names_subscriptions = false;
  std::vector<SubscriptionGrant> subscriptions;
  SubscriptionOverrides overrides;
  PublishTerms publish;
};

class ResultReader {
 public:
  /// Nothing: see `problem`.
  static std::optional<Result> read(std::string_view text, std::string& problem) {
    ResultReader reader;
    if (each_field(text, [&](auto key, auto value) { return reader.take(key, value); })) {
      if (reader.result_.data && !reader.result_.is_data_binary && !is_json(*reader.result_.data))
        reader.refuse("data", kJson);
      else
        return std::move(reader.result_);
    }
    problem = reader.problem_.empty() ? "result: is not an object" : std::move(reader.problem_);
    return std::nullopt;
  }

 private:
  static constexpr std::string_view kText = "a string";
  static constexpr std::string_view kFlag = "true or false";
  static constexpr std::string_view kJson = "valid JSON";

  bool refuse(std::string_view field, std::string_view wanted) {
    problem_ = "result." + std::string(field) + ": is not " + std::string(wanted);
    return false;
  }

  static bool text(std::string_view value, std::string& out) {
    std::string scratch;
    const auto decoded = json_string(value, scratch);
    if (decoded) out = *decoded;
    return decoded.has_value();
  }
  static bool bytes(std::string_view value, std::string& out) {
    std::string encoded;
    if (!text(value, encoded)) return false;
    std::optional<std::string> decoded = from_base64(encoded);
    if (decoded) out = std::move(*decoded);
    return decoded.has_value();
  }
  static bool flag(std::string_view value, bool& out) {
    const std::optional<bool> read = json_bool(value);
    out = read.value_or(false);
    return read.has_value();
  }

  bool take(std::string_view key, std::string_view value) {
    bool is_right = true;
    std::string_view wanted = kText;
    if (key == "user") {
      is_right = text(value, result_.user);
    } else if (key == "expire_at") {
      wanted = "a whole number of seconds since 1970";
      const auto number = json_int64(value);
      is_right = number && *number >= 0;
      result_.expire_at = number.value_or(0);
    } else if (key == "expired") {
      wanted = kFlag;
      is_right = flag(value, result_.is_expired);
    } else if (key == "info" || key == "b64info") {
      wanted = key == "info" ? kJson : "base64 of JSON text";
      std::string info;
      is_right = key == "info" ? (info = value, true) : bytes(value, info);
      if (!info.empty()) {
        is_right = is_right && is_json(info);
        result_.info_json = std::move(info);
      }
    } else if (key == "data") {
      if (!result_.is_data_binary) result_.data = std::string(value);
    } else if (key == "b64data") {
      wanted = "base64";
      std::string data;
      is_right = bytes(value, data);
      if (!data.empty()) {
        result_.is_data_binary = !is_json(data);
        result_.data = std::move(data);
      }
    } else if (key == "channels") {
      wanted = "a list of names of channels";
      is_right = take_channels(value);
    } else if (key == "subs") {
      wanted = "an object of options by channel";
      is_right = take_subscriptions(value);
    } else if (key == "override") {
      wanted = "an object of options such as {\"presence\":{\"value\":true}}";
      is_right = take_overrides(value);
    } else if (key == "skip_history") {
      wanted = kFlag;
      is_right = flag(value, result_.publish.skips_history);
    } else if (key == "delta") {
      wanted = kFlag;
      is_right = flag(value, result_.publish.has_delta);
    } else if (key == "idempotency_key") {
      is_right = text(value, result_.publish.idempotency_key);
    } else if (key == "tags") {
      wanted = "an object of strings";
      is_right = take_tags(value);
    }  // others, such as meta, have no meaning here
    return is_right || (problem_.empty() && refuse(key, wanted));
  }

  bool take_channels(std::string_view list) {
    result_.names_subscriptions = true;
    JsonArrayReader reader(list);
    std::string_view value;
    JsonStep step;
    while ((step = reader.next(value)) == JsonStep::field) {
      SubscriptionGrant grant;
      if (!text(value, grant.channel)) return false;
      result_.subscriptions.push_back(std::move(grant));
    }
    return step == JsonStep::end;
  }

  bool take_subscriptions(std::string_view object) {
    result_.names_subscriptions = true;
    return each_field(object, [&](std::string_view key, std::string_view value) {
      std::string scratch;
      const auto channel = json_key(key, scratch);
      std::optional<Result> options = read(value, problem_);
      if (!channel || !options || options->is_data_binary) return false;
      SubscriptionGrant grant;
      grant.channel = *channel;
      grant.info_json = std::move(options->info_json);
      grant.data_json = options->data.value_or("");
      grant.expiry.at_s = options->expire_at;
      grant.overrides = options->overrides;
      result_.subscriptions.push_back(std::move(grant));
      return true;
    });
  }

  bool take_overrides(std::string_view object) {
    struct Row {
      std::string_view name;
      std::optional<bool> SubscriptionOverrides::* member;
    };
    static constexpr std::array kRows{
        Row{"presence", &SubscriptionOverrides::presence},
        Row{"join_leave", &SubscriptionOverrides::join_leave},
        Row{"force_push_join_leave", &SubscriptionOverrides::force_push_join_leave},
        Row{"force_recovery", &SubscriptionOverrides::force_recovery},
        Row{"force_positioning", &SubscriptionOverrides::force_positioning}};
    return each_field(object, [&](std::string_view name, std::string_view value) {
      for (const Row& row : kRows) {
        if (row.name != name) continue;
        bool is_on = false;
        const bool is_right = each_field(value, [&](std::string_view key, std::string_view inner) {
          return key != "value" || flag(inner, is_on);
        });
        result_.overrides.*row.member = is_on;
        return is_right;
      }
      return true;
    });
  }

  bool take_tags(std::string_view object) {
    return each_field(object, [&](std::string_view key, std::string_view value) {
      std::string scratch;
      const auto name = json_key(key, scratch);
      std::string tag;
      if (!name || !text(value, tag)) return false;
      result_.publish.tags.emplace_back(*name, std::move(tag));
      return true;
    });
  }

  Result result_;
  std::string problem_;
};

Verdict bad_reply(std::string_view problem) {
  return Verdict::undecided("answered something without a meaning: " + std::string(problem));
}

/// Of `error` or `disconnect`.
Verdict denial_of(std::string_view name, std::string_view object) {
  Verdict verdict;
  std::string scratch;
  const std::string_view text_key = name == "error" ? "message" : "reason";
  const bool is_right = each_field(object, [&](std::string_view key, std::string_view value) {
    if (key == "code") {
      const auto number = json_uint64(value);
      verdict.code = number ? static_cast<std::uint32_t>(std::min<std::uint64_t>(*number, 9'999)) : 0;
      return number.has_value();
    }
    if (key == "temporary") {
      const auto flag = json_bool(value);
      verdict.is_temporary = flag.value_or(false);
      return flag.has_value();
    }
    if (key != text_key) return true;
    const auto text = json_string(value, scratch);
    if (text) verdict.reason = *text;
    return text.has_value();
  });
  const bool is_error = name == "error";
  const bool is_code = is_error ? verdict.code >= 100 && verdict.code <= 1'999
                                : verdict.code >= 3'000 && verdict.code <= 4'999;
  if (!is_right || !is_code) {
    return bad_reply(is_error ? "error: is not an object with a code from 100 to 1999, and a message"
                              : "disconnect: is not an object with a code from 3000 to 4999, and a reason");
  }
  if (verdict.reason.size() > kReasonBytesMax && !is_error)
    return bad_reply("disconnect.reason: is longer than 123 bytes");
  if (verdict.reason.empty()) verdict.reason = is_error ? "error" : "disconnect";
  return verdict;
}

Verdict verdict_of(Operation operation, Result result) {
  Verdict verdict;
  verdict.is_allowed = true;
  switch (operation) {
    case Operation::connect:
    case Operation::refresh:
      verdict.is_allowed = !result.is_expired;
      verdict.identity.user = std::move(result.user);
      verdict.identity.info_json = std::move(result.info_json);
      verdict.identity.expiry.at_s = result.expire_at;
      verdict.identity.data_json = result.data.value_or("");
      verdict.identity.subscriptions = std::move(result.subscriptions);
      verdict.identity.names_subscriptions = result.names_subscriptions;
      break;
    case Operation::subscribe:
    case Operation::sub_refresh:
      verdict.is_allowed = !result.is_expired;
      verdict.subscription.info_json = std::move(result.info_json);
      verdict.subscription.data_json = result.data.value_or("");
      verdict.subscription.expiry.at_s = result.expire_at;
      verdict.subscription.overrides = result.overrides;
      break;
    default:
      verdict.data = std::move(result.data);
      verdict.is_data_binary = result.is_data_binary;
      if (!result.publish.is_usual()) verdict.publish = std::make_shared<const PublishTerms>(result.publish);
      break;
  }
  return verdict;
}

/// Of a reply with neither a result nor a denial.
Verdict verdict_without_result(const HookQuestion& question, bool allows_anonymous) {
  Verdict verdict;
  switch (question.operation) {
    case Operation::connect:
      verdict.is_allowed = question.is_proved || allows_anonymous;
      if (verdict.is_allowed) break;
      verdict.code = kDisconnectBadRequest.code;
      verdict.reason = kDisconnectBadRequest.reason;
      verdict.remark = "the backend has named no user";
      break;
    case Operation::refresh:
    case Operation::sub_refresh:
      break;  // expired
    default:
      verdict.is_allowed = true;
      break;
  }
  return verdict;
}

}  // namespace

Verdict read_backend_reply(const HookQuestion& question, std::string_view body, bool allows_anonymous) {
  std::string_view result;
  std::string_view error;
  std::string_view disconnect;
  const bool is_object = each_field(body, [&](std::string_view key, std::string_view value) {
    if (key == "result") result = value;
    if (key == "error") error = value;
    if (key == "disconnect") disconnect = value;
    return true;
  });
  if (!is_object) return bad_reply("it is not a JSON object");
  Verdict verdict;
  if (!disconnect.empty()) return denial_of("disconnect", disconnect);
  if (!error.empty()) return denial_of("error", error);
  if (result.empty()) {
    verdict = verdict_without_result(question, allows_anonymous);
  } else {
    std::string problem;
    std::optional<Result> read = ResultReader::read(result, problem);
    if (!read) return bad_reply(problem);
    const bool takes_bytes = question.operation == Operation::publish || question.operation == Operation::rpc;
    if (read->is_data_binary && !takes_bytes) return bad_reply("result.b64data: is not JSON text");
    verdict = verdict_of(question.operation, std::move(*read));
  }
  if (question.is_proved && verdict.identity.user.empty()) verdict.identity.user = question.user;
  return verdict;
}

}  // namespace carillon
