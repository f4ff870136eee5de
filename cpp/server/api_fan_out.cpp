// The HTTP API for members, inboxes and strategies.
#include <string>
#include <utility>
#include <vector>

#include "protocol/centrifuge_codes.hpp"
#include "requests/checks.hpp"
#include "server/api.hpp"
#include "server/fleet_strategies.hpp"
#include "session/inbox_answer.hpp"

namespace carillon {

void Api::call_fan_out(ApiMethod method, const ApiRequest& request, Respond respond) {
  if (!request.channel.empty() && is_channel_name(request.channel, limits_) &&
      !hub_.is_known(request.channel))
    return respond(api_error(kErrorUnknownChannel));
  switch (method) {
    case ApiMethod::add_members:
    case ApiMethod::remove_members:
      return change_members(method, request, std::move(respond));
    case ApiMethod::members:
      return members(request, std::move(respond));
    case ApiMethod::inbox:
    case ApiMethod::unread:
      return inbox(request, method == ApiMethod::unread, std::move(respond));
    case ApiMethod::mark_read:
      return mark_read(request, std::move(respond));
    case ApiMethod::set_fanout:
      return set_fan_out(request, respond);
    default:
      return fan_out(request, respond);
  }
}

void Api::change_members(ApiMethod method, const ApiRequest& request, Respond respond) {
  const std::vector<std::string> users(request.users.begin(), request.users.end());
  auto done = [respond = std::move(respond)](const Refusal& refusal, const MembersResult& result) {
    if (refusal.is_refused()) return respond(api_error(refusal));
    HttpResponse response;
    append_api_members_result(response.body, result.members);
    respond(std::move(response));
  };
  if (method == ApiMethod::add_members) {
    fan_out_requests_.add_members(request.channel, users, std::move(done));
  } else {
    fan_out_requests_.remove_members(request.channel, users, std::move(done));
  }
}

void Api::members(const ApiRequest& request, Respond respond) {
  fan_out_requests_.members(
      request.channel, request.after, request.items_max,
      [respond = std::move(respond)](const Refusal& refusal, const MembersResult& result) {
        if (refusal.is_refused()) return respond(api_error(refusal));
        HttpResponse response;
        append_api_member_list_result(response.body, result.users, result.members);
        respond(std::move(response));
      });
}

void Api::inbox(const ApiRequest& request, bool is_counting, Respond respond) {
  const std::optional<std::int64_t> limit = is_counting ? 0 : request.items_max;
  const std::size_t bytes_max = limits_.reply_bytes();
  fan_out_requests_.inbox(
      request.user, limit,
      [respond = std::move(respond), is_counting, bytes_max](const Refusal& refusal, const Inbox& inbox) {
        if (refusal.is_refused()) return respond(api_error(refusal));
        std::string result;
        if (is_counting) {
          append_unread(result, inbox, bytes_max);
        } else {
          append_inbox(result, inbox, bytes_max);
        }
        HttpResponse response;
        append_api_result(response.body, result);
        respond(std::move(response));
      });
}

void Api::mark_read(const ApiRequest& request, Respond respond) {
  fan_out_requests_.mark_read(request.user, request.channel, request.offset,
                              [respond = std::move(respond)](const Refusal& refusal, StoreError /*error*/) {
                                if (refusal.is_refused()) return respond(api_error(refusal));
                                HttpResponse response;
                                append_api_result(response.body, "{}");
                                respond(std::move(response));
                              });
}

void Api::set_fan_out(const ApiRequest& request, const Respond& respond) {
  const Refusal refusal = strategies_->set_fan_out(request.channel, request.strategy, request.threshold);
  if (refusal.is_refused()) return respond(api_error(refusal));
  fan_out(request, respond);
}

void Api::fan_out(const ApiRequest& request, const Respond& respond) {
  if (const Refusal refusal = fan_out_requests_.check_channel(request.channel); refusal.is_refused())
    return respond(api_error(refusal));
  const FanOutState state = hub_.fan_out(request.channel);
  HttpResponse response;
  append_api_fanout_result(response.body, {name_of(state.strategy), name_of(state.mode), state.threshold,
                                           state.members, state.subscribers, state.switches});
  respond(std::move(response));
}

}  // namespace carillon
