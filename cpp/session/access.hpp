#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "hub/channel_options.hpp"

namespace carillon {

enum class Transport : std::uint8_t { websocket, sse, poll, http };
enum class Operation : std::uint8_t { subscribe, publish, presence, history };

/// What a client shows when it arrives, on any transport. Views live for the call.
struct Credentials {
  Transport transport = Transport::websocket;
  std::string_view token;  ///< of the connect command
  std::string_view user;   ///< query parameter `user`: believed in insecure mode only
};

/// Who a client is. An empty user is anonymous.
struct Identity {
  std::string user;
  std::string info_json;
};

/// The one seam through which every transport passes: who is it, and may they. Thread-safe.
class Access {
 public:
  virtual ~Access() = default;
  /// Nothing: this client is nobody and must go.
  [[nodiscard]] virtual std::optional<Identity> identify(const Credentials& credentials) const = 0;
  [[nodiscard]] virtual bool allows(const Identity& identity, Operation operation,
                                    std::string_view channel) const = 0;
};

/// Access by the channel rules of the config; in insecure mode everybody may do everything.
class RulesAccess final : public Access {
 public:
  RulesAccess(const ChannelRules& rules, bool is_insecure) : rules_(rules), is_insecure_(is_insecure) {}
  [[nodiscard]] std::optional<Identity> identify(const Credentials& credentials) const override;
  [[nodiscard]] bool allows(const Identity& identity, Operation operation,
                            std::string_view channel) const override;

 private:
  const ChannelRules& rules_;
  const bool is_insecure_;
};

}  // namespace carillon
