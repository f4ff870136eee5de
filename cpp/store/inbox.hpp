#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "store/position.hpp"

namespace carillon {

/// Publications of one channel with consecutive offsets.
struct InboxRange {
  std::string channel;
  Epoch epoch;
  Offset first = 0;
  Offset last = 0;  ///< inclusive
  [[nodiscard]] std::uint64_t size() const { return last + 1 - first; }
};

/// The unread publications of a user. Each is in exactly one range.
struct InboxContent {
  std::vector<InboxRange> entered;  ///< oldest first, by time of entry; the first of them, up to the limit
  /// Ranges that are in no inbox but may be in the logs, ascending within a channel. If the limit has cut
  /// `entered` for a channel, they end before the cut: marking the shown ones as read marks nothing else.
  std::vector<InboxRange> merged;
  std::vector<std::pair<std::string, std::uint64_t>> unread;  ///< publications by channel, all of them
  /// Ranges are missing: of channels that the user was removed from, only a bounded part is remembered.
  bool is_incomplete = false;
};

/// One step of a walk over a channel's members.
struct EnterStep {
  std::size_t entered = 0;   ///< publications that this step has written into inboxes
  Offset entered_to = 0;     ///< what was published in write mode up to here is in all inboxes
  bool is_done = false;      ///< this gateway has nothing to enter now
  bool is_held = false;      ///< because another one walks
  std::string held_at = {};  ///< the member that it has come to: it moves as long as the other one works
};

}  // namespace carillon
