#include "session/access.hpp"

#include <algorithm>

#include "session/http_message.hpp"

namespace carillon {

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
  }
  return "";
}

std::string_view ClientRequest::token() const {
  const auto authorization = std::find_if(headers.begin(), headers.end(),
                                          [](const auto& header) { return header.first == "authorization"; });
  if (authorization != headers.end()) {
    if (const auto bearer = credentials_of(authorization->second, "Bearer")) return *bearer;
  }
  return parameter("token");
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
  Verdict verdict;
  if (question.operation == Operation::connect) {
    verdict.is_allowed = true;
    if (is_insecure_) verdict.identity.user = question.claimed_user;
    return verdict;
  }
  const ChannelOptions& options = rules_.options_for(question.channel);
  switch (question.operation) {
    case Operation::subscribe:
      verdict.is_allowed = options.allow_subscribe;
      verdict.option = "allow_subscribe_for_client";
      break;
    case Operation::publish:
      verdict.is_allowed = options.allow_publish;
      verdict.option = "allow_publish_for_client";
      break;
    case Operation::presence:
      verdict.is_allowed = options.allow_presence;
      verdict.option = "allow_presence_for_client";
      break;
    case Operation::history:
      verdict.is_allowed = options.allow_history;
      verdict.option = "allow_history_for_client";
      break;
    case Operation::connect:
    case Operation::refresh:
    case Operation::sub_refresh:
    case Operation::rpc:
      break;
  }
  verdict.is_allowed = verdict.is_allowed || is_insecure_;
  return verdict;
}

}  // namespace carillon
