#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "hub/channel_options.hpp"
#include "hub/cursor.hpp"
#include "hub/hub.hpp"
#include "store/entry.hpp"

namespace carillon {

/// What was really published to one channel: the plain list that every subscriber's journal is held against.
class Truth {
 public:
  struct Line {
    std::string data;
    EntryKind kind = EntryKind::publication;
    Offset offset = 0;
    Millis announced_ms = 0;
    std::size_t cost_bytes = 0;
  };

  std::string name;
  ChannelOptions options;

  /// With an exact truth announcements come in their final order: everything can be said about every entry.
  /// Otherwise only the stored ones have an order, by offset.
  bool is_exact = true;
  Epoch epoch;
  std::vector<Line> lines;       ///< of this epoch, in the order of announcement
  bool may_be_relieved = false;  ///< histories may be shorter than their bounds say
  Offset top = 0;
  Offset removed_to = 0;  ///< by remove_history
  bool was_removed = false;
  bool may_lose = true;  ///< a gap may be told though the store has everything

  void on_announced(const Epoch& of, const Entry& entry, Millis now_ms);
  /// Both an announcement and a reader say what stands at a place; they must agree.
  void expect_same(const Epoch& of, const Entry& entry);
  /// Index of the line behind publication `offset`; lines.size() when there is none yet.
  [[nodiscard]] std::size_t index_after(Offset offset) const;
  /// Must a resume after `offset` be complete? Only for an exact truth.
  [[nodiscard]] bool holds_all_after(Offset offset, Millis now_ms) const;
  /// Oldest offset that a history call may still show.
  [[nodiscard]] Offset history_from(Millis now_ms) const;

 private:
  std::map<std::pair<std::string, Offset>, std::string> stored_;
};

/// What one subscription has seen, checked entry by entry: no gap, no duplicate, no reorder, unless it was
/// told.
class Journal {
 public:
  explicit Journal(Truth& truth) : truth_(truth) {}

  void start(const SubscribeOutcome& outcome, const std::optional<Since>& since, Millis now_ms);
  void take(const Entry& entry);
  void gap(const Gap& gap);
  /// The subscription ends, or everything has come: says nothing to what is still under way.
  [[nodiscard]] Position position() const { return {epoch_, offset_}; }
  [[nodiscard]] bool has_position() const { return epoch_.is_set(); }
  /// Nothing is missing up to the end of the truth, but ephemeral entries that were dropped.
  void expect_complete();
  /// Exact truth: entries announced since its start.
  [[nodiscard]] std::uint64_t published() const { return truth_.lines.size() - start_; }

 private:
  void pass_over(const Truth::Line& line);
  /// Where a subscription starts that is not recovered, at the earliest.
  [[nodiscard]] Offset expected_start(const SubscribeOutcome& outcome, const std::optional<Since>& since,
                                      Millis now_ms) const;

  Truth& truth_;
  Epoch epoch_;
  Offset offset_ = 0;
  Offset told_to_ = 0;     // stored entries up to here may be missing: it has been told
  std::size_t start_ = 0;  // exact truth: line of its start
  std::size_t next_ = 0;   // exact truth: line that comes next
  std::map<std::string, std::uint64_t> ephemeral_seen_;
};

}  // namespace carillon
