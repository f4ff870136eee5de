#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "hub/channel_options.hpp"
#include "session/limits.hpp"

namespace carillon {

/// A configuration is refused: what() names the field, its value and the remedy.
class ConfigError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Everything that can be set. This is the only schema: files, environment and keyword arguments all become
/// one JSON document that is read here.
struct ServerConfig {
  std::string host = "127.0.0.1";
  std::int64_t port = 8000;  ///< 0: the system picks one
  std::int64_t threads = 0;  ///< 0: one per core, at most 4
  std::string store = "memory";
  bool insecure = false;  ///< everybody may do everything; loopback only
  bool demo = false;      ///< the demo page at `/`
  std::string api_key;    ///< of the server API; empty: the API is closed, but in insecure mode open
  std::vector<std::string> allowed_origins;
  Heartbeat heartbeat;
  Limits limits;
  std::vector<ChannelRules::Rule> channels;
};

/// Reads and checks a JSON document. Throws ConfigError.
[[nodiscard]] ServerConfig parse_config(std::string_view json);
/// The whole configuration, defaults included, as JSON.
[[nodiscard]] std::string config_to_json(const ServerConfig& config);
/// JSON list of {"name","type","default","doc"} of every option.
[[nodiscard]] std::string config_schema();

}  // namespace carillon
