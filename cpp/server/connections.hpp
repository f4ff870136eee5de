#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "hub/hub.hpp"
#include "session/access.hpp"
#include "session/session.hpp"

namespace carillon {

/// The connections that a request is about: those that match all of it.
struct ClientFilter {
  std::string user;                    ///< empty: any
  std::string client;                  ///< empty: any
  std::string session;                 ///< of a client over HTTP; empty: any
  std::vector<std::string> whitelist;  ///< clients that it is not about

  [[nodiscard]] bool matches(const Session& session) const;
};

/// Acts on the live connections of a server, whatever their transport. Thread-safe, never blocks: the
/// connections are visited in pieces. Each `done` is called once, on any thread.
class Connections {
 public:
  virtual ~Connections() = default;
  using Done = std::function<void(std::size_t connections)>;

  /// Closes them.
  virtual void disconnect(ClientFilter who, std::uint16_t code, std::string reason, Done done) = 0;
  /// Moves their end; counts those whose transport has one.
  virtual void refresh(ClientFilter who, Renewal renewal, Done done) = 0;
  struct Subscribed {
    std::size_t connections = 0;             ///< that have the subscription by this
    std::optional<SubscribeAnswer> refusal;  ///< of one that has not
  };
  /// Subscribes clients of the Centrifuge protocol; others have the channels that their requests name.
  virtual void subscribe(ClientFilter who, SubscriptionGrant grant, std::optional<Since> since,
                         std::function<void(const Subscribed&)> done) = 0;
  /// Ends their subscription, whoever made it; counts those that had it.
  virtual void unsubscribe(ClientFilter who, std::string channel, Done done) = 0;
};

}  // namespace carillon
