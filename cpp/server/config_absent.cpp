// The options of the Centrifuge family that this version knows by name only.
#include <algorithm>
#include <array>

#include "server/config_options.hpp"

namespace carillon {

namespace {

using Absent = AbsentOption;

constexpr std::string_view kExactClaim = "this version compares the whole value: give audience or issuer";
constexpr std::string_view kSigned = "tokens are always verified";
constexpr std::string_view kOneBackend =
    "this version has one backend per operation: set it in client.proxy, channel.proxy or rpc.proxy";
constexpr std::string_view kNamedBackends =
    "this version has one backend per operation: set it in client.proxy, channel.proxy or rpc.proxy. Where "
    "subscription_type is another than stream, it is not read: only shared polls can use it";
constexpr std::string_view kNoGrpc = "this version asks backends over HTTP alone; give an endpoint http://…";
constexpr std::string_view kNoStreams = "this version has neither streams nor maps that a backend fills";
constexpr std::string_view kEmulation =
    "of the fallback over HTTP this version has http_stream.enabled and sse.enabled; the limit of commands "
    "is "
    "websocket.message_size_limit";
constexpr std::string_view kUnidirectional =
    "of unidirectional endpoints this version has uni_websocket.enabled, uni_sse.enabled and "
    "uni_http_stream.enabled; the limit of a connect request is websocket.message_size_limit, and "
    "client.ping_interval and client.pong_timeout hold for all";
constexpr std::string_view kOneNode =
    "this version has no broker; servers share a store instead: store.url = \"redis://host\"";
constexpr std::string_view kTls = "this version speaks HTTP/1.1 without TLS; put a reverse proxy in front";
constexpr std::string_view kOnePort =
    "clients and the HTTP API of this version share http_server.port; http_server.internal_address and "
    "http_server.internal_port have /health and /metrics only";
constexpr std::string_view kPaths = "the paths of this version are fixed";
constexpr std::string_view kMetrics = "this version has metrics for Prometheus only: /metrics";
constexpr std::string_view kRecoveryLimit =
    "recovery is bounded by the channel's history alone, so there is no such limit. One reply holds at most "
    "client.history_max_publication_limit and limits.recovery_bytes; the rest follows as pushes";
constexpr std::string_view kStreamsOnly =
    "this version has stream subscriptions only. Where subscription_type is another one, it is not read: "
    "clients that subscribe there are refused";
constexpr std::string_view kNotYet = "this option of Centrifugo is not available yet";

constexpr std::array kAbsent{
    Absent{"client.token.audience_regex", kExactClaim, R"("")"},
    Absent{"client.token.issuer_regex", kExactClaim, R"("")"},
    Absent{"client.subscription_token.audience_regex", kExactClaim, R"("")"},
    Absent{"client.subscription_token.issuer_regex", kExactClaim, R"("")"},
    Absent{"client.token.jwks", "the option is jwks_public_endpoint; certificates are those of the system"},
    Absent{"client.subscription_token.jwks",
           "the option is jwks_public_endpoint; certificates are those of the system"},
    Absent{"client.insecure_skip_token_signature_verify", kSigned, R"(false)"},
    Absent{"client.user_id_*", "give the user in the token's claim sub, or name another by user_id_claim"},
    Absent{"*proxy.*emulated_headers", "this version does not take headers from a connect command", "[]"},
    Absent{"*proxy.*grpc_metadata", kNoGrpc, "[]"},
    Absent{"*proxy.*include_connection_meta", "this version keeps no meta of a connection", "false"},
    Absent{
        "*proxy.*http.tls",
        "this version asks backends over plain HTTP; give the address of a local reverse proxy that speaks "
        "TLS"},
    Absent{"*proxy.*http.status_to_code_transforms",
           "a status other than 200 is not an answer in this version: the client is asked to try again",
           "[]"},
    Absent{"*proxy.*grpc", kNoGrpc},
    Absent{"client.recovery_max_publication_limit", kRecoveryLimit},
    Absent{"client.connect_code_to_unidirectional_disconnect",
           "this version disconnects a unidirectional client with the codes that are the default"},
    Absent{"client.queue_initial_cap", "this version has no queue per client: publications wait in the log"},
    Absent{"client.presence_update_interval", "presence of this version is kept in memory, without updates"},
    Absent{"client.channel_position_*", kOneNode},
    Absent{"channel.proxy.*", kNoStreams},
    Absent{"channel.private_prefix", "this version has '$' only", R"("$")"},
    Absent{"channel.namespace_boundary", "this version has ':' only", R"(":")"},
    Absent{"channel.user_boundary", "this version has '#' only", R"("#")"},
    Absent{"channel.user_separator", "this version has ',' only", R"(",")"},
    Absent{"channel.publication_data_format",
           "this version has it per channel: set it in channel.without_namespace and channel.namespaces",
           R"("")"},
    Absent{"rpc.ping", "this version has no method for that; the transports have pings"},
    Absent{"rpc.namespace_boundary", "this version has ':' only", R"(":")"},
    Absent{"rpc.without_namespace.proxy_name", kOneBackend, R"("default")"},
    Absent{"proxies", kNamedBackends, "[]"},
    Absent{"consumers", "this version does not read from queues or databases yet"},
    Absent{"engine.type", kOneNode, R"("memory")"},
    Absent{"engine", kOneNode},
    Absent{"broker.type", kOneNode, R"("memory")"},
    Absent{"broker", kOneNode},
    Absent{"presence_manager.type", kOneNode, R"("memory")"},
    Absent{"presence_manager", kOneNode},
    Absent{"redis", kOneNode},
    Absent{"nats", kOneNode},
    Absent{"node", kOneNode},
    Absent{"http_server.internal_*", kOnePort},
    Absent{"http_server.tls", kTls},
    Absent{"http_server.http3", kTls},
    Absent{"tls", kTls},
    Absent{"http_api.external", kOnePort},
    Absent{"http_api.handler_prefix", kPaths},
    Absent{"grpc_api", "this version has no gRPC yet; the HTTP API is always on"},
    Absent{"websocket.compression_prepared_message_cache_size",
           "this version needs no such cache: a publication keeps its compressed form"},
    Absent{"websocket.write_timeout", "the nearest option is limits.stall_timeout_ms"},
    Absent{"websocket.handler_prefix", kPaths},
    Absent{"websocket.disabled", "this version always serves WebSockets", R"(false)"},
    Absent{"websocket.read_buffer_size", kNotYet},
    Absent{"websocket.write_buffer_size", kNotYet},
    Absent{"websocket.use_write_buffer_pool", kNotYet},
    Absent{"webtransport", "this version has no WebTransport"},
    Absent{"sse", kEmulation},
    Absent{"http_stream", kEmulation},
    Absent{"emulation", kEmulation},
    Absent{"uni_websocket.handler_prefix", kPaths, R"("/connection/uni_websocket")"},
    Absent{"uni_websocket.join_push_messages", "this version sends one push per frame", R"(false)"},
    Absent{"uni_websocket", kUnidirectional},
    Absent{"uni_sse.handler_prefix", kPaths, R"("/connection/uni_sse")"},
    Absent{"uni_sse", kUnidirectional},
    Absent{"uni_http_stream.handler_prefix", kPaths, R"("/connection/uni_http_stream")"},
    Absent{"uni_http_stream", kUnidirectional},
    Absent{"uni_grpc", "this version has no gRPC yet; uni_http_stream needs no library either"},
    Absent{"admin", "this version has no admin page yet"},
    Absent{"prometheus",
           "metrics of this version have prometheus.enabled only; their names begin with carillon_"},
    Absent{"graphite", kMetrics},
    Absent{"opentelemetry", kMetrics},
    Absent{"health.enabled", "this version always serves /health", "true"},
    Absent{"health", "this version always serves /health"},
    Absent{"swagger", kNotYet},
    Absent{"debug", kNotYet},
    Absent{"log", "logs go through Python's logging; 'carillon serve' writes them to standard error"},
    Absent{"map_broker", kStreamsOnly, "{}"},
    Absent{"shared_poll", kStreamsOnly},
    Absent{"pid_file", kNotYet},
    Absent{"usage_stats.disabled", "this version sends no usage statistics", "true"},
    Absent{"usage_stats", "this version sends no usage statistics"},
};

constexpr std::array kAbsentOfChannels{
    Absent{"subscribe_stream_proxy_name", kNoStreams, R"("default")"},
    Absent{"subscribe_stream_proxy_*", kNoStreams},
    Absent{"*_proxy_name", kOneBackend, R"("default")"},
    Absent{"history_meta_ttl", "one value holds for all channels: channel.history_meta_ttl"},
    Absent{
        "channel_regex",
        "this version has no regular expressions for names, since no matcher with a bound on its time is at "
        "hand; check names in a hook (on_subscribe, on_publish)",
        R"("")"},
    Absent{"map", kStreamsOnly},
    Absent{"map_*", kStreamsOnly},
    Absent{"shared_poll", kStreamsOnly},
    Absent{"client_publish_debounce_interval", kStreamsOnly},
};

}  // namespace

std::span<const AbsentOption> absent_options() { return kAbsent; }
std::span<const AbsentOption> absent_channel_options() { return kAbsentOfChannels; }

const AbsentOption* find_absent(std::span<const AbsentOption> options, std::string_view path) {
  const auto row = std::find_if(options.begin(), options.end(), [&](const AbsentOption& each) {
    return matches_pattern(each.pattern, path) || matches_pattern(std::string(each.pattern) + ".*", path);
  });
  return row == options.end() ? nullptr : &*row;
}

bool is_of_other_subscriptions(std::string_view path) {
  return path == "map" || path.starts_with("map_") || path == "shared_poll" ||
         path == "client_publish_debounce_interval";
}

bool is_switch(std::string_view path) {
  return path == "enabled" || path.ends_with(".enabled") || path.ends_with("_enabled");
}

}  // namespace carillon
