#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "env/clock.hpp"
#include "hub/channel_options.hpp"
#include "hub/ledger.hpp"
#include "store/entry.hpp"
#include "store/fan_out_mode.hpp"
#include "store/position.hpp"

namespace carillon {

// The saved state of the hub. Times are ages, because the other process has another clock.

/// A cursor: its position, and its account so far.
struct CursorState {
  bool is_open = false;
  bool is_live = false;
  bool is_parked = false;  ///< lags, and its sink has not asked for more
  std::uint64_t seq = 0;
  Offset offset = 0;
  std::uint32_t resets = 0;
  std::int64_t announced_at_start = 0;
  std::uint64_t delivered = 0;
  std::array<std::uint64_t, kDropReasons> dropped{};
  std::uint32_t under_way = 0;
  bool has_fallen_behind = false;
  std::uint64_t conflated = 0;
};

struct LogState {
  struct Slot {
    EntryRef entry;
    std::uint64_t seq = 0;
    Offset offset_before = 0;
    Millis age_ms = 0;
  };
  std::vector<Slot> slots;  ///< seqs ascend
  std::uint64_t ephemeral_kept = 0;
  std::uint64_t ephemeral_kept_bytes = 0;
  std::uint64_t end_seq = 0;
  Offset top = 0;
  Offset history_from = 1;
};

struct ChannelState {
  std::string name;
  Epoch epoch;
  LogState log;
  bool needs_unfollow = false;
  std::uint32_t resets = 0;
  std::uint32_t epoch_resets = 0;
  std::int64_t announced = 0;
  std::uint64_t unbalanced = 0;
  Account ended;
  bool has_chosen_fan_out = false;  ///< set at run time: the two below apply in place of the options
  FanOut fan_out = FanOut::write;
  std::uint64_t fan_out_threshold = 0;
  FanOutMode fan_out_mode = FanOutMode::write;  ///< current; near a threshold it depends on the past
  std::uint64_t fan_out_switches = 0;
};

struct HubState {
  std::vector<ChannelState> channels;
  std::uint64_t published = 0;
  std::uint64_t forgotten_unbalanced = 0;
  Account forgotten;  ///< of channels that have become dormant
  std::uint64_t adaptive_permille = 1'000;
};

}  // namespace carillon
