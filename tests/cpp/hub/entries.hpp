#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hub/batch.hpp"
#include "hub/cursor.hpp"
#include "hub/shard.hpp"
#include "store/entry.hpp"

namespace carillon {

inline Publication publication_of(std::string data) {
  Publication publication;
  publication.data = std::move(data);
  return publication;
}

/// An entry as a store would announce it; offset 0 is ephemeral.
inline std::shared_ptr<Entry> make_entry(Offset offset, std::string data = "x",
                                         EntryKind kind = EntryKind::publication,
                                         Millis wall_ms = 1'700'000'000'000) {
  auto entry = std::make_shared<Entry>(kind, publication_of(std::move(data)), wall_ms);
  entry->offset = offset;
  return entry;
}

/// A subscriber in memory that takes what it can and writes down what it is told.
class PlainReader final : public Sink {
 public:
  explicit PlainReader(Shard& home) : shard(home), cursor(*this) {}
  ~PlainReader() override {
    if (!cursor.is_open()) return;
    shard.bind_to_this_thread();
    shard.unsubscribe(cursor);
    Shard::unbind_this_thread();
  }

  bool stage(Cursor& /*staged*/, const Batch& batch) override {
    ++stages;
    if (on_stage) on_stage();
    if (is_gone) {
      shard.rewind_to(cursor, batch.begin(), batch.offset_before(0));
      shard.unsubscribe(cursor);
      return false;
    }
    if (is_full) return false;
    std::uint32_t delivered = 0;
    for (std::uint32_t i = 0; i < batch.size(); ++i) {
      if (batch.is_conflated(i)) continue;
      taken.push_back(batch.entries()[i]->publication.data);
      ++delivered;
    }
    cursor.count_delivered(delivered);
    cursor.count_conflated(batch.size() - delivered);
    batches.push_back(delivered);
    return true;
  }
  void on_gap(Cursor& /*lost*/, const Gap& gap) override {
    gaps.push_back(gap);
    if (closes_on_gap) shard.unsubscribe(cursor);
  }
  void on_slow(Cursor& /*sent_away*/) override {
    ++slow;
    if (closes_when_slow) shard.unsubscribe(cursor);
  }

  void on_live(Cursor& /*caught_up*/) override { ++times_live; }
  [[nodiscard]] std::string_view client_id() const override { return client; }

  Shard& shard;
  Cursor cursor;
  std::string client;  // empty: it has no client
  bool is_full = false;
  bool is_gone = false;  // its connection ends while it is handed something
  bool closes_on_gap = false;
  bool closes_when_slow = false;
  std::function<void()> on_stage;
  std::size_t stages = 0;
  std::size_t slow = 0;
  std::size_t times_live = 0;
  std::vector<std::string> taken;
  std::vector<std::uint32_t> batches;
  std::vector<Gap> gaps;
};

using Taken = std::vector<std::string>;

}  // namespace carillon
