#pragma once

#include <string>
#include <string_view>

namespace carillon {

/// The names of all keys and channels in Redis. The layout has a version, which is in the names and in a key
/// of its own: a Carillon that knows another one does not start. Within a layout a later version adds fields,
/// words behind those that there are, and keys of other kinds, and an earlier one passes over them. A
/// channel's keys are in one slot of a cluster: the hash tag is a digest of its name, so that braces in names
/// neither part its keys nor put all channels into one slot.
class RedisKeys {
 public:
  static constexpr std::string_view kLayout = "1";

  explicit RedisKeys(std::string_view prefix)
      : layout_(std::string(prefix) + ":layout"),
        root_(std::string(prefix).append(1, ':').append(kLayout).append(1, ':')) {}

  /// String: the version of the layout, in every layout.
  [[nodiscard]] const std::string& layout() const { return layout_; }

  /// Hash: epoch, offset and what else is known of a channel.
  [[nodiscard]] std::string channel(std::string_view channel) const { return of_channel('h', channel); }
  /// Stream: its publications. The id of an entry is its offset and, behind the dash, its time.
  [[nodiscard]] std::string stream(std::string_view channel) const { return of_channel('s', channel); }
  /// String: the offset that was given to an idempotency key.
  [[nodiscard]] std::string idempotency_key(std::string_view channel, std::string_view key) const;
  /// Not a key: the Redis channel of the announcements.
  [[nodiscard]] std::string announcements(std::string_view channel) const { return of_channel('a', channel); }
  /// The channel whose announcements are told there; empty: it is another one.
  [[nodiscard]] std::string_view channel_of(std::string_view announcements) const;

  /// Not a key: the Redis channel by which a gateway is told something; empty: all of them.
  [[nodiscard]] std::string told(std::string_view gateway) const {
    return of_all("told:" + std::string(gateway));
  }

  /// Another key of the same channel: `kind` is a letter (see redis_keys.cpp).
  [[nodiscard]] std::string of_channel(char kind, std::string_view channel) const;
  /// A key of a user, in a slot of its own.
  [[nodiscard]] std::string of_user(char kind, std::string_view user) const;
  /// A key of a gateway, in a slot of its own.
  [[nodiscard]] std::string of_gateway(char kind, std::string_view gateway) const;
  /// String: `carillon store copy` has begun to write here, and has not finished.
  [[nodiscard]] std::string copying() const { return of_all("copying"); }
  /// A key of all gateways together.
  [[nodiscard]] std::string of_all(std::string_view name) const { return root_ + std::string(name); }

 private:
  [[nodiscard]] std::string tagged(char room, char kind, std::string_view name) const;

  std::string layout_;
  std::string root_;
};

}  // namespace carillon
