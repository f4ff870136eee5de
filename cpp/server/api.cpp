#include "server/api.hpp"

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include "metrics/exposition.hpp"
#include "protocol/centrifuge_codes.hpp"
#include "protocol/centrifuge_json.hpp"
#include "protocol/json_span.hpp"
#include "protocol/json_writer.hpp"
#include "protocol/query.hpp"
#include "protocol/utf8.hpp"
#include "requests/checks.hpp"
#include "requests/since.hpp"
#include "requests/store_errors.hpp"
#include "server/fleet_channels.hpp"
#include "server/fleet_nodes.hpp"
#include "server/ledger_document.hpp"
#include "server/openapi.hpp"
#include "session/forms.hpp"

namespace carillon {

namespace {

constexpr std::string_view kApiPath = "/api/";
constexpr std::string_view kMetricsPath = "/metrics";
constexpr std::string_view kOpenApiPath = "/api/openapi.json";

/// Compares in a time that does not depend on how much of the key is right.
bool is_same_key(std::string_view given, std::string_view wanted) {
  if (given.size() != wanted.size()) return false;
  unsigned difference = 0;
  for (std::size_t i = 0; i < given.size(); ++i) {
    difference |=
        static_cast<unsigned>(static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(wanted[i]));
  }
  return difference == 0;
}

Publication publication_of(const ApiRequest& request) {
  return {.data = std::string(request.data),
          .content = request.is_json ? ContentType::json : ContentType::binary,
          .has_delta = request.has_delta,
          .info_json = {},
          .tags = request.tags,
          .key = std::string(request.key)};
}

Refusal no_history() {
  return {kErrorNotAvailable, "this channel has no history; set its options history_size and history_ttl"};
}

/// The status of an error in the mode `transport`.
int status_of(std::uint64_t code) {
  switch (code) {
    case 102:
    case 104:
      return 404;
    case 107:
    case 108:
      return 400;
    case 112:
      return 416;
    case 113:
      return 409;
    default:
      return 500;
  }
}

std::string message_of_error(std::string_view error) {
  JsonObjectReader reader(error);
  std::string_view key;
  std::string_view value;
  std::string scratch;
  while (reader.next(key, value) == JsonStep::field) {
    if (key == "message") return std::string(json_string(value, scratch).value_or(""));
  }
  return {};
}

/// The same answer in the mode `transport`: an error is the body, and has a status of its own.
HttpResponse with_status(HttpResponse response) {
  if (response.status != 200) return response;
  const ApiAnswerParts parts = parts_of_api_answer(response.body);
  if (parts.error.empty()) return response;
  response.status = status_of(parts.code);
  response.reason = message_of_error(parts.error);  // for its record
  response.body = std::string(parts.error);
  return response;
}

/// Reads the query, or returns why it is refused.
std::string_view read_history_query(const ApiRequest& request, HistoryQuery& query) {
  static constexpr std::int64_t kUsual = 100;
  const bool has_since = request.has_since || !request.since.empty();
  if (request.last && (has_since || request.limit || request.is_reverse))
    return "last: give it alone, without since, limit and reverse";
  query.limit = request.limit.value_or(kUsual);
  query.is_reverse = request.is_reverse;
  if (request.last) {
    query.since = Since::last(*request.last);
  } else if (request.has_since) {
    query.since = Since::from(request.epoch, request.offset);
  } else if (has_since) {
    query.since = parse_since(request.since);
    if (!query.since)
      return "since: not a position; give epoch:offset or oldest, or an object of offset and epoch";
  } else if (!request.limit && !request.is_reverse) {
    query.since = Since::last(kUsual);
  }
  if (query.is_reverse && query.since && query.since->offset == 0)
    return "since: there is nothing before offset 0; leave it out to read from the newest publication";
  return {};
}

}  // namespace

HttpResponse api_error(const ErrorCode& code, std::string_view message) {
  HttpResponse response;
  append_api_error(response.body, code.code, message.empty() ? code.message : message);
  return response;
}

namespace {

PublishOptions options_of(const ApiRequest& request) {
  PublishOptions options;
  options.idempotency_key = request.idempotency_key;
  options.skip_history = request.is_history_skipped;
  options.expected_offset = request.expected_offset;
  options.version = {request.version, request.version_epoch};
  return options;
}

void append_publish_answer(std::string& out, const AppendResult& result, bool has_version,
                           std::optional<Offset> expected) {
  const auto [epoch, offset] = result.position;
  if (result.error == StoreError::none) return append_api_publish_result(out, offset, epoch.text());
  if (result.error != StoreError::conflict)
    return append_api_error(out, kErrorInternal.code, change_error(result.error, true).message);
  // As in the Centrifuge family, an old version is no error: the newer one is there.
  if (has_version && expected.value_or(offset) == offset)
    return append_api_skipped_result(out, offset, epoch.text());
  append_api_conflict(out, offset, epoch.text());
}

}  // namespace

HttpResponse api_error(const Refusal& refusal) { return api_error(refusal.error, refusal.message()); }

Api::Api(Hub& hub, const Limits& limits, const Clock& clock, Options options,
         std::map<std::string, StaticPage> pages)
    : hub_(hub),
      limits_(limits),
      fan_out_requests_(hub, limits),
      clock_(clock),
      options_(std::move(options)),
      pages_([&] {
        pages.insert_or_assign(std::string(kOpenApiPath),
                               StaticPage{"application/json", openapi(options_.version)});
        return std::move(pages);
      }()) {}

HttpResponse Api::without_key() const {
  HttpResponse refusal = http_error(
      401, options_.key.empty()
               ? "the HTTP API is closed: set http_api.key in the configuration, and send it as X-API-Key"
               : "the API key is missing or wrong: send the value of http_api.key as X-API-Key");
  refusal.headers = {{"WWW-Authenticate", "ApiKey"}};
  return refusal;
}

std::optional<HttpResponse> Api::refusal_of(const HttpRequest& head, const HttpTarget& target,
                                            bool is_internal) const {
  if (target.path.starts_with(kApiPath) && target.path != kOpenApiPath) {
    const std::string_view name = std::string_view(target.path).substr(kApiPath.size());
    if (!find_api_method(name)) return http_error(404, unknown_api_method(name));
    if (head.method != "POST") {
      HttpResponse refusal = http_error(405, "the HTTP API takes POST");
      refusal.headers = {{"Allow", "POST, OPTIONS"}};
      return refusal;
    }
    if (is_authorized(head, target)) return std::nullopt;
    return without_key();
  }
  const bool is_metrics = target.path == kMetricsPath;
  if (is_metrics && !options_.has_metrics)
    return http_error(404, "there are no metrics: prometheus.enabled is false");
  if (is_metrics && !is_internal && options_.has_internal_address)
    return http_error(404, "metrics are at http_server.internal_port");
  if (!is_metrics && !pages_.contains(target.path)) return http_error(404, "nothing is at this path");
  if (head.method == "GET" || head.method == "HEAD") {
    if (!is_metrics || is_internal || is_authorized(head, target)) return std::nullopt;
    return without_key();
  }
  HttpResponse refusal = http_error(405, "this page takes GET");
  refusal.headers = {{"Allow", "GET, HEAD, OPTIONS"}};
  return refusal;
}

void Api::handle(const HttpRequest& request, BodyBudget::Share body_memory, const HttpTarget& target,
                 Respond respond) {
  if (target.path.starts_with(kApiPath) && target.path != kOpenApiPath) {
    if (options_.has_transport_errors || request.header("x-centrifugo-error-mode") == "transport") {
      respond = [respond = std::move(respond)](HttpResponse&& response) {
        respond(with_status(std::move(response)));
      };
    }
    const auto method = find_api_method(std::string_view(target.path).substr(kApiPath.size()));
    return call(*method, request.body, std::move(body_memory), std::move(respond));
  }
  HttpResponse response;
  if (target.path == kMetricsPath) {
    response.content_type = Exposition::kContentType;
    response.body = metrics_();
    return respond(std::move(response));
  }
  const StaticPage& page = pages_.at(target.path);
  response.content_type = page.content_type;
  response.body = page.body;
  respond(std::move(response));
}

bool Api::is_authorized(const HttpRequest& head, const HttpTarget& target) const {
  if (options_.key.empty()) return options_.is_insecure;
  if (is_same_key(head.header("x-api-key"), options_.key)) return true;
  const auto credentials = credentials_of(head.header("authorization"), "ApiKey");
  if (credentials && is_same_key(*credentials, options_.key)) return true;
  return is_same_key(target.find("api_key").value_or(""), options_.key);
}

std::optional<HttpResponse> Api::undecoded(ApiDecode decoded, const ApiRequest& request) const {
  switch (decoded) {
    case ApiDecode::malformed:
      return http_error(400, request.problem);
    case ApiDecode::bad_request:
      return api_error({kErrorBadRequest, request.problem});
    case ApiDecode::too_deep:
      return api_error(kErrorTooDeep);
    case ApiDecode::ok:
      break;
  }
  return std::nullopt;
}

void Api::call(ApiMethod method, std::string_view body, BodyBudget::Share body_memory, Respond respond) {
  if (method == ApiMethod::broadcast)
    return broadcast({std::string(body), std::move(body_memory)}, std::move(respond));
  if (method == ApiMethod::batch)
    return batch({std::string(body), std::move(body_memory)}, std::move(respond));
  ApiRequest request;
  std::string scratch;
  const ApiDecode decoded = decode_api_request(method, body, request, scratch);
  if (auto refusal = undecoded(decoded, request)) return respond(std::move(*refusal));
  switch (method) {
    case ApiMethod::publish:
      return publish(request, std::move(respond));
    case ApiMethod::history:
      return history(request, std::move(respond));
    case ApiMethod::presence:
      return presence(request, false, std::move(respond));
    case ApiMethod::presence_stats:
      return presence(request, true, std::move(respond));
    case ApiMethod::channels:
      return channels(request, std::move(respond));
    case ApiMethod::history_remove:
      return remove_history(request, respond);
    case ApiMethod::subscribe:
      return subscribe(request, std::move(respond));
    case ApiMethod::unsubscribe:
      return unsubscribe(request, std::move(respond));
    case ApiMethod::disconnect:
      return disconnect(request, std::move(respond));
    case ApiMethod::refresh:
      return refresh(request, std::move(respond));
    case ApiMethod::rpc:
      return respond(api_error(
          {kErrorMethodNotFound, "method: " + in_quotes(request.method) + " is none of this server"}));
    case ApiMethod::info:
      return info(std::move(respond));
    case ApiMethod::stats:
      return stats(respond);
    case ApiMethod::ledger:
      return ledger(request, std::move(respond));
    case ApiMethod::drain:
      return drain(request, respond);
    case ApiMethod::reload:
      return begin_reload_(std::move(respond));
    default:
      return call_fan_out(method, request, std::move(respond));
  }
}

void Api::drain(const ApiRequest& request, const Respond& respond) const {
  constexpr std::uint64_t kDayMs = 86'400'000;
  if (request.deadline_ms.value_or(0) > kDayMs || request.pace_ms.value_or(0) > kDayMs)
    return respond(
        api_error({kErrorBadRequest, "deadline_ms, pace_ms: more than a day; give 86400000 at most"}));
  DrainRequest wanted;
  if (request.deadline_ms) wanted.deadline_ms = static_cast<Millis>(*request.deadline_ms);
  if (request.pace_ms) wanted.pace_ms = static_cast<Millis>(*request.pace_ms);
  if (request.port) wanted.port = static_cast<std::uint16_t>(std::min<std::uint64_t>(*request.port, 65'535));
  const std::optional<std::size_t> connections = begin_drain_(wanted);
  if (!connections) return respond(api_error({kErrorBadRequest, "port: this server does not listen there"}));
  HttpResponse response;
  append_api_connections_result(response.body, *connections);
  respond(std::move(response));
}

Refusal Api::channel_refusal(std::string_view channel) const {
  if (!is_channel_name(channel, limits_)) return {kErrorBadRequest, channel_name_error(channel, limits_)};
  if (!hub_.is_known(channel))
    return {kErrorUnknownChannel, "channel: the namespace of " + in_quotes(channel) + " is not configured"};
  return {};
}

Refusal Api::publish_refusal(std::string_view channel, const ApiRequest& request) const {
  const auto bad = [](std::string text) { return Refusal{kErrorBadRequest, std::move(text)}; };
  if (Refusal refusal = channel_refusal(channel); refusal.is_refused()) return refusal;
  if (request.data.size() > static_cast<std::size_t>(limits_.publication_bytes))
    return bad("data: longer than limits.publication_bytes (" + std::to_string(limits_.publication_bytes) +
               "); raise it, or send a reference");
  if (std::string text = idempotency_key_error(request.idempotency_key, limits_); !text.empty())
    return bad(std::move(text));
  if (std::string text = version_epoch_error(request.version_epoch, limits_); !text.empty())
    return bad(std::move(text));
  if (!request.version_epoch.empty() && request.version == 0)
    return bad("version_epoch: has no version that it belongs to; give version as well, 1 or more");
  const ContentType content = request.is_json ? ContentType::json : ContentType::binary;
  const PublicationFormat format = hub_.options_for(channel).publication_format;
  if (const std::string_view text = format_error(format, request.data, content); !text.empty())
    return bad(std::string(text));
  return {};
}

void Api::publish(const ApiRequest& request, Respond respond) {
  if (const Refusal refusal = publish_refusal(request.channel, request); refusal.is_refused())
    return respond(api_error(refusal));
  hub_.publish(request.channel, publication_of(request), options_of(request),
               [respond = std::move(respond), has_version = request.version != 0,
                expected = request.expected_offset](const AppendResult& result) {
                 HttpResponse response;
                 append_publish_answer(response.body, result, has_version, expected);
                 respond(std::move(response));
               });
}

/// A broadcast under way: a turn publishes to some of its channels.
struct Api::Broadcast {
  Body body;  // the request has views of it
  std::string scratch;
  ApiRequest request;
  std::size_t next = 0;
  std::mutex mutex;  // guards what follows: answers come on any thread
  std::vector<std::string> answers;
  std::size_t missing = 0;
  Respond respond;

  void answer(std::size_t index, std::string text) {
    {
      const std::lock_guard lock(mutex);
      answers[index] = std::move(text);
      if (--missing > 0) return;
    }
    std::string joined;
    for (const std::string& each : answers) append_list_item(joined, each);
    HttpResponse response;
    append_api_broadcast_result(response.body, joined);
    respond(std::move(response));
  }
};

void Api::broadcast(Body body, Respond respond) {
  auto work = std::make_shared<Broadcast>();
  work->body = std::move(body);
  const ApiDecode decoded =
      decode_api_request(ApiMethod::broadcast, work->body.text, work->request, work->scratch);
  if (auto refusal = undecoded(decoded, work->request)) return respond(std::move(*refusal));
  const std::size_t channels = work->request.channels.size();
  if (channels > static_cast<std::size_t>(limits_.broadcast_channels))
    return respond(api_error({kErrorBadRequest, "channels: more than limits.broadcast_channels (" +
                                                    std::to_string(limits_.broadcast_channels) + ")"}));
  work->answers.resize(channels);
  work->missing = channels;
  work->respond = std::move(respond);
  Shard::in_pieces([this, work] { return broadcast_some(work); });
}

bool Api::broadcast_some(const std::shared_ptr<Broadcast>& work) {
  // One turn's share: what takes well below a millisecond.
  static constexpr std::size_t kChannels = 64;
  static constexpr std::size_t kBytes = 1024 * 1024;
  const ApiRequest& request = work->request;
  const std::size_t share = std::max<std::size_t>(1, std::min(kChannels, kBytes / (request.data.size() + 1)));
  for (std::size_t left = share; left > 0 && work->next < request.channels.size(); --left) {
    const std::size_t index = work->next++;
    const std::string_view channel = request.channels[index];
    if (const Refusal refusal = publish_refusal(channel, request); refusal.is_refused()) {
      std::string text;
      append_api_error(text, refusal.error.code, refusal.message());
      work->answer(index, std::move(text));
      continue;
    }
    hub_.publish(
        channel, publication_of(request), options_of(request), [work, index](const AppendResult& result) {
          std::string text;
          append_publish_answer(text, result, work->request.version != 0, work->request.expected_offset);
          work->answer(index, std::move(text));
        });
  }
  return work->next < request.channels.size();
}

void Api::history(const ApiRequest& request, Respond respond) {
  if (const Refusal refusal = channel_refusal(request.channel); refusal.is_refused())
    return respond(api_error(refusal));
  HistoryQuery query;
  query.bytes_max = limits_.reply_bytes();
  if (const std::string_view reason = read_history_query(request, query); !reason.empty())
    return respond(api_error({kErrorBadRequest, std::string(reason)}));
  hub_.history(request.channel, query,
               [respond = std::move(respond), bytes_max = query.bytes_max](const HistoryResult& found) {
                 switch (found.error) {
                   case HistoryError::unavailable:
                     return respond(api_error(kErrorStoreAway));
                   case HistoryError::epoch_differs:
                     return respond(api_error(kErrorUnrecoverablePosition));
                   case HistoryError::no_history:
                     return respond(api_error(no_history()));
                   case HistoryError::none:
                     break;
                 }
                 const std::string list = list_of(found, centrifuge_json_codec(), bytes_max);
                 HttpResponse response;
                 append_api_history_result(response.body, list, found.top.offset, found.top.epoch.text());
                 respond(std::move(response));
               });
}

void Api::presence(const ApiRequest& request, bool is_stats, Respond respond) {
  if (const Refusal refusal = channel_refusal(request.channel); refusal.is_refused())
    return respond(api_error(refusal));
  if (!hub_.options_for(request.channel).presence)
    return respond(
        api_error({kErrorNotAvailable, "presence is off for this channel; set its option presence"}));
  if (is_stats) {
    return hub_.presence_counts(
        request.channel, [respond = std::move(respond)](const PresenceCounts& counts) {
          if (counts.error != StoreError::none) return respond(api_error(kErrorStoreAway));
          HttpResponse response;
          append_api_presence_stats_result(response.body, counts.clients, counts.users);
          respond(std::move(response));
        });
  }
  hub_.presence(request.channel, {request.after, limits_.reply_bytes()},
                [respond = std::move(respond)](const PresenceResult& found) {
                  if (found.error != StoreError::none) return respond(api_error(kErrorStoreAway));
                  HttpResponse response;
                  append_api_presence_result(response.body, views_of(found.members), found.has_more);
                  respond(std::move(response));
                });
}

void Api::remove_history(const ApiRequest& request, const Respond& respond) {
  if (const Refusal refusal = channel_refusal(request.channel); refusal.is_refused())
    return respond(api_error(refusal));
  if (!hub_.options_for(request.channel).has_history()) return respond(api_error(no_history()));
  hub_.remove_history(request.channel, [respond](StoreError error) {
    if (error != StoreError::none) return respond(api_error(change_error(error)));
    HttpResponse response;
    append_api_empty_result(response.body);
    respond(std::move(response));
  });
}

void Api::channels(const ApiRequest& request, Respond respond) {
  ChannelsQuery query{.after = std::string(request.after), .bytes_max = limits_.reply_bytes()};
  if (!request.pattern.empty()) query.pattern = request.pattern;
  channels_->list(std::move(query), [respond = std::move(respond)](const ChannelsPage& page) {
    HttpResponse response;
    append_api_channels_result(response.body, page.subscribers, page.has_more);
    respond(std::move(response));
  });
}

void Api::stats(const Respond& respond) const {
  HttpResponse response;
  append_api_result(response.body, stats_());
  respond(std::move(response));
}

void Api::ledger(const ApiRequest& request, Respond respond) {
  const std::size_t rows = std::min<std::uint64_t>(request.rows, kLedgerRows);
  hub_.ledger(
      [respond = std::move(respond), rows](Ledger ledger) {
        HttpResponse response;
        append_api_result(response.body, ledger_document(std::move(ledger), rows));
        respond(std::move(response));
      },
      rows, {std::string(request.channel), std::string(request.client)});
}

void Api::info(Respond respond) {
  nodes_->list([respond = std::move(respond)](const std::vector<NodeInfo>& nodes) {
    std::vector<ApiNodeInfo> rows;
    for (const NodeInfo& node : nodes)
      rows.push_back({.uid = node.uid,
                      .name = node.name,
                      .version = node.version,
                      .address = node.address,
                      .clients = node.clients,
                      .users = node.users,
                      .subscriptions = node.subscriptions,
                      .channels = node.channels,
                      .uptime_s = node.uptime_s,
                      .is_draining = node.is_draining});
    HttpResponse response;
    append_api_info_result(response.body, rows);
    respond(std::move(response));
  });
}

}  // namespace carillon
