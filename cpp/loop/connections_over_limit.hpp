#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "loop/connection.hpp"

namespace carillon {

/// Connections over the limit: they are heard, so that the operator and the HTTP API are answered, and then
/// refused or closed. Only a few at a time: for a newcomer the oldest goes that is not being answered.
class ConnectionsOverLimit {
 public:
  explicit ConnectionsOverLimit(std::size_t most) : most_(most) {}

  /// The one that must go now, or null; at the latest it is the newcomer, which has not asked anything.
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
