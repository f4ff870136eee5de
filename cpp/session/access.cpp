#include "session/access.hpp"

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
  }
  return "";
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
      break;
    case Operation::publish:
      verdict.is_allowed = options.allow_publish;
      break;
    case Operation::presence:
      verdict.is_allowed = options.allow_presence;
      break;
    case Operation::history:
      verdict.is_allowed = options.allow_history;
      break;
    case Operation::connect:
      break;
  }
  verdict.is_allowed = verdict.is_allowed || is_insecure_;
  return verdict;
}

}  // namespace carillon
