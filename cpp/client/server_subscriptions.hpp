#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "client/centrifuge_client.hpp"

namespace carillon {

/// A connect that is accepted, and waits for the subscriptions that the server makes with it.
struct CentrifugeClient::Connect {
  struct Made {
    Subscription* subscription;
    SubscribeOutcome outcome;
  };
  std::uint32_t id;
  std::string data_json;
  std::vector<SubscriptionGrant> grants;
  std::vector<Made> made = {};
  bool is_asking = true;  ///< the hub has still to be asked for some

  [[nodiscard]] bool is_complete() const { return !is_asking && made.size() == grants.size(); }
  [[nodiscard]] const SubscriptionGrant& grant_of(std::string_view channel) const {
    return *std::find_if(grants.begin(), grants.end(),
                         [&](const SubscriptionGrant& each) { return each.channel == channel; });
  }
};

}  // namespace carillon
