#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "hub/hub.hpp"

namespace carillon {

/// An item of a reader in memory. They come in this order: a status, then publications and gaps, then closed.
struct ReaderItem {
  enum class Kind : std::uint8_t { publication, status, gap, closed, failed };
  Kind kind = Kind::publication;
  std::uint64_t subscription = 0;
  EntryRef entry;                              ///< publication
  std::shared_ptr<const std::string> channel;  ///< publication
  Epoch epoch;                       ///< publication, status (unset: the channel has no positions), gap
  std::optional<bool> is_recovered;  ///< status; nothing: there was nothing to recover
  bool is_conflated = false;         ///< status: offsets may be left out on the way
  Offset offset = 0;                 ///< status: it starts after this
  Offset lost_from = 0;              ///< gap
  Offset lost_to = 0;
};

/// Takes the items of readers. Thread-safe; bounded for publications.
class ReaderQueue {
 public:
  virtual ~ReaderQueue() = default;
  /// Number of publications that still fit. A reader that found too little room is resumed when there is
  /// room.
  [[nodiscard]] virtual std::size_t room() const = 0;
  /// False: the queue is closed.
  virtual bool push(ReaderItem item) = 0;
  /// `resume` is called once, from any thread, when there is room again.
  virtual void when_room(std::function<void()> resume) = 0;
};

/// A subscription without a socket: a cursor whose entries go into a queue in memory. Owned by shared_ptr;
/// everything happens on its shard's thread.
class Reader final : public Sink, public std::enable_shared_from_this<Reader> {
 public:
  /// `abandoned` is called on the shard's thread when the queue is found closed. The owner then closes the
  /// reader.
  Reader(Hub& hub, Shard& shard, std::shared_ptr<ReaderQueue> queue, std::uint64_t subscription,
         std::string channel, std::function<void()> abandoned);
  ~Reader() override;

  /// Opens the cursor. Any thread.
  void open(const std::optional<Since>& since);
  [[nodiscard]] const Shard& shard() const { return shard_; }
  /// Ends the subscription; `closed` is the last item. Any thread.
  void close();

  bool stage(Cursor& cursor, const Batch& batch) override;
  void on_gap(Cursor& cursor, const Gap& gap) override;

 private:
  bool push(ReaderItem::Kind kind, ReaderItem item = {});
  void wait_for_room();

  Hub& hub_;
  Shard& shard_;
  const std::shared_ptr<ReaderQueue> queue_;
  const std::uint64_t subscription_;
  const std::shared_ptr<const std::string> channel_;
  const std::function<void()> abandoned_;
  Cursor cursor_;
  bool is_abandoned_ = false;
  bool is_waiting_ = false;
  bool is_closed_ = false;
};

}  // namespace carillon
