#pragma once

#include <functional>

#include "hub/hub.hpp"
#include "server/fleet.hpp"

namespace carillon {

/// Channels with subscribers in all gateways that share the store.
class FleetChannels {
 public:
  /// Sets the topic by which others ask.
  FleetChannels(Hub& hub, Fleet& fleet);

  /// As Hub::list_channels(); a channel counts with its subscribers everywhere.
  void list(ChannelsQuery query, std::function<void(ChannelsPage)> done);

 private:
  Hub& hub_;
  Fleet& fleet_;
};

}  // namespace carillon
