#pragma once

#include <string>
#include <utility>
#include <vector>

#include "session/session_clients.hpp"

namespace carillon::testing {

/// Offsets of the publications of a channel, in the order in which they came: in subscribe replies and
/// pushes.
struct Journal {
  explicit Journal(WsClient& client, std::string its_channel) : channel(std::move(its_channel)) {
    client.on_reply = [this](const Json& reply) {
      if (reply.contains("subscribe")) {
        for (const Json& each : reply["subscribe"].value("publications", Json::array())) add(each);
      }
      if (reply.contains("push") && reply["push"].value("channel", "") == channel &&
          reply["push"].contains("pub")) {
        add(reply["push"]["pub"]);
      }
    };
  }
  void add(const Json& publication) { offsets.push_back(publication.value("offset", Offset{0})); }
  std::string channel;
  std::vector<Offset> offsets;
};

inline std::vector<Offset> range(Offset first, Offset last) {
  std::vector<Offset> all;
  for (Offset offset = first; offset <= last; ++offset) all.push_back(offset);
  return all;
}

}  // namespace carillon::testing
