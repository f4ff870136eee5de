// Remote procedure calls: the inbox of a client's own user, and the methods that hooks carry out.
#include <optional>
#include <string>
#include <utility>

#include "client/centrifuge_client.hpp"
#include "protocol/json_span.hpp"
#include "requests/checks.hpp"
#include "requests/fan_out_requests.hpp"
#include "requests/store_errors.hpp"
#include "session/inbox_answer.hpp"

namespace carillon {

namespace {

/// What the methods take; each ignores what is not its own.
struct RpcArguments {
  std::optional<std::int64_t> limit;
  std::string channel;
  Offset offset = 0;
};

std::optional<RpcArguments> read_arguments(std::string_view data) {
  RpcArguments arguments;
  if (data.empty() || is_json_null(data)) return arguments;
  JsonObjectReader reader(data);
  std::string_view key;
  std::string_view value;
  std::string scratch;
  JsonStep step;
  while ((step = reader.next(key, value)) == JsonStep::field) {
    if (is_json_null(value)) continue;
    if (key == "limit") {
      arguments.limit = json_int64(value);
      if (!arguments.limit) return std::nullopt;
    } else if (key == "channel") {
      const auto text = json_string(value, scratch);
      if (!text) return std::nullopt;
      arguments.channel = *text;
    } else if (key == "offset") {
      const auto number = json_uint64(value);
      if (!number) return std::nullopt;
      arguments.offset = *number;
    }
  }
  if (step == JsonStep::malformed) return std::nullopt;
  return arguments;
}

}  // namespace

bool CentrifugeClient::handle_rpc(const Command& command) {
  const bool is_inbox = command.method == "carillon.inbox";
  const bool is_unread = command.method == "carillon.unread";
  if (!is_inbox && !is_unread && command.method != "carillon.mark_read") return ask_rpc(command);
  if (command.is_binary) {
    reply_error(command.id, kErrorNotJson);
    return true;
  }
  if (user_.empty()) {  // nobody's inbox
    reply_error(command.id, kErrorPermissionDenied);
    return true;
  }
  const std::optional<RpcArguments> arguments = read_arguments(command.data);
  auto answer = rpc_answer(command.id);
  if (!arguments) {
    answer({kErrorBadRequest, "data: is not valid; give an object with limit, or with channel and offset"},
           {});
    return true;
  }
  if (!is_inbox && !is_unread) {
    mark_read(arguments->channel, arguments->offset, std::move(answer));
    return true;
  }
  const std::size_t bytes_max = context_.limits.reply_bytes();
  FanOutRequests(context_.hub, context_.limits)
      .inbox(user_, is_unread ? 0 : arguments->limit,
             [answer = std::move(answer), is_unread, bytes_max](const Refusal& refusal, const Inbox& inbox) {
               std::string data;
               if (is_unread) {
                 append_unread(data, inbox, bytes_max);
               } else {
                 append_inbox(data, inbox, bytes_max);
               }
               answer(refusal, std::move(data));
             });
  return true;
}

bool CentrifugeClient::ask_rpc(const Command& command) {
  if (!context_.access.asks_hook(Operation::rpc, command.method)) {
    // Where nobody carries out calls at all, that is told in another way than a name that is misspelt.
    const bool is_misspelt =
        command.method.starts_with("carillon.") || context_.access.has_hook(Operation::rpc);
    reply_error(command.id, is_misspelt ? kErrorMethodNotFound : kErrorNotAvailable);
    return true;
  }
  Question asked = question(Operation::rpc, {}, command.data);
  asked.method = command.method;
  asked.own_data = std::make_shared<const std::string>(command.data);
  ask(asked, [this, id = command.id, ticket = lanes_.defer(),
              method = std::string(command.method)](const Verdict& verdict) {
    if (!lanes_.is_wanted(ticket)) return;  // the connection has ended
    if (verdict.is_allowed) {
      reply([&](std::string& out) {
        codec_.encode_rpc(out, id, verdict.data ? *verdict.data : std::string(), verdict.is_data_binary);
      });
    } else {
      deny(id, Operation::rpc, method, verdict);
    }
    finish(ticket);
  });
  return true;
}

void CentrifugeClient::mark_read(std::string_view channel, Offset offset,
                                 std::function<void(const Refusal&, std::string)> answer) {
  if (offset == 0) {
    return answer(
        {kErrorBadRequest, "offset: is missing or 0; give that of the last publication that was read"}, {});
  }
  const FanOutRequests requests(context_.hub, context_.limits);
  if (!is_channel_name(channel, context_.limits)) {
    return requests.mark_read(user_, channel, offset, [answer](const Refusal& refusal, StoreError /*error*/) {
      answer(refusal, {});
    });
  }
  if (!context_.hub.is_known(channel)) return answer({kErrorUnknownChannel, ""}, {});
  // Only a channel that the user has something in is touched: others are not made by asking for them.
  context_.hub.unread(user_, channel,
                      [requests, user = user_, channel = std::string(channel), offset,
                       answer = std::move(answer)](const UnreadResult& unread) {
                        if (unread.error != StoreError::none) return answer({kErrorStoreAway, ""}, {});
                        if (unread.publications == 0) return answer({}, "{}");
                        requests.mark_read(
                            user, channel, offset,
                            [answer](const Refusal& later, StoreError /*error*/) { answer(later, "{}"); });
                      });
}

std::function<void(const Refusal&, std::string)> CentrifugeClient::rpc_answer(std::uint32_t id) {
  return answer_with(
      lanes_.defer(), [id](CentrifugeClient& session, const Refusal& refusal, const std::string& data) {
        if (!refusal.is_refused()) {
          return session.reply([&](std::string& out) { session.codec_.encode_rpc(out, id, data, false); });
        }
        const std::string message = refusal.message();
        session.reply_error(id, {refusal.error.code, message, refusal.error.is_temporary});
      });
}

}  // namespace carillon
