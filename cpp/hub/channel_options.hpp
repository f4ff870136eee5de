#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "env/clock.hpp"

namespace carillon {

/// What holds for a channel. Defaults are those of a hub without a config.
struct ChannelOptions {
  std::size_t history_size = 1'000;               ///< publications that can be read again; 0: none, and no offsets
  Millis history_ttl_ms = 300'000;                ///< age at which a publication leaves the history
  std::size_t history_bytes = 4 * 1024 * 1024;    ///< of the publications kept
  std::size_t live_window_entries = 64;           ///< kept for live cursors even where there is no history
  std::size_t live_window_bytes = 256 * 1024;
  bool presence = true;
  bool join_leave = false;
  bool allow_subscribe = false;
  bool allow_publish = false;
  bool allow_presence = false;
  bool allow_history = false;

  [[nodiscard]] bool has_history() const { return history_size > 0 && history_ttl_ms > 0; }
};

/// Options by channel pattern: `*` stands for any text; the longest pattern that matches wins.
/// Immutable after construction, so it may be read from any thread.
class ChannelRules {
 public:
  struct Rule {
    std::string pattern;
    ChannelOptions options;
  };
  ChannelRules() = default;
  explicit ChannelRules(std::vector<Rule> rules);
  [[nodiscard]] const ChannelOptions& options_for(std::string_view channel) const;

 private:
  std::vector<Rule> rules_;  // longest pattern first
  ChannelOptions default_;
};

/// Does `text` match `pattern`, in which `*` stands for any run of characters?
[[nodiscard]] bool matches_pattern(std::string_view pattern, std::string_view text);

}  // namespace carillon
