#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "store/position.hpp"

namespace carillon {

struct OffsetRange {
  Offset first = 1;
  Offset last = 0;  ///< inclusive; below `first`: the range is empty
  [[nodiscard]] bool is_empty() const { return last < first; }
  [[nodiscard]] bool contains(Offset offset) const { return first <= offset && offset <= last; }
};

/// A set of offsets, added in any order but mostly ascending: disjoint ranges. Beyond kRanges the two lowest
/// ranges are joined, together with the offsets between them.
class OffsetRanges {
 public:
  static constexpr std::size_t kRanges = 256;

  /// False: it was already in the set.
  bool add(Offset offset) {
    auto next = std::upper_bound(ranges_.begin(), ranges_.end(), offset,
                                 [](Offset each, const OffsetRange& range) { return each < range.first; });
    const bool has_previous = next != ranges_.begin();
    if (has_previous && std::prev(next)->last >= offset) return false;
    const bool joins_next = next != ranges_.end() && next->first == offset + 1;
    if (has_previous && std::prev(next)->last + 1 == offset) {
      std::prev(next)->last = joins_next ? next->last : offset;
      if (joins_next) ranges_.erase(next);
    } else if (joins_next) {
      next->first = offset;
    } else {
      ranges_.insert(next, {offset, offset});
    }
    if (ranges_.size() > kRanges) {
      ranges_[1].first = ranges_[0].first;
      ranges_.erase(ranges_.begin());
    }
    return true;
  }
  [[nodiscard]] bool contains(Offset offset) const {
    return std::any_of(ranges_.begin(), ranges_.end(),
                       [offset](const OffsetRange& range) { return range.contains(offset); });
  }
  [[nodiscard]] bool is_empty() const { return ranges_.empty(); }
  /// Of all ranges, with the offsets in between.
  [[nodiscard]] OffsetRange hull() const {
    return ranges_.empty() ? OffsetRange{} : OffsetRange{ranges_.front().first, ranges_.back().last};
  }
  /// Removes and returns the lowest range.
  OffsetRange take_first() {
    const OffsetRange first = ranges_.front();
    ranges_.erase(ranges_.begin());
    return first;
  }
  void clear() { ranges_.clear(); }

 private:
  std::vector<OffsetRange> ranges_;
};

}  // namespace carillon
