#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "env/clock.hpp"

namespace carillon {

/// The policy for a live subscriber that falls behind.
enum class SlowConsumer : std::uint8_t {
  wait,       ///< it catches up from the log; entries that have left the log meanwhile become a gap
  skip,       ///< it gets a gap up to the newest offset, and continues with the next entry
  disconnect  ///< it is disconnected in a way that makes it reconnect and resume
};
inline constexpr std::array<std::string_view, 3> kSlowConsumerNames{"wait", "skip", "disconnect"};

/// When the fan-out of a publication is done (docs/fan-out.md).
enum class FanOut : std::uint8_t {
  write,    ///< at publish: into every member's inbox, and to subscribers in the same turn
  read,     ///< at read: inboxes are merged from the logs, subscribers are served by a sweep
  hybrid,   ///< write up to a number of members, read above it
  adaptive  ///< the same, with a number that follows the measured cost of writing and reading
};
inline constexpr std::array<std::string_view, 4> kFanOutNames{"write", "read", "hybrid", "adaptive"};
[[nodiscard]] constexpr std::string_view name_of(FanOut strategy) {
  return kFanOutNames[static_cast<std::size_t>(strategy)];
}

/// What clients and applications may publish.
enum class PublicationFormat : std::uint8_t {
  any,          ///< JSON or binary, not empty
  json,         ///< JSON
  json_object,  ///< a JSON object
  binary        ///< JSON or binary, which may be empty
};
inline constexpr std::array<std::string_view, 4> kPublicationFormatNames{"", "json", "json_object", "binary"};

/// What a subscriber that comes back gets (protocol.md section 6).
enum class RecoveryMode : std::uint8_t {
  stream,  ///< what it has missed
  cache    ///< the newest publication, if it does not have it
};
inline constexpr std::array<std::string_view, 2> kRecoveryModeNames{"stream", "cache"};

/// What subscribers of a channel get. Here that is the stream; the others are known, so that a namespace of
/// such a type can stand in a configuration, and its subscribers are refused.
enum class SubscriptionType : std::uint8_t { stream, map, map_clients, map_users, shared_poll };
inline constexpr std::array<std::string_view, 5> kSubscriptionTypeNames{"stream", "map", "map_clients",
                                                                        "map_users", "shared_poll"};

/// Formats of differences between publications that subscribers may ask for.
inline constexpr std::array<std::string_view, 1> kDeltaTypeNames{"fossil"};

/// The options of a channel. The defaults are those of a hub without a configuration.
struct ChannelOptions {
  std::size_t history_size = 1'000;             ///< maximum publications kept; 0: none, and no offsets
  Millis history_ttl_ms = 300'000;              ///< age at which a publication leaves the history
  std::size_t history_bytes = 4 * 1024 * 1024;  ///< of the publications kept
  std::size_t live_window_entries = 64;         ///< kept for live cursors, also without a history
  std::size_t live_window_bytes = 256 * 1024;
  SlowConsumer slow_consumer = SlowConsumer::wait;
  /// A subscriber further behind than this, when its socket becomes writable, is a slow consumer.
  std::size_t slow_consumer_entries = 500;
  FanOut fan_out = FanOut::write;
  /// Members (or subscribers, if there are more) above which a hybrid channel is in read mode.
  std::size_t fan_out_threshold = 10'000;
  std::size_t fan_out_hysteresis = 20;  ///< percent below it at which the channel returns to write mode
  Millis sweep_interval_ms = 100;       ///< read mode: interval between sweeps
  Millis batch_interval_ms = 0;         ///< write mode: minimum interval between two writes
  bool conflate = false;                ///< deliver only the newest publication of each key in a batch
  bool presence = true;
  bool join_leave = false;
  PublicationFormat publication_format = PublicationFormat::any;
  SubscriptionType subscription_type = SubscriptionType::stream;
  std::uint32_t allowed_delta_types = 0;  ///< a bit for each of kDeltaTypeNames
  bool delta_publish = false;             ///< every publication may be sent as a delta
  bool allow_tags_filter = false;         ///< subscribers may choose publications by their tags
  bool force_push_join_leave = false;  ///< joins and leaves also go to subscribers that did not ask for them
  bool force_recovery = true;          ///< with a history: every subscription can recover
  bool force_positioning = true;       ///< with a history: every subscription has a position
  RecoveryMode recovery_mode = RecoveryMode::stream;
  bool auto_cache_recover = false;  ///< in cache mode: also a subscriber that names no position gets it
  bool allow_recovery = false;      ///< the same for those that ask for it
  bool allow_positioning = false;

  // Who may do what (protocol.md section 14). Clients without a user need `…_for_anonymous` as well.
  bool allow_subscribe = false;
  bool allow_publish = false;
  bool allow_presence = false;
  bool allow_history = false;
  bool allow_publish_for_subscriber = false;
  bool allow_presence_for_subscriber = false;
  bool allow_history_for_subscriber = false;
  bool allow_subscribe_for_anonymous = false;
  bool allow_publish_for_anonymous = false;
  bool allow_presence_for_anonymous = false;
  bool allow_history_for_anonymous = false;
  // A backend is asked over HTTP.
  bool subscribe_proxy_enabled = false;
  bool publish_proxy_enabled = false;
  bool sub_refresh_proxy_enabled = false;
  bool allow_user_limited = false;  ///< users whom the name lists behind its last `#` may subscribe

  std::uint32_t rule = 0;  ///< the one that they are of: index in ChannelRules::names(), which sets it

  [[nodiscard]] bool is_stream() const { return subscription_type == SubscriptionType::stream; }
  [[nodiscard]] bool has_history() const { return history_size > 0 && history_ttl_ms > 0; }
  /// Can a subscriber that knows its position get differences? Where publications are conflated, it may lack
  /// the one before.
  [[nodiscard]] bool has_delta() const { return allowed_delta_types != 0 && has_history() && !conflate; }
};

}  // namespace carillon
