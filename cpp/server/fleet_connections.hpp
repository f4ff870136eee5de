#pragma once

#include <string>

#include "server/connections.hpp"
#include "server/fleet.hpp"

namespace carillon {

/// The connections of all gateways that share the store: acts on those here, and asks the others to do the
/// same with theirs. Counts are those of all that have answered.
class FleetConnections final : public Connections {
 public:
  /// `here`: the connections of this gateway. Sets the topics by which others ask.
  FleetConnections(Connections& here, Fleet& fleet);

  void disconnect(ClientFilter who, std::uint16_t code, std::string reason, Done done) override;
  void refresh(ClientFilter who, Renewal renewal, Done done) override;
  void subscribe(ClientFilter who, SubscriptionGrant grant, std::optional<Since> since,
                 std::function<void(const Subscribed&)> done) override;
  void unsubscribe(ClientFilter who, std::string channel, Done done) override;

 private:
  /// Adds what the others answer to what was done here.
  [[nodiscard]] std::function<void(const Subscribed&)> with_others(
      std::string topic, std::string question, std::function<void(const Subscribed&)> done) const;
  [[nodiscard]] Done with_others(std::string topic, std::string question, Done done) const;

  Connections& here_;
  Fleet& fleet_;
};

}  // namespace carillon
