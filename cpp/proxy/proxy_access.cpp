#include "proxy/proxy_access.hpp"

#include <algorithm>
#include <utility>

#include "protocol/centrifuge_codes.hpp"
#include "proxy/backend_reply.hpp"
#include "proxy/backend_request.hpp"

namespace carillon {

namespace {

constexpr Millis kTellPauseMs = 1'000;
constexpr std::array kProxied{Operation::connect, Operation::refresh,     Operation::subscribe,
                              Operation::publish, Operation::sub_refresh, Operation::rpc};

thread_local ProxyAccess::Backends* backends_of_this_thread = nullptr;

/// Of a question without an answer, for its client.
std::string consequence_of(Operation operation, Millis retry_ms) {
  if (operation != Operation::refresh && operation != Operation::sub_refresh)
    return "its clients are asked to try again";
  return (operation == Operation::refresh ? "the connections go on" : "the subscriptions go on") +
         std::string(", and it is asked again after ") + std::to_string(retry_ms) +
         " ms (limits.refresh_retry_ms)";
}

bool is_enabled_in(const ChannelOptions& options, Operation operation) {
  if (operation == Operation::subscribe) return options.subscribe_proxy_enabled;
  if (operation == Operation::publish) return options.publish_proxy_enabled;
  return operation == Operation::sub_refresh && options.sub_refresh_proxy_enabled;
}

}  // namespace

ProxyAccess::ProxyAccess(Parts parts) : parts_(std::move(parts)), allows_anonymous_(parts_.allows_anonymous) {
  const ProxyOptions& options = parts_.options;
  for (const Operation operation : kProxied) {
    const auto index = static_cast<std::size_t>(operation);
    const ProxyEndpoint* const endpoint = options.of(operation);
    std::string problem;
    if (endpoint != nullptr) urls_.at(index) = parse_endpoint_url(endpoint->endpoint, problem);
    if (!urls_.at(index)) continue;
    if (operation == Operation::connect || operation == Operation::refresh) {
      is_used_.at(index) = true;
    } else if (operation == Operation::rpc) {
      is_used_.at(index) = options.has_rpc_without_namespace ||
                           std::any_of(options.rpc_namespaces.begin(), options.rpc_namespaces.end(),
                                       [](const auto& name_space) { return name_space.second; });
    } else {
      is_used_.at(index) = true;  // where, say the options of the channels, which a reload may exchange
    }
  }
}

bool ProxyAccess::asks(Operation operation, std::string_view subject) const {
  if (!is_used(operation)) return false;
  if (operation == Operation::connect || operation == Operation::refresh) return true;
  if (operation == Operation::rpc) return parts_.options.carries_out(subject);
  const ChannelOptions& channel = parts_.rules.options_for(subject);
  if (!is_enabled_in(channel, operation)) return false;
  if (operation != Operation::subscribe) return true;
  // A token decides on the one, the name of the channel on the other.
  const bool is_user_limited = channel.allow_user_limited && subject.find('#') != std::string_view::npos;
  return !subject.starts_with('$') && !is_user_limited;
}

bool ProxyAccess::wants_request(Operation operation) const {
  const ProxyEndpoint* const endpoint = is_used(operation) ? parts_.options.of(operation) : nullptr;
  return (endpoint != nullptr && !endpoint->http_headers.empty()) || parts_.next.wants_request(operation);
}

std::optional<Verdict> ProxyAccess::answer(const Question& question) const {
  if (asks(question.operation, question.subject())) return std::nullopt;
  return parts_.next.answer(question);
}

void ProxyAccess::ask(const Question& question, std::function<void(Verdict)> then) {
  if (!asks(question.operation, question.subject())) return parts_.next.ask(question, std::move(then));
  const bool is_command = question.transport != Transport::sse && question.transport != Transport::poll;
  if (question.operation == Operation::connect && is_command) {
    then = [then =
                std::move(then)](Verdict verdict) {  // the family answers that with an error of the command
      if (verdict.is_undecided) verdict.code = kErrorInternal.code;
      then(std::move(verdict));
    };
  }
  Backends* const backends = backends_of_this_thread;
  if (backends == nullptr) return then(Verdict::undecided("the server does not run"));
  backends->at(static_cast<std::size_t>(question.operation))
      ->ask(HookQuestion::of(question), std::move(then));
}

std::unique_ptr<Backend> ProxyAccess::make_backend(Operation operation, MakeBackendLink make_link,
                                                   std::function<void()> on_change) {
  const ProxyEndpoint& endpoint = *parts_.options.of(operation);
  const EndpointUrl& url = *urls_.at(static_cast<std::size_t>(operation));
  const Limits& limits = parts_.limits;
  const Backend::Settings settings{endpoint.timeout_ms,
                                   static_cast<std::size_t>(limits.proxy_requests),
                                   static_cast<std::size_t>(limits.proxy_waiting),
                                   static_cast<std::size_t>(limits.proxy_waiting_bytes),
                                   static_cast<std::size_t>(limits.proxy_idle_connections),
                                   limits.proxy_idle_timeout_ms};
  return std::make_unique<Backend>(
      settings, parts_.clock, counters_,
      Backend::Parts{std::move(make_link),
                     [&endpoint, &url](const HookQuestion& question) {
                       return backend_request_of(question, endpoint, url);
                     },
                     [this](const HookQuestion& question, const std::string& body) {
                       return read_backend_reply(question, body, allows_anonymous_);
                     },
                     [this, operation](const std::string& problem) { tell(operation, problem); },
                     std::move(on_change)});
}

void ProxyAccess::bind_to_this_thread(Backends* backends) { backends_of_this_thread = backends; }

void ProxyAccess::tell(Operation operation, const std::string& problem) {
  Told& told = told_.at(static_cast<std::size_t>(operation));
  const std::lock_guard lock(told.mutex);
  ++told.left;
  told.problem = problem;
  const Millis now = parts_.clock.now_ms();
  if (told.is_first || now >= told.last_ms + kTellPauseMs) tell_all(operation, told, now);
}

void ProxyAccess::keep_house() {
  const Millis now = parts_.clock.now_ms();
  for (const Operation operation : kProxied) {
    Told& told = told_.at(static_cast<std::size_t>(operation));
    const std::lock_guard lock(told.mutex);
    if (told.left > 0 && now >= told.last_ms + kTellPauseMs) tell_all(operation, told, now);
  }
}

void ProxyAccess::tell_all(Operation operation, Told& told, Millis now_ms) {
  const ProxyEndpoint* const endpoint = parts_.options.of(operation);
  const std::string_view url = endpoint->endpoint;
  std::string message = std::string(ProxyOptions::table_of(operation)) + ": the backend at " +
                        std::string(url.substr(0, url.find('?'))) + " " + told.problem + "; " +
                        consequence_of(operation, parts_.limits.refresh_retry_ms);
  if (told.left > 1) {
    const Millis tenths = (now_ms - told.last_ms + 50) / 100;
    message += " (" + std::to_string(told.left - 1) + " more like this in the last " +
               std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " s)";
  }
  told.is_first = false;
  told.last_ms = now_ms;
  parts_.tell(std::move(message), std::exchange(told.left, 0));
}

}  // namespace carillon
