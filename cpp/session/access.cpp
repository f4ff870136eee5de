#include "session/access.hpp"

#include <algorithm>
#include <array>

#include "session/http_message.hpp"

namespace carillon {

namespace {

constexpr char kPrivatePrefix = '$';
constexpr char kUserBoundary = '#';
constexpr char kUserSeparator = ',';
constexpr std::string_view kNeedsToken = "a channel whose name begins with $ needs a subscription token";
constexpr std::string_view kNotListed = "the name of the channel does not list this user";

/// The options that grant an operation.
struct GrantRow {
  Operation operation;
  bool ChannelOptions::* client;
  bool ChannelOptions::* subscriber;  // null: there is none
  bool ChannelOptions::* anonymous;   // needed as well
  std::string_view client_name;
  std::string_view anonymous_name;
  std::string_view both_names;
};

constexpr std::array kGrants{
    GrantRow{Operation::subscribe, &ChannelOptions::allow_subscribe, nullptr,
             &ChannelOptions::allow_subscribe_for_anonymous, "allow_subscribe_for_client",
             "allow_subscribe_for_anonymous", "allow_subscribe_for_client and allow_subscribe_for_anonymous"},
    GrantRow{Operation::publish, &ChannelOptions::allow_publish,
             &ChannelOptions::allow_publish_for_subscriber, &ChannelOptions::allow_publish_for_anonymous,
             "allow_publish_for_client", "allow_publish_for_anonymous",
             "allow_publish_for_client and allow_publish_for_anonymous"},
    GrantRow{Operation::presence, &ChannelOptions::allow_presence,
             &ChannelOptions::allow_presence_for_subscriber, &ChannelOptions::allow_presence_for_anonymous,
             "allow_presence_for_client", "allow_presence_for_anonymous",
             "allow_presence_for_client and allow_presence_for_anonymous"},
    GrantRow{Operation::history, &ChannelOptions::allow_history,
             &ChannelOptions::allow_history_for_subscriber, &ChannelOptions::allow_history_for_anonymous,
             "allow_history_for_client", "allow_history_for_anonymous",
             "allow_history_for_client and allow_history_for_anonymous"},
};

const GrantRow* grants_of(Operation operation) {
  const auto* const row = std::find_if(kGrants.begin(), kGrants.end(),
                                       [&](const GrantRow& each) { return each.operation == operation; });
  return row == kGrants.end() ? nullptr : row;
}

bool is_user_limited(std::string_view channel) {
  return channel.find(kUserBoundary) != std::string_view::npos;
}

// Is the user one of those behind the last boundary? Nobody without a user is.
bool is_listed(std::string_view channel, std::string_view user) {
  if (user.empty()) return false;
  std::string_view users = channel.substr(channel.rfind(kUserBoundary) + 1);
  while (!users.empty()) {
    const std::size_t end = std::min(users.find(kUserSeparator), users.size());
    if (users.substr(0, end) == user) return true;
    users.remove_prefix(std::min(end + 1, users.size()));
  }
  return false;
}

}  // namespace

std::string_view name_of(Transport transport) {
  switch (transport) {
    case Transport::websocket:
      return "websocket";
    case Transport::sse:
      return "sse";
    case Transport::poll:
      return "poll";
    case Transport::http:
      return "http";
    case Transport::http_stream:
      return "http_stream";
    case Transport::emulated_sse:
      return "emulated_sse";
    case Transport::uni_websocket:
      return "uni_websocket";
    case Transport::uni_sse:
      return "uni_sse";
    case Transport::uni_http_stream:
      return "uni_http_stream";
  }
  return "";
}

std::string_view name_of(Operation operation) {
  switch (operation) {
    case Operation::connect:
      return "connect";
    case Operation::subscribe:
      return "subscribe";
    case Operation::publish:
      return "publish";
    case Operation::presence:
      return "presence";
    case Operation::history:
      return "history";
    case Operation::refresh:
      return "refresh";
    case Operation::sub_refresh:
      return "sub_refresh";
    case Operation::rpc:
      return "rpc";
    case Operation::disconnect:
      return "disconnect";
  }
  return "";
}

std::string_view ClientRequest::token(std::string_view cookie_name) const {
  if (const auto bearer = credentials_of(header("authorization"), "Bearer")) return *bearer;
  if (const std::string_view given = parameter("token"); !given.empty() || cookie_name.empty()) return given;
  const std::string_view site = header("sec-fetch-site");  // an origin that is not allowed was refused before
  const bool is_ours = site.empty() || site == "same-origin" || !header("origin").empty();
  return is_ours ? cookie(cookie_name) : std::string_view();
}

std::string_view ClientRequest::header(std::string_view name) const {
  const auto found =
      std::find_if(headers.begin(), headers.end(), [name](const auto& each) { return each.first == name; });
  return found == headers.end() ? std::string_view() : std::string_view(found->second);
}

std::string_view ClientRequest::cookie(std::string_view name) const {
  std::string_view rest = header("cookie");
  while (!rest.empty()) {
    std::string_view pair = rest.substr(0, rest.find(';'));
    rest.remove_prefix(std::min(rest.size(), pair.size() + 1));
    pair.remove_prefix(std::min(pair.find_first_not_of(' '), pair.size()));
    const std::size_t equals = pair.find('=');
    if (equals == std::string_view::npos || pair.substr(0, equals) != name) continue;
    std::string_view value = pair.substr(equals + 1);
    if (value.size() >= 2 && value.starts_with('"') && value.ends_with('"'))
      value = value.substr(1, value.size() - 2);
    return value;
  }
  return {};
}

std::string_view ClientRequest::parameter(std::string_view name) const {
  const auto found = std::find_if(query.begin(), query.end(),
                                  [name](const auto& parameter) { return parameter.first == name; });
  return found == query.end() ? std::string_view() : found->second;
}

std::size_t ClientRequest::bytes() const {
  std::size_t bytes = sizeof(*this) + address.size();
  for (const Fields* fields : {&headers, &query}) {
    for (const auto& [name, value] : *fields)
      bytes += sizeof(Fields::value_type) + name.size() + value.size();
  }
  return bytes;
}

std::optional<Verdict> RulesAccess::answer(const Question& question) const {
  if (question.operation != Operation::connect) return decide(question, rules_.options_for(question.channel));
  std::optional<Verdict> verdict(std::in_place);
  verdict->is_allowed = true;
  if (is_insecure_) verdict->identity.user = question.claimed_user;
  return verdict;
}

std::optional<Verdict> RulesAccess::decide(const Question& question, const ChannelOptions& options) const {
  std::optional<Verdict> decided(std::in_place);  // a verdict is large: it is made where the caller reads it
  Verdict& verdict = *decided;
  const GrantRow* const row = grants_of(question.operation);
  if (row == nullptr) {
    verdict.is_allowed = is_insecure_;
    return decided;
  }
  if (question.operation == Operation::subscribe) {
    if (question.channel.starts_with(kPrivatePrefix)) {
      verdict.reason = kNeedsToken;
      return decided;
    }
    if (options.allow_user_limited && is_user_limited(question.channel)) {
      verdict.is_allowed = is_insecure_ || is_listed(question.channel, question.user);
      if (!verdict.is_allowed) verdict.reason = kNotListed;
      return decided;
    }
  }
  const bool is_anonymous = question.user.empty();
  const bool is_granted = options.*(row->client) || (row->subscriber != nullptr && question.is_subscribed &&
                                                     options.*(row->subscriber));
  const bool may_be_anonymous = !is_anonymous || options.*(row->anonymous);
  verdict.is_allowed = is_insecure_ || (is_granted && may_be_anonymous);
  if (verdict.is_allowed) return decided;
  verdict.option = may_be_anonymous ? row->client_name : is_granted ? row->anonymous_name : row->both_names;
  return decided;
}

}  // namespace carillon
