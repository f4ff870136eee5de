#include "server/config_options.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <type_traits>
#include <utility>

#include "env/clock.hpp"
#include "protocol/names.hpp"
#include "server/limit_table.hpp"

namespace carillon {

namespace {

constexpr std::int64_t kDayMs = 86'400'000;

struct FamilyLimit {
  std::string_view row;
  std::string_view path;
};
// Rows of the table of limits that the family has a name for. The family's durations are texts.
constexpr std::array kFamilyLimits{
    FamilyLimit{"connections", "client.connection_limit"},
    FamilyLimit{"user_connections", "client.user_connection_limit"},
    FamilyLimit{"accepts_per_s", "client.connection_rate_limit"},
    FamilyLimit{"handshake_timeout_ms", "client.stale_close_delay"},
    FamilyLimit{"expired_close_delay_ms", "client.expired_close_delay"},
    FamilyLimit{"expired_sub_close_delay_ms", "client.expired_sub_close_delay"},
    FamilyLimit{"channels_per_connection", "client.channel_limit"},
    FamilyLimit{"concurrency", "client.concurrency"},
    FamilyLimit{"backlog_bytes", "client.queue_max_size"},
    FamilyLimit{"history_publications", "client.history_max_publication_limit"},
    FamilyLimit{"message_bytes", "websocket.message_size_limit"},
    FamilyLimit{"channel_name_bytes", "channel.max_length"},
    FamilyLimit{"channel_lifetime_ms", "channel.history_meta_ttl"},
};

ConfigOption option_of_limit(const LimitRow& row) {
  ConfigOption option{"limits." + std::string(row.name), "", row.field, row.doc, row.least};
  const auto family = std::find_if(kFamilyLimits.begin(), kFamilyLimits.end(),
                                   [&](const FamilyLimit& each) { return each.row == row.name; });
  if (family != kFamilyLimits.end()) {
    option.alias = std::exchange(option.path, std::string(family->path));
    option.is_duration = row.unit == "ms";
  }
  return option;
}

struct TokenRow {
  std::string_view name;
  decltype(TokenPlace::member) member;
  std::string_view doc;
};
const std::array<TokenRow, 11> kTokenRows{{
    {"hmac_secret_key", &TokenOptions::hmac_secret_key,
     "Secret of tokens that are signed with HS256, HS384 or HS512."},
    {"hmac_previous_secret_key", &TokenOptions::hmac_previous_secret_key,
     "The secret before that, which is tried second: for a rotation."},
    {"hmac_previous_secret_key_valid_until", &TokenOptions::hmac_previous_secret_key_valid_until_s,
     "Time from which hmac_previous_secret_key no longer counts, seconds since 1970; 0: no end."},
    {"rsa_public_key", &TokenOptions::rsa_public_key,
     "Public key, PEM, of tokens that are signed with RS256, RS384 or RS512."},
    {"ecdsa_public_key", &TokenOptions::ecdsa_public_key,
     "Public key, PEM, of tokens that are signed with ES256, ES384 or ES512, by its curve."},
    {"eddsa_public_key", &TokenOptions::eddsa_public_key,
     "Public key, PEM, of tokens that are signed with EdDSA (Ed25519)."},
    {"jwks_file", &TokenOptions::jwks_file, "File with a set of keys (JWKS): RSA, EC, OKP and oct."},
    {"jwks_public_endpoint", &TokenOptions::jwks_public_endpoint,
     "URL of a set of public keys (JWKS). It is fetched at the start, from time to time, and when a token "
     "names a key that is not known."},
    {"audience", &TokenOptions::audience, "Tokens must have it in `aud`; empty: any."},
    {"issuer", &TokenOptions::issuer, "Tokens must have it as `iss`; empty: any."},
    {"user_id_claim", &TokenOptions::user_id_claim, "Claim with the id of the user; empty: `sub`."},
}};

void add_token_options(std::vector<ConfigOption>& options, const std::string& table,
                       TokenOptions ServerConfig::* place) {
  for (const TokenRow& row : kTokenRows)
    options.push_back({table + std::string(row.name), "", TokenPlace{place, row.member}, row.doc, 0, kFarS});
}

struct ProxyRow {
  std::string_view name;
  decltype(ProxyPlace::member) member;
  std::string_view doc;
};
const std::array<ProxyRow, 5> kProxyRows{{
    {"endpoint", &ProxyEndpoint::endpoint, "URL of the backend that is asked, http://…; empty: none."},
    {"timeout", &ProxyEndpoint::timeout_ms,
     "Time within which the backend must answer; then the client is asked to try again."},
    {"http_headers", &ProxyEndpoint::http_headers,
     "Names of the headers of the client's request that are passed on to the backend."},
    {"binary_encoding", &ProxyEndpoint::is_binary,
     "Send data as base64, in b64data. Data that is not JSON is always sent in this way."},
    {"http.static_headers", &ProxyEndpoint::static_headers,
     "Headers of every request to the backend. A header that is passed on replaces the one of the same "
     "name."},
}};

void add_proxy_options(std::vector<ConfigOption>& options, const std::string& table,
                       ProxyEndpoint ProxyOptions::* endpoint) {
  for (const ProxyRow& row : kProxyRows) {
    const bool is_duration = row.name == "timeout";
    options.push_back({table + "." + std::string(row.name), "", ProxyPlace{endpoint, row.member}, row.doc,
                       is_duration ? 1 : 0, is_duration ? 600'000 : kMostNumber, is_duration});
  }
}

std::vector<ConfigOption> make_options() {
  std::vector<ConfigOption> options{
      {"http_server.address", "", &ServerConfig::host, "Address to listen on."},
      {"http_server.port", "", &ServerConfig::port, "Port to listen on; 0: the system picks one.", 0, 65'535},
      {"http_server.internal_address", "", &ServerConfig::internal_host,
       "Address of http_server.internal_port. Whoever reaches it reads the metrics."},
      {"http_server.internal_port", "", &ServerConfig::internal_port,
       "Port of its own for operators, with /health and /metrics only, which need no key there. 0 disables "
       "it; "
       "/metrics is then at http_server.port, with the key of the HTTP API.",
       0, 65'535},
      {"prometheus.enabled", "", &ServerConfig::has_metrics, "Serve metrics at /metrics, for Prometheus."},
      {"objectives.availability", "", &ServerConfig::availability_objective,
       "Share of publications and of new connections that have to be taken. What fails beyond it is shown by "
       "the metrics of the error budget: 99.95% permits 21.9 minutes a month."},
      {"objectives.latency", "", &ServerConfig::latency_objective_ms,
       "Time within which the kernel must have the bytes of a delivery: 1ms, 5ms, 10ms, 25ms, 50ms, "
       "100ms, "
       "250ms, 500ms, 1s, 5s or 10s, which are bounds of a histogram.",
       1, 10'000, true},
      {"objectives.latency_share", "", &ServerConfig::latency_share_objective,
       "Share of the deliveries that have to meet objectives.latency."},
      {"threads", "", &ServerConfig::threads, "Number of shard threads; 0: one per core, at most 4.", 0, 64},
      {"flush", "", &ServerConfig::flush,
       "How bytes are sent: \"io_uring\" (one batch per turn), \"send\" (one call per connection), or "
       "\"auto\": the first of them that works."},
      {"store.url", "", &ServerConfig::store_url,
       "Where publications, offsets and epochs are kept: \"memory\", until the process ends, "
       "\"sqlite:PATH\", in a file, or in Redis: redis://[user:password@]host[:port][/database] "
       "(rediss:// with TLS), redis+unix:///path[?db=database], "
       "redis+sentinel://host[:port],host[:port]/primary[/database] or "
       "redis+cluster://host[:port],host[:port] (docs/redis.md)."},
      {"store.durability", "", &ServerConfig::store_durability,
       "When SQLite acknowledges a publication: \"full\" (it is on the disk), \"normal\" (it survives the "
       "end "
       "of the process) or \"async\" (before it is written)."},
      {"store.waiting_appends", "", &ServerConfig::store_waiting_appends,
       "Maximum number of publications that wait for SQLite or Redis. Beyond it publishers are asked to try "
       "again: "
       "error 100, StoreUnavailable in Python.",
       1},
      {"store.waiting_bytes", "", &ServerConfig::store_waiting_bytes,
       "Maximum size of the publications that wait for SQLite or Redis, bytes; the same beyond it. In Redis "
       "the same size is for names of members that are added or removed and for messages between gateways.",
       1},
      {"store.waiting_calls", "", &ServerConfig::store_waiting_calls,
       "Maximum number of other calls that wait for SQLite or Redis: subscribes, histories, members. The "
       "same beyond it.",
       1},
      {"store.wal_bytes", "", &ServerConfig::store_wal_bytes,
       "Size of SQLite's write-ahead log beyond which publications wait until it is copied into the file, "
       "bytes.",
       65'536},
      {"store.cached_channels", "", &ServerConfig::store_cached_channels,
       "Maximum number of channels without subscribers whose offsets SQLite keeps in memory; the others are "
       "read again.",
       16},
      {"store.user", "", &ServerConfig::store_user,
       "User of Redis; empty: the one of store.url, or Redis' default user."},
      {"store.password", "", &ServerConfig::store_password,
       "Password of that user; in a file that others read, store.password_file or the environment is "
       "better."},
      {"store.password_file", "", &ServerConfig::store_password_file,
       "File whose first line is the password. It is read when the server starts, and again for each "
       "new connection."},
      {"store.sentinel_user", "", &ServerConfig::store_sentinel_user,
       "User of the Sentinels; empty: their default user. The login of Redis is never sent to them."},
      {"store.sentinel_password", "", &ServerConfig::store_sentinel_password,
       "Password of the Sentinels; empty: they have none."},
      {"store.sentinel_password_file", "", &ServerConfig::store_sentinel_password_file,
       "File whose first line is the password of the Sentinels. It is read as store.password_file is."},
      {"store.ca_file", "", &ServerConfig::store_ca_file,
       "Certificates, PEM, of the authorities that the certificate of Redis must come from; empty: those of "
       "the system. With rediss:// the certificate and the name in it are always verified."},
      {"store.certificate_file", "", &ServerConfig::store_certificate_file,
       "Certificate, PEM, that this server shows to Redis; empty: none."},
      {"store.key_file", "", &ServerConfig::store_key_file,
       "Private key, PEM, of that certificate; empty: it is in store.certificate_file. It has no password."},
      {"store.prefix", "", &ServerConfig::store_prefix,
       "Beginning of all keys and channels in Redis. Servers with the same prefix are one fleet; another "
       "prefix keeps two apart in one Redis. Letters, digits, -, _ and . are allowed."},
      {"store.unavailable", "", &ServerConfig::store_unavailable,
       "What happens to publications and other calls while Redis is away: \"wait\" (up to store.wait_ms) or "
       "\"fail\" (at once): error 100, StoreUnavailable in Python. SQLite does not wait: where its disk is "
       "full, they "
       "fail at once."},
      {"store.wait_ms", "", &ServerConfig::store_wait_ms,
       "Maximum time that a call waits for Redis, ms (looked at every 100 ms); then it fails for now. With "
       "store.unavailable = \"wait\" it must be at least one and a half times store.retry_pause_ms.",
       100, 600'000},
      {"store.loss", "", &ServerConfig::store_loss,
       "Whether Redis may lose what it has acknowledged: \"possible\" (each change of the server gives all "
       "channels a new epoch, so that their subscribers are told) or \"never\": your word that it is one "
       "server with appendfsync always and without a replica that takes over. Refused with Sentinel."},
      {"store.connect_timeout_ms", "", &ServerConfig::store_connect_timeout_ms,
       "Maximum time to resolve the name of Redis, to connect, and for the TLS handshake, ms each.", 1,
       600'000},
      {"store.command_timeout_ms", "", &ServerConfig::store_command_timeout_ms,
       "Time without a byte from Redis after which the link is given up and made again, ms.", 10, 600'000},
      {"store.retry_pause_ms", "", &ServerConfig::store_retry_pause_ms,
       "Pause before a lost link is made again, ms; half of it to one and a half, at random.", 1, 600'000},
      {"demo", "", &ServerConfig::demo, "Serve the demo page at /."},
      {"client.insecure", "", &ServerConfig::insecure,
       "Any client may do anything, under any user id that it names. Refused on an address that other "
       "machines can reach."},
      {"client.allowed_origins", "", &ServerConfig::allowed_origins,
       "Web origins that may connect, besides the server's own. In a pattern * stands for any text."},
      {"client.allow_anonymous_connect_without_token", "", &ServerConfig::allows_anonymous_connect,
       "Clients without a token are anonymous. Without it, and without an on_connect hook, they are refused "
       "if there are keys for tokens."},
      {"client.disallow_anonymous_connection_tokens", "", &ServerConfig::refuses_anonymous_tokens,
       "Tokens without a user are refused."},
      {"client.token.leeway", "", &ServerConfig::token_leeway_ms,
       "Difference between the clocks of this server and of the maker of tokens that is forgiven.", 0,
       3'600'000, true},
      {"client.token.jwks_refresh_interval", "", &ServerConfig::jwks_refresh_interval_ms,
       "Interval at which the keys of jwks_public_endpoint are fetched again.", 1'000, kDayMs, true},
      {"client.token.jwks_retry_pause", "", &ServerConfig::jwks_retry_pause_ms,
       "Minimum pause between two fetches, also where tokens name keys that are not known.", 1'000, kDayMs,
       true},
      {"client.token.cookie", "", &ServerConfig::token_cookie,
       "Name of a cookie that has the connection token, for pages with EventSource; empty: none."},
      {"client.subscription_token.enabled", "", &ServerConfig::has_subscription_token,
       "The tokens of subscriptions have keys of their own: client.subscription_token.*."},
      {"client.ping_interval", "", &Heartbeat::ping_interval_ms,
       "Interval between WebSocket pings; 0s disables them.", 0, kDayMs, true},
      {"client.pong_timeout", "", &Heartbeat::pong_timeout_ms,
       "Time to answer a WebSocket ping; then the connection is closed with 3012. 0s: unlimited.", 0, kDayMs,
       true},
      {"client.connect_include_server_time", "", &ServerConfig::tells_time,
       "The answer to a connect has the time of day of this server, ms since 1970."},
      {"http_stream.enabled", "", &ServerConfig::has_http_stream,
       "Serve /connection/http_stream and /emulation: a fallback of SDKs without a WebSocket."},
      {"sse.enabled", "", &ServerConfig::has_emulated_sse,
       "Serve /connection/sse and /emulation: another fallback of SDKs. The plain /sse is always served."},
      {"websocket.compression", "", &ServerConfig::has_compression,
       "Compress publications for WebSocket clients that offer permessage-deflate: each publication once, "
       "for all of them. Messages of such clients may be compressed, too."},
      {"websocket.compression_min_size", "", &ServerConfig::compression_min_bytes,
       "Size of a publication's message below which it is not compressed, bytes."},
      {"websocket.compression_level", "", &ServerConfig::compression_level,
       "1: the fastest, to 9: the shortest.", 1, 9},
      {"log.level", "", &ServerConfig::log_level,
       "Lowest level that 'carillon serve' logs: \"trace\" (as debug), \"debug\", \"info\", \"warn\", "
       "\"error\", \"fatal\" or \"none\". An embedded server leaves that to Python's logging."},
      {"uni_websocket.enabled", "", &ServerConfig::has_uni_websocket,
       "Serve /connection/uni_websocket: only pushes, for clients without an SDK."},
      {"uni_sse.enabled", "", &ServerConfig::has_uni_sse,
       "Serve /connection/uni_sse: the same as an event stream, for a browser's EventSource."},
      {"uni_http_stream.enabled", "", &ServerConfig::has_uni_http_stream,
       "Serve /connection/uni_http_stream: the same as lines of JSON, for any HTTP client."},
      {"http_api.key", "", &ServerConfig::api_key,
       "Key of the HTTP API (header X-API-Key). Without a key the API is closed; in insecure mode it is "
       "open."},
      {"http_api.error_mode", "", &ServerConfig::api_error_mode,
       "\"transport\": errors of the HTTP API have an HTTP status of their own, and the error is the body; "
       "otherwise they come with status 200. The header X-Centrifugo-Error-Mode: transport asks for it."},
      {"client.subscribe_to_user_personal_channel.enabled", "", &ServerConfig::has_personal_channel,
       "Subscribe every client with a user id to the personal channel of that user, #<user>."},
      {"client.subscribe_to_user_personal_channel.personal_channel_namespace", "",
       &ServerConfig::personal_channel_namespace,
       "Namespace of the personal channels, <namespace>:#<user>; empty: none."},
      {"client.subscribe_to_user_personal_channel.single_connection", "",
       &ServerConfig::has_single_connection,
       "A user has one connection of the SDKs: a new one closes the one before it with 3504. Needs "
       "personal channels to be enabled."},
      {"http_api.insecure", "", &ServerConfig::api_insecure,
       "The HTTP API needs no key. Refused on an address that other machines can reach."},
      {"shutdown.timeout", "", &ServerConfig::shutdown_timeout_ms,
       "Maximum duration of a drain: clients that have not left by then are disconnected.", 0, kDayMs, true},
      {"shutdown.pace", "", &ServerConfig::shutdown_pace_ms,
       "Time within which a drain asks clients to leave, each at a random moment; 0s: 1 ms per client, at "
       "most half of shutdown.timeout.",
       0, kDayMs, true},
      {"takeover.socket", "", &ServerConfig::takeover_socket,
       "Unix socket at which 'carillon serve --takeover' finds this server; empty: "
       "carillon-<uid>-<port>.sock in $XDG_RUNTIME_DIR, else in /tmp."},
      {"takeover.timeout_ms", "", &ServerConfig::takeover_timeout_ms,
       "Maximum duration of a takeover, ms; then it fails and the running server continues.", 100, kDayMs},
      {"takeover.answer_timeout_ms", "", &ServerConfig::takeover_answer_timeout_ms,
       "Maximum time for which a takeover waits for commands under way, ms; at most half of "
       "takeover.timeout_ms. Nobody is served meanwhile. A client whose command takes longer is asked to "
       "reconnect: code 3001, retry: on /sse, 503 for a poll. Connects and renewals of SDKs are asked anew.",
       0, kDayMs},
      {"heartbeat.comment_interval_ms", "", &Heartbeat::comment_interval_ms,
       "Maximum time between two writes to an event stream, ms, after which a comment is sent; a random part "
       "of up to a quarter is subtracted. 0 disables comments.",
       0, kDayMs},
      {"heartbeat.sse_retry_ms", "", &Heartbeat::sse_retry_ms,
       "Reconnection delay that event streams send to EventSource as retry:, ms.", 0, kDayMs},
  };
  options.push_back({"client.proxy.connect.enabled", "", &ProxyOptions::has_connect,
                     "A backend identifies clients: it is asked as on_connect is."});
  add_proxy_options(options, "client.proxy.connect", &ProxyOptions::connect);
  options.push_back({"client.proxy.refresh.enabled", "", &ProxyOptions::has_refresh,
                     "A backend decides whether connections that have expired go on, as on_refresh does."});
  add_proxy_options(options, "client.proxy.refresh", &ProxyOptions::refresh);
  add_proxy_options(options, "channel.proxy.subscribe", &ProxyOptions::subscribe);
  add_proxy_options(options, "channel.proxy.publish", &ProxyOptions::publish);
  add_proxy_options(options, "channel.proxy.sub_refresh", &ProxyOptions::sub_refresh);
  add_proxy_options(options, "rpc.proxy", &ProxyOptions::rpc);
  options.push_back({"rpc.without_namespace.proxy_enabled", "", &ProxyOptions::has_rpc_without_namespace,
                     "The backend of rpc.proxy carries out methods whose names have no colon."});
  add_token_options(options, "client.token.", &ServerConfig::token);
  add_token_options(options, "client.subscription_token.", &ServerConfig::subscription_token);
  std::transform(kLimitRows.begin(), kLimitRows.end(), std::back_inserter(options), option_of_limit);
  return options;
}

template <auto Member>
constexpr ChannelNumber number(std::string_view name, std::int64_t least, std::string_view doc,
                               bool is_duration = false, std::int64_t most = kMostNumber) {
  return {name,
          least,
          doc,
          [](const ChannelOptions& options) { return static_cast<std::int64_t>(options.*Member); },
          [](ChannelOptions& options, std::int64_t value) {
            options.*Member = static_cast<std::remove_reference_t<decltype(options.*Member)>>(value);
          },
          is_duration,
          most};
}

constexpr std::array kChannelNumbers{
    number<&ChannelOptions::history_size>(
        "history_size", 0,
        "Maximum number of publications kept in the history; 0: no history and no offsets."),
    number<&ChannelOptions::history_ttl_ms>(
        "history_ttl", 0, "Age at which a publication leaves the history; 0s: no history.", true),
    number<&ChannelOptions::history_bytes>(
        "history_bytes", 0,
        "Maximum memory of the history, bytes: about 280 for each publication, and its payload. Encoded "
        "forms "
        "for the transports in use come on top; limits.history_bytes_total bounds all together."),
    number<&ChannelOptions::live_window_entries>(
        "live_window_entries", 1,
        "Maximum number of publications kept for live subscribers of a channel without history."),
    number<&ChannelOptions::live_window_bytes>(
        "live_window_bytes", 1'024,
        "Maximum size of the publications kept for live subscribers of a channel without history, bytes."),
    number<&ChannelOptions::slow_consumer_entries>(
        "slow_consumer_entries", 1,
        "Maximum number of publications that a live subscriber may be behind, checked when its socket "
        "becomes writable again. Beyond it the policy of slow_consumer is applied."),
    number<&ChannelOptions::fan_out_threshold>(
        "fanout_threshold", 1,
        "Number of members (or of subscribers, if there are more) above which a hybrid channel is in read "
        "mode. An adaptive channel starts with this threshold."),
    number<&ChannelOptions::fan_out_hysteresis>(
        "fanout_hysteresis", 0,
        "The channel returns to write mode when it is this many percent below the threshold.", false, 100),
    number<&ChannelOptions::sweep_interval_ms>("sweep_interval", 1,
                                               "Interval between sweeps in read mode: each delivers all new "
                                               "publications to subscribers in one write.",
                                               true, kDayMs),
    number<&ChannelOptions::batch_interval_ms>(
        "batch_interval", 0,
        "Minimum interval between two writes to a subscriber in write mode; the first write after a pause is "
        "immediate. 0s disables it.",
        true, kDayMs),
};

constexpr std::array kChannelChoices{
    ChannelChoice{
        "slow_consumer", kSlowConsumerNames,
        "Policy for slow consumers: \"wait\" (the subscriber catches up from the log), \"skip\" (it gets a "
        "gap and continues with the next publication) or \"disconnect\" (closed with 3008; SDKs reconnect "
        "and resume).",
        [](const ChannelOptions& options) { return static_cast<std::size_t>(options.slow_consumer); },
        [](ChannelOptions& options, std::size_t word) {
          options.slow_consumer = static_cast<SlowConsumer>(word);
        }},
    ChannelChoice{
        "fanout", kFanOutNames,
        "When the work of a publication is done: \"write\" (at publish, into every member's inbox and to "
        "subscribers at once), \"read\" (when an inbox is read; subscribers are served by sweeps), "
        "\"hybrid\" (write up to fanout_threshold, read above it) or \"adaptive\" (as hybrid, with a "
        "threshold that follows the measured costs).",
        [](const ChannelOptions& options) { return static_cast<std::size_t>(options.fan_out); },
        [](ChannelOptions& options, std::size_t word) { options.fan_out = static_cast<FanOut>(word); }},
    ChannelChoice{
        "publication_data_format", kPublicationFormatNames,
        "What may be published: \"json\" (JSON only), \"json_object\" (JSON objects only), \"binary\" "
        "(anything; "
        "a payload may also be empty) or \"\" (anything that is not empty).",
        [](const ChannelOptions& options) { return static_cast<std::size_t>(options.publication_format); },
        [](ChannelOptions& options, std::size_t word) {
          options.publication_format = static_cast<PublicationFormat>(word);
        }},
    ChannelChoice{
        "force_recovery_mode", kRecoveryModeNames,
        "What a subscriber that recovers gets: \"stream\" (every publication that it has missed) or "
        "\"cache\" (the newest publication alone, unless it has it already).",
        [](const ChannelOptions& options) { return static_cast<std::size_t>(options.recovery_mode); },
        [](ChannelOptions& options, std::size_t word) {
          options.recovery_mode = static_cast<RecoveryMode>(word);
        }},
    ChannelChoice{
        "subscription_type", kSubscriptionTypeNames,
        "What subscribers get: \"stream\". The types \"map\", \"map_clients\", \"map_users\" and "
        "\"shared_poll\" of Centrifugo are known, so that its configurations can be used, but not available: "
        "clients that subscribe get error 103.",
        [](const ChannelOptions& options) { return static_cast<std::size_t>(options.subscription_type); },
        [](ChannelOptions& options, std::size_t word) {
          options.subscription_type = static_cast<SubscriptionType>(word);
        }},
};

constexpr std::array kChannelWords{
    ChannelWords{
        "allowed_delta_types", &ChannelOptions::allowed_delta_types, kDeltaTypeNames,
        "[\"fossil\"]: subscribers that ask for it get the difference to the publication before, where "
        "that is shorter. It needs a history and a position, and is not granted with conflate."},
};

constexpr std::array kChannelFlags{
    ChannelFlag{"conflate", &ChannelOptions::conflate,
                "Of several publications with the same key in one write, deliver only the newest."},
    ChannelFlag{"presence", &ChannelOptions::presence,
                "Keep the list of current subscribers (presence). In channel.without_namespace and "
                "channel.namespaces it is off where it is not given."},
    ChannelFlag{
        "allow_tags_filter", &ChannelOptions::allow_tags_filter,
        "Subscribers of the Centrifuge protocol may give a filter: they get the publications whose tags "
        "match, and their position moves over the others."},
    ChannelFlag{
        "delta_publish", &ChannelOptions::delta_publish,
        "Every publication may be sent as a delta; else those alone that are published with `delta`."},
    ChannelFlag{
        "join_leave", &ChannelOptions::join_leave,
        "Announce clients that subscribe and unsubscribe, over WebSocket and event streams (join and leave). "
        "Subscribers that may read the presence get these notices if they ask for them; event streams always "
        "ask. Polls neither send nor receive them."},
    ChannelFlag{"force_push_join_leave", &ChannelOptions::force_push_join_leave,
                "With join_leave: every subscriber gets the notices, whether or not it asks for them or may "
                "read the presence."},
    ChannelFlag{"force_recovery", &ChannelOptions::force_recovery,
                "With a history: every subscriber can recover, and may start with `since` or `last`. false: "
                "only those that ask, and have allow_recovery or may read the history."},
    ChannelFlag{
        "force_positioning", &ChannelOptions::force_positioning,
        "With a history: every subscriber knows its position. false: only those that recover, or that "
        "ask and have allow_positioning or may read the history."},
    ChannelFlag{
        "auto_cache_recover", &ChannelOptions::auto_cache_recover,
        "With force_recovery_mode = \"cache\": each subscription of the Centrifuge protocol starts with the "
        "newest publication, also the first one of a client."},
    ChannelFlag{"allow_recovery", &ChannelOptions::allow_recovery,
                "With force_recovery = false: subscribers that ask for it can recover."},
    ChannelFlag{"allow_positioning", &ChannelOptions::allow_positioning,
                "With force_positioning = false: subscribers that ask for it know their position."},
    ChannelFlag{"allow_subscribe_for_client", &ChannelOptions::allow_subscribe,
                "Clients that have a user may subscribe."},
    ChannelFlag{"allow_subscribe_for_anonymous", &ChannelOptions::allow_subscribe_for_anonymous,
                "With allow_subscribe_for_client: clients without a user may subscribe, too."},
    ChannelFlag{"allow_publish_for_client", &ChannelOptions::allow_publish,
                "Clients that have a user may publish."},
    ChannelFlag{"allow_publish_for_subscriber", &ChannelOptions::allow_publish_for_subscriber,
                "Subscribers that have a user may publish."},
    ChannelFlag{"allow_publish_for_anonymous", &ChannelOptions::allow_publish_for_anonymous,
                "With one of these two: clients without a user may publish, too."},
    ChannelFlag{"allow_presence_for_client", &ChannelOptions::allow_presence,
                "Clients that have a user may read the presence."},
    ChannelFlag{"allow_presence_for_subscriber", &ChannelOptions::allow_presence_for_subscriber,
                "Subscribers that have a user may read the presence."},
    ChannelFlag{"allow_presence_for_anonymous", &ChannelOptions::allow_presence_for_anonymous,
                "With one of these two: clients without a user may read the presence, too."},
    ChannelFlag{"allow_history_for_client", &ChannelOptions::allow_history,
                "Clients that have a user may request the history. Subscribers recover without it, see "
                "force_recovery."},
    ChannelFlag{"allow_history_for_subscriber", &ChannelOptions::allow_history_for_subscriber,
                "Subscribers that have a user may request the history."},
    ChannelFlag{"allow_history_for_anonymous", &ChannelOptions::allow_history_for_anonymous,
                "With one of these two: clients without a user may request the history, too."},
    ChannelFlag{"subscribe_proxy_enabled", &ChannelOptions::subscribe_proxy_enabled,
                "The backend of channel.proxy.subscribe decides who may subscribe."},
    ChannelFlag{"publish_proxy_enabled", &ChannelOptions::publish_proxy_enabled,
                "The backend of channel.proxy.publish decides what clients may publish."},
    ChannelFlag{"sub_refresh_proxy_enabled", &ChannelOptions::sub_refresh_proxy_enabled,
                "The backend of channel.proxy.sub_refresh decides whether subscriptions that have expired go "
                "on."},
    ChannelFlag{"allow_user_limited_channels", &ChannelOptions::allow_user_limited,
                "A name that lists users behind its last #, such as dm:talk#42,43, is for these users: they "
                "may subscribe, and nobody else may."},
};

std::string_view leaf_of(std::string_view path) { return path.substr(path.rfind('.') + 1); }

// Is `part` the beginning or the end of `name`, by whole words? "api_key" is that of "http_api.key".
bool is_part(std::string_view part, std::string_view name) {
  std::string words(name);
  std::replace(words.begin(), words.end(), '.', '_');
  return words.starts_with(std::string(part) + "_") || words.ends_with("_" + std::string(part));
}

}  // namespace

std::string_view ConfigOption::type() const {
  if (is_duration) return "duration";
  if (std::holds_alternative<std::string ServerConfig::*>(place)) return "text";
  if (const auto* token = std::get_if<TokenPlace>(&place))
    return std::holds_alternative<std::string TokenOptions::*>(token->member) ? "text" : "number";
  if (const auto* proxy = std::get_if<ProxyPlace>(&place)) {
    if (std::holds_alternative<std::string ProxyEndpoint::*>(proxy->member)) return "text";
    if (std::holds_alternative<bool ProxyEndpoint::*>(proxy->member)) return "flag";
    if (std::holds_alternative<std::vector<std::string> ProxyEndpoint::*>(proxy->member)) return "list";
    return "table";
  }
  if (std::holds_alternative<bool ProxyOptions::*>(place)) return "flag";
  if (std::holds_alternative<bool ServerConfig::*>(place)) return "flag";
  return std::holds_alternative<std::vector<std::string> ServerConfig::*>(place) ? "list" : "number";
}

bool ConfigOption::is_secret() const {
  return path == "http_api.key" || path.ends_with("secret_key") || path.ends_with("static_headers") ||
         path.ends_with("password") || path.ends_with("_endpoint") ||
         path.ends_with(".endpoint");  // addresses may have a password or a key
}

bool ConfigOption::may_hide_a_secret() const {
  // Somebody may write the password itself where its file is asked for, and a URL has one in it.
  return is_secret() || path.ends_with("_public_key") || path.ends_with("jwks_file") ||
         path.ends_with("password_file") || path == "store.url";
}

bool may_hide_a_secret(std::string_view path) {
  const auto leads_to = [](std::string_view from, std::string_view to) {
    return to.starts_with(from) && (to.size() == from.size() || to[from.size()] == '.');
  };
  const auto& options = config_options();
  return std::any_of(options.begin(), options.end(), [&](const ConfigOption& option) {
    return option.may_hide_a_secret() && (leads_to(option.path, path) || leads_to(path, option.path));
  });
}

const std::vector<ConfigOption>& config_options() {
  static const std::vector<ConfigOption> options = make_options();
  return options;
}

std::span<const ChannelNumber> channel_numbers() { return kChannelNumbers; }
std::span<const ChannelFlag> channel_flags() { return kChannelFlags; }
std::span<const ChannelChoice> channel_choices() { return kChannelChoices; }
std::span<const ChannelWords> channel_words() { return kChannelWords; }

std::vector<std::string_view> channel_option_names() {
  std::vector<std::string_view> names;
  for (const auto& row : kChannelNumbers) names.push_back(row.name);
  for (const auto& row : kChannelFlags) names.push_back(row.name);
  for (const auto& row : kChannelChoices) names.push_back(row.name);
  for (const auto& row : kChannelWords) names.push_back(row.name);
  static const std::vector<std::string> in_ms = [] {
    std::vector<std::string> list;
    for (const auto& row : kChannelNumbers)
      if (row.is_duration) list.push_back(std::string(row.name) + "_ms");
    return list;
  }();
  names.insert(names.end(), in_ms.begin(), in_ms.end());
  return names;
}

std::string nearest_path(std::string_view path, std::span<const std::string_view> siblings) {
  const std::string_view name = leaf_of(path);
  const std::string table(path.substr(0, path.size() - name.size()));
  if (const std::string_view nearest = nearest_name(name, siblings); !nearest.empty())
    return table + std::string(nearest);
  for (const std::string_view sibling : siblings)
    if (is_part(name, sibling)) return table + std::string(sibling);
  if (name == "host") return "http_server.address";
  // The right name at a wrong place, or a part of a longer one.
  for (const ConfigOption& option : config_options()) {
    if (leaf_of(option.path) == name) return option.path;
    if (!option.alias.empty() && leaf_of(option.alias) == name) return option.path;
  }
  for (const ConfigOption& option : config_options())
    if (is_part(name, option.path) || edit_distance(name, leaf_of(option.path)) <= name.size() / 4)
      return option.path;
  return "";
}

}  // namespace carillon
