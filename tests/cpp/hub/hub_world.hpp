#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "doubles/seeded_random.hpp"
#include "doubles/virtual_clock.hpp"
#include "hub/hub.hpp"
#include "hub/journal.hpp"
#include "hub/late_store.hpp"
#include "store/memory_store.hpp"

namespace carillon {

class HubWorld;

/// A subscriber with whims: it takes all, or a part, or nothing for a while; it comes, goes and comes back.
class WhimsicalReader final : public Sink {
 public:
  WhimsicalReader(HubWorld& world, std::size_t shard, std::size_t channel);
  ~WhimsicalReader() override;

  bool stage(Cursor& cursor, const Batch& batch) override;
  void on_gap(Cursor& cursor, const Gap& gap) override;
  void on_slow(Cursor& cursor) override;

  void subscribe(const std::optional<Since>& since);
  void close();
  void flush();
  void unclog();
  [[nodiscard]] bool is_open() const { return cursor_.is_open(); }
  [[nodiscard]] bool is_waiting() const { return is_waiting_; }
  [[nodiscard]] bool is_clogged() const { return is_clogged_; }
  [[nodiscard]] const Journal& journal() const { return journal_; }
  [[nodiscard]] std::size_t shard() const { return shard_; }
  [[nodiscard]] std::size_t channel() const { return channel_; }
  void expect_complete();

 private:
  void take(const Entry& entry);
  void take_all(const Batch& batch);

  HubWorld& world_;
  const std::size_t shard_;
  const std::size_t channel_;
  Cursor cursor_;
  Journal journal_;
  bool wants_notices_ = true;
  bool is_waiting_ = false;  // for the answer to a subscribe
  bool is_clogged_ = false;
  std::vector<const Batch*> staged_;
  EntryRef half_;  // a frame of which a part has left
  std::uint64_t delivered_ = 0;
};

/// A hub with its shards, store, publishers and subscribers under one clock and one seed: every step is a
/// choice of the seed, and everything that is delivered is checked as it comes.
class HubWorld final : public StoreListener {
 public:
  enum class Kind : std::uint8_t { memory, late };
  HubWorld(std::uint64_t seed, Kind kind);
  ~HubWorld() override;

  void run(std::size_t steps);
  /// Turns until everything is idle and checks that nothing is missing, that the books balance, and that all
  /// memory comes back.
  void finish();

  void on_announced(const Announcement& announcement) override;

  struct Counts {
    std::uint64_t published = 0;  ///< to subscriptions that have ended; exact truth only
    std::uint64_t delivered = 0, filtered = 0;
    std::uint64_t recovered = 0, told = 0, gaps = 0, duplicates = 0, failed = 0, renewed = 0, skipped = 0,
                  slow = 0, switched = 0, remote = 0, entered = 0;
  };
  Counts counts;

 private:
  friend class WhimsicalReader;
  class Tap;

  void step();
  void publish();
  void publish_to(Truth& truth, bool is_whimsical);
  void expect_published(Truth& truth, const std::string& data, const AppendResult& result,
                        const std::string& key, bool is_stored);
  void subscribe_somebody();
  void check_history();
  void check_ledger();
  void expect_history(Truth& truth, const HistoryQuery& query, const HistoryResult& result);
  std::optional<Since> some_since(const WhimsicalReader& reader);
  /// Whatever order the late store chooses: nothing that this one has missed can be lost.
  bool must_recover(const Truth& truth, const Since& since);
  void add_members();
  void expect_entered(const Truth& truth, const Position& position);
  void publish_remotely();
  void turn(std::size_t shard);
  [[nodiscard]] bool is_due(std::size_t shard) const;
  void settle();
  template <typename Act>
  void on_shard(std::size_t shard, Act&& act);
  WhimsicalReader& anybody() { return *readers_[random_.below(readers_.size())]; }

  VirtualClock clock_;
  SeededRandom random_;
  const Kind kind_;
  std::vector<std::unique_ptr<Truth>> truths_;
  std::unique_ptr<MemoryStore> memory_;
  std::unique_ptr<LateStore> late_;
  std::unique_ptr<Tap> tap_;
  std::unique_ptr<Hub> hub_;
  StoreListener* listener_ = nullptr;
  std::vector<std::unique_ptr<Shard>> shards_;
  std::vector<char> wants_turn_;
  std::vector<std::unique_ptr<WhimsicalReader>> readers_;
  std::map<std::string, std::pair<Position, Millis>> keys_;
  Millis key_window_ms_ = 0;
  std::uint64_t published_ = 0;
  std::int64_t answers_missing_ = 0;
  bool is_calm_ = false;  // no more whims
  bool is_faultless_ = false;
  std::vector<std::string> users_;                  // members of all channels that have a history
  std::map<std::string, Epoch> epochs_of_members_;  // in which they are: with a new one they are lost
};

}  // namespace carillon
