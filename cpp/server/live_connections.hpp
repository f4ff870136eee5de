#pragma once

#include <functional>
#include <string>

#include "gateway/gateway.hpp"
#include "server/connections.hpp"

namespace carillon {

/// The connections of a gateway.
class LiveConnections final : public Connections {
 public:
  explicit LiveConnections(Gateway& gateway) : gateway_(gateway) {}

  void disconnect(ClientFilter who, std::uint16_t code, std::string reason, Done done) override;
  void refresh(ClientFilter who, Renewal renewal, Done done) override;
  void subscribe(ClientFilter who, SubscriptionGrant grant, std::optional<Since> since,
                 std::function<void(const Subscribed&)> done) override;
  void unsubscribe(ClientFilter who, std::string channel, Done done) override;

  /// Visits every client on its shard's thread, perhaps twice. `visit` is forgotten when all have been
  /// visited.
  void for_each(const std::function<void(Session&)>& visit);

 private:
  Gateway& gateway_;
};

}  // namespace carillon
