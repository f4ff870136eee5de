#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "env/clock.hpp"

namespace carillon {

/// When to log that the store takes no publications, why, and that it takes them again. A reason of another
/// kind is logged once more if it is still there after a while. A store that comes and goes is logged at most
/// kLines times in kLinesMs.
class StoreTroubleReport {
 public:
  static constexpr std::size_t kLines = 4;
  static constexpr Millis kLinesMs = 20'000;
  static constexpr Millis kSettledMs = 5'000;  ///< so long a reason of another kind has been known
  static constexpr std::size_t kKinds = 8;     ///< of one time without the store

  struct News {
    enum class Kind : std::uint8_t { none, began, another_reason, over };
    Kind kind = Kind::none;
    std::uint64_t changes = 0;  ///< between taking and not taking them, since the last record
  };

  /// `trouble`: why it takes none now; empty: it takes them.
  [[nodiscard]] News look(std::string_view trouble, Millis now_ms);

 private:
  struct Reason {
    std::string kind;
    Millis since_ms = 0;
    bool is_told = false;
  };
  [[nodiscard]] bool may_tell(Millis now_ms);
  [[nodiscard]] Reason* reason_of(std::string_view trouble, Millis now_ms);

  bool is_down_ = false;
  bool is_told_down_ = false;
  std::uint64_t changes_ = 0;
  std::vector<Reason> reasons_;  // of this time without the store
  std::deque<Millis> told_ms_;   // the last kLines records
};

}  // namespace carillon
