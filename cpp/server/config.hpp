#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "env/limits.hpp"
#include "hub/channel_rules.hpp"
#include "proxy/proxy_options.hpp"
#include "session/heartbeat.hpp"
#include "token/token_options.hpp"

namespace carillon {

/// One thing that is wrong with a configuration.
struct ConfigMistake {
  std::string text;  ///< names the field, its value and the remedy
  std::vector<std::string>
      keys;  ///< where it stands in the document, from the outside in; of a list the index
};

/// A configuration is refused: what() has the text of each mistake in a line.
class ConfigError : public std::runtime_error {
 public:
  explicit ConfigError(std::vector<ConfigMistake> mistakes);
  explicit ConfigError(std::string text) : ConfigError(std::vector<ConfigMistake>{{std::move(text), {}}}) {}
  [[nodiscard]] const std::vector<ConfigMistake>& mistakes() const { return mistakes_; }

 private:
  std::vector<ConfigMistake> mistakes_;
};

/// All options. This is the only schema: files, environment and keyword arguments become one JSON document
/// that is read here. Options that the Centrifuge family has too have its names (protocol.md, sections 14 and
/// 23), see config_options.hpp.
struct ServerConfig {
  std::string host = "127.0.0.1";
  std::int64_t port = 8000;                 ///< 0: the system picks one
  std::string internal_host = "127.0.0.1";  ///< of the address for operators
  std::int64_t internal_port = 0;           ///< 0: there is no such address
  bool has_metrics = true;                  ///< at /metrics
  std::string availability_objective = "99.95%";
  std::string latency_share_objective = "99%";  ///< share of deliveries within the next
  std::int64_t latency_objective_ms = 100;
  std::int64_t threads = 0;               ///< 0: one per core, at most 4
  std::string flush = "auto";             ///< how a turn's bytes leave: auto, io_uring or send
  std::string store_url = "memory";       ///< or sqlite:PATH, or a URL of Redis
  std::string store_durability = "full";  ///< of SQLite: full, normal or async
  std::int64_t store_waiting_appends = 10'000;
  std::int64_t store_waiting_bytes = 64LL << 20;
  std::int64_t store_waiting_calls = 100'000;
  std::int64_t store_wal_bytes = 64LL << 20;
  std::int64_t store_cached_channels = 100'000;
  std::string store_user;           ///< of Redis, as all that follows; empty: its default user
  std::string store_password;       ///< empty: that of the file, or of the URL
  std::string store_password_file;  ///< whose first line is the password
  std::string store_sentinel_user;
  std::string store_sentinel_password;
  std::string store_sentinel_password_file;
  std::string store_ca_file;  ///< PEM; empty: those of the system
  std::string store_certificate_file;
  std::string store_key_file;
  std::string store_prefix = "carillon";   ///< of all keys and channels
  std::string store_unavailable = "wait";  ///< or fail
  std::string store_loss = "possible";     ///< or never
  std::int64_t store_wait_ms = 10'000;     ///< for Redis to come back
  std::int64_t store_connect_timeout_ms = 2'000;
  std::int64_t store_command_timeout_ms = 5'000;
  std::int64_t store_retry_pause_ms = 500;
  bool demo = false;                       ///< the demo page at `/`
  bool insecure = false;                   ///< any client may do anything; loopback only
  bool api_insecure = false;               ///< the HTTP API needs no key; loopback only
  bool has_http_stream = true;             ///< for SDKs
  bool has_emulated_sse = true;            ///< for SDKs
  bool has_uni_websocket = true;           ///< for clients without an SDK
  bool has_uni_sse = true;                 ///< for clients without an SDK
  bool has_uni_http_stream = true;         ///< for clients without an SDK
  bool tells_time = false;                 ///< with the answer to a connect
  bool has_personal_channel = false;       ///< every client of a user is subscribed to it
  std::string personal_channel_namespace;  ///< of that channel; empty: none
  bool has_single_connection = false;      ///< a user's newest connection ends the one before it
  std::string log_level = "info";          ///< of the command, which passes it to Python's logging
  std::string api_error_mode;              ///< "transport": errors of the API have an HTTP status
  std::string api_key;                     ///< of the HTTP API; empty: it is closed, except in insecure mode
  std::vector<std::string> allowed_origins;
  TokenOptions token;                   ///< of connections
  bool has_subscription_token = false;  ///< those of subscriptions have keys of their own
  TokenOptions subscription_token;      ///< of subscriptions, then
  std::int64_t token_leeway_ms = 0;     ///< difference of clocks that is forgiven
  std::int64_t jwks_refresh_interval_ms = 600'000;
  std::int64_t jwks_retry_pause_ms = 10'000;
  std::string token_cookie;               ///< name of the cookie with the token; empty: none
  bool allows_anonymous_connect = false;  ///< also where there are keys, and no hook
  bool refuses_anonymous_tokens = false;
  bool has_compression = false;              ///< permessage-deflate, for WebSocket clients that offer it
  std::int64_t compression_min_bytes = 256;  ///< messages below are not compressed
  std::int64_t compression_level = 1;
  ProxyOptions proxies;
  std::int64_t shutdown_timeout_ms = 10'000;      ///< longest time that clients have to disconnect
  std::int64_t shutdown_pace_ms = 0;              ///< time over which they are asked; 0: 1 ms per client
  std::string takeover_socket;                    ///< empty: named by user and port
  std::int64_t takeover_timeout_ms = 5'000;       ///< after which a hand-over has failed
  std::int64_t takeover_answer_timeout_ms = 200;  ///< for which a hand-over waits for commands under way
  Heartbeat heartbeat;
  Limits limits;
  std::vector<ChannelRules::Rule> channels;
};

/// Whether a document has only what somebody wrote, or what config_to_json wrote.
enum class ConfigText : std::uint8_t { as_written, with_defaults };

/// Reads and checks a JSON document. Throws ConfigError, with all mistakes.
[[nodiscard]] ServerConfig parse_config(std::string_view json, ConfigText text = ConfigText::with_defaults);
/// The whole configuration, defaults included, as JSON in its one normal form, which parse_config reads back.
[[nodiscard]] std::string config_to_json(const ServerConfig& config);
/// JSON list of {"name","alias","type","default","doc","secret"} of every option. Type: text, number, flag,
/// duration (as "25s"), list (of texts) or table. Alias: the other name that is understood, or "".
[[nodiscard]] std::string config_schema();
/// JSON list of {"name","what","only"} of the options that the Centrifuge family has and this version has
/// not: why, and what to write instead. Name: with `*` for any text; what is beneath is refused as well.
/// Only: the JSON text of the one value that is accepted, or "".
[[nodiscard]] std::string config_absent();

}  // namespace carillon
