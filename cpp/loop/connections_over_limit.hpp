#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "loop/connection.hpp"

namespace carillon {

/// Connections over the limit. Their requests are read, so that /health and the HTTP API are answered; others
/// are refused. Only a few at a time: for a new one the oldest that is not being answered is closed.
class ConnectionsOverLimit {
 public:
  explicit ConnectionsOverLimit(std::size_t most) : most_(most) {}

  /// The connection to close now, or null. In the worst case it is the new one, which has sent nothing yet.
  [[nodiscard]] Connection* add(Connection& newcomer) {
    connections_.push_back(&newcomer);
    if (connections_.size() <= most_) return nullptr;
    const auto found = std::find_if(connections_.begin(), connections_.end(), [](const Connection* each) {
      return !each->session->has_open_question() && !each->outlet.is_clogged;
    });
    Connection* oldest = *found;
    connections_.erase(found);
    return oldest;
  }
  void remove(const Connection& connection) { std::erase(connections_, &connection); }

 private:
  const std::size_t most_;
  std::vector<Connection*> connections_;  // oldest first
};

}  // namespace carillon
