// The HTTP API for what acts on live connections.
#include <string>
#include <utility>
#include <vector>

#include "protocol/json_span.hpp"
#include "requests/since.hpp"
#include "requests/store_errors.hpp"
#include "server/api.hpp"
#include "server/connections.hpp"

namespace carillon {

namespace {

ClientFilter filter_of(const ApiRequest& request) {
  return {std::string(request.user), std::string(request.client), std::string(request.session),
          std::vector<std::string>(request.whitelist.begin(), request.whitelist.end())};
}

auto answer_with_connections(HttpHandler::Respond respond) {
  return [respond = std::move(respond)](std::size_t connections) {
    HttpResponse response;
    append_api_connections_result(response.body, connections);
    respond(std::move(response));
  };
}

HttpResponse bad_request(const std::string& problem) { return api_error({kErrorBadRequest, problem}); }

/// For clients whatever their encoding. Nothing: it is not JSON.
std::optional<std::string> json_of(std::string_view raw) {
  if (raw.empty() || is_json_null(raw)) return std::string();
  if (!is_json(raw)) return std::nullopt;
  std::string json;
  append_without_newlines(json, raw);
  return json;
}

HttpResponse subscribe_error(SubscribeAnswer refusal) {
  std::string problem(kErrorInternal.message);
  switch (refusal) {
    case SubscribeAnswer::already_subscribed:
      problem += ": a connection has a subscription to this channel already; unsubscribe it first";
      break;
    case SubscribeAnswer::limit_exceeded:
      problem += ": a connection has as many channels as limits.channels_per_connection allows";
      break;
    default:
      return api_error(kErrorStoreAway);
  }
  return api_error(kErrorInternal, problem);
}

}  // namespace

void Api::disconnect(const ApiRequest& request, Respond respond) const {
  constexpr std::size_t kReasonBytes = 123;  // what a close frame has room for
  if (request.code < 3000 || request.code > 4999)
    return respond(bad_request("disconnect: code: " + std::to_string(request.code) +
                               " is not a close code; give 3000 to 4999"));
  if (request.reason.size() > kReasonBytes)
    return respond(bad_request("disconnect: reason: longer than 123 bytes; shorten it"));
  connections_->disconnect(filter_of(request), static_cast<std::uint16_t>(request.code),
                           std::string(request.reason), answer_with_connections(std::move(respond)));
}

void Api::refresh(const ApiRequest& request, Respond respond) const {
  std::optional<std::string> info = json_of(request.info);
  if (!info) return respond(bad_request("info: not JSON; give any JSON value"));
  const std::int64_t at_s = request.expire_at.value_or(0);
  if (at_s > kFarS) return respond(bad_request("expire_at: is too far; give seconds since 1970"));
  const bool is_over = request.is_expired || (at_s != 0 && at_s <= clock_.wall_ms() / 1000);
  if (is_over) {
    return connections_->disconnect(filter_of(request), kDisconnectConnectionExpired.code,
                                    std::string(kDisconnectConnectionExpired.reason),
                                    answer_with_connections(std::move(respond)));
  }
  connections_->refresh(filter_of(request), {at_s, std::move(*info)},
                        answer_with_connections(std::move(respond)));
}

void Api::subscribe(const ApiRequest& request, Respond respond) const {
  if (const Refusal refusal = channel_refusal(request.channel); refusal.is_refused())
    return respond(api_error(refusal));
  if (!hub_.options_for(request.channel).is_stream())
    return respond(bad_request("channel: has a subscription_type that is not available"));
  SubscriptionGrant grant;
  grant.channel = request.channel;
  std::optional<std::string> info = json_of(request.info);
  std::optional<std::string> data = json_of(request.data);
  if (!info || !data)
    return respond(bad_request(std::string(info ? "b64data" : "b64info") + ": not JSON; give JSON text"));
  grant.info_json = std::move(*info);
  grant.data_json = std::move(*data);
  grant.overrides = {request.presence, request.join_leave, request.force_push_join_leave,
                     request.force_recovery, request.force_positioning};
  if (request.expire_at) {
    if (*request.expire_at > kFarS)
      return respond(bad_request("expire_at: is too far; give seconds since 1970"));
    if (*request.expire_at <= clock_.wall_ms() / 1000)
      return respond(bad_request("expire_at: not in the future; give seconds since 1970-01-01 UTC"));
    grant.expiry.at_s = *request.expire_at;
  }
  std::optional<Since> since;
  if (request.has_since) since = Since::from(request.epoch, request.offset);
  if (!request.since.empty()) {
    since = parse_since(request.since);
    if (!since)
      return respond(bad_request(
          "recover_since: not a position; give epoch:offset or oldest, or an object of offset and epoch"));
  }
  connections_->subscribe(filter_of(request), std::move(grant), since,
                          [respond = std::move(respond)](const Connections::Subscribed& subscribed) {
                            if (subscribed.refusal) return respond(subscribe_error(*subscribed.refusal));
                            HttpResponse response;
                            append_api_connections_result(response.body, subscribed.connections);
                            respond(std::move(response));
                          });
}

void Api::unsubscribe(const ApiRequest& request, Respond respond) const {
  if (const Refusal refusal = channel_refusal(request.channel); refusal.is_refused())
    return respond(api_error(refusal));
  connections_->unsubscribe(filter_of(request), std::string(request.channel),
                            answer_with_connections(std::move(respond)));
}

}  // namespace carillon
