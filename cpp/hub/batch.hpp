#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hub/channel_log.hpp"
#include "store/entry.hpp"

namespace carillon {

/// An encoding of entries for the wire. The bytes are the same for every connection, so they are made once.
/// Thread-safe.
class Form : public FormKey {
 public:
  /// Empty: the form does not show this entry, which is then filtered.
  [[nodiscard]] virtual std::string encode(std::string_view channel, const Epoch& epoch,
                                           const Entry& entry) const = 0;

 protected:
  constexpr explicit Form(Making making = Making::any) : FormKey(making) {}
  ~Form() = default;  // forms are not owned through this type
};

/// An encoding of a stored publication that needs the one at the offset before. The bytes are the same for
/// every connection that has got that one. Thread-safe.
class DeltaForm : public FormKey {
 public:
  /// Empty: no delta, so the publication is sent in full.
  [[nodiscard]] virtual std::string encode(std::string_view channel, const Epoch& epoch, const Entry& entry,
                                           const Entry& previous) const = 0;

 protected:
  constexpr explicit DeltaForm(Making making = Making::any) : FormKey(making) {}
  ~DeltaForm() = default;  // forms are not owned through this type
};

enum class Transport : std::uint8_t;  // of sessions

/// The entries that a cursor takes, and their form. One object per layout in the process.
struct Layout {
  const Form& form;
  bool has_notices = true;           ///< false: joins and leaves are filtered
  const DeltaForm* delta = nullptr;  ///< of publications whose predecessor has been taken; null: `form`
  bool has_taken_previous = true;    ///< false: of those before the batch, nothing has been taken
  Transport transport = {};          ///< of whose connections these deliveries are
};

class Batch;

/// The entries of a batch in one layout, one after another.
struct EncodedBatch {
  const Batch* batch = nullptr;  ///< null: not laid out yet
  const Layout* layout = nullptr;
  std::string_view bytes;
  std::uint32_t frames = 0;            ///< entries with bytes
  std::uint32_t filtered = 0;          ///< entries without bytes
  std::uint32_t conflated = 0;         ///< entries replaced by a newer one with the same key
  mutable std::uint32_t sent = 0;      ///< times that all of it was sent and has not been counted yet
  std::vector<std::uint32_t> ends;     ///< end of entry i in `bytes`; empty for a batch of one entry
  std::string storage;                 ///< the bytes, unless they belong to a single entry
  std::unique_ptr<EncodedBatch> next;  ///< in another layout
};

/// Entries of a channel with consecutive seqs, for the cursors in front of them. Laid out at most once per
/// layout. Belongs to one shard.
class Batch {
 public:
  Batch(std::string_view channel, const Epoch& epoch, Seq begin, Offset offset_before)
      : channel_(channel), epoch_(epoch), begin_(begin), offset_before_(offset_before) {}

  void add(EntryRef entry) { entries_.push_back(std::move(entry)); }
  /// The publication that everybody who takes the batch has got last; by default it is not known.
  void set_previous(EntryRef publication) { previous_ = std::move(publication); }
  /// Marks all but the newest publication of each key. Call it once, when all entries are in.
  void conflate();
  /// Is the entry at `index` replaced by a newer one?
  [[nodiscard]] bool is_conflated(std::uint32_t index) const {
    return !conflated_.empty() && conflated_[index];
  }

  [[nodiscard]] std::string_view channel() const { return channel_; }
  [[nodiscard]] const Epoch& epoch() const { return epoch_; }
  [[nodiscard]] const std::vector<EntryRef>& entries() const { return entries_; }
  [[nodiscard]] std::uint32_t size() const { return static_cast<std::uint32_t>(entries_.size()); }
  /// Of the entries' data.
  [[nodiscard]] std::size_t data_bytes() const {
    std::size_t bytes = 0;
    for (const EntryRef& entry : entries_) bytes += entry->publication.data.size();
    return bytes;
  }
  [[nodiscard]] Seq begin() const { return begin_; }
  [[nodiscard]] Seq end() const { return begin_ + entries_.size(); }
  /// Newest offset below the entry at `index`, in [0, size()].
  [[nodiscard]] Offset offset_before(std::uint32_t index) const {
    for (std::uint32_t i = index; i > 0; --i) {
      if (entries_[i - 1]->is_stored()) return entries_[i - 1]->offset;
    }
    return offset_before_;
  }

  [[nodiscard]] const std::string& encoded_entry(const Form& form, const Entry& entry) const {
    return entry.form(form, [&] { return form.encode(channel_, epoch_, entry); });
  }
  /// The publication before the entry at `index`, if both are stored and nothing came between them; else
  /// null.
  [[nodiscard]] const Entry* previous_of(std::uint32_t index, bool has_taken_previous) const;
  /// All layouts in which it has been laid out, as a list.
  [[nodiscard]] const EncodedBatch& first_encoded() const { return first_; }
  /// Sent once to one connection, in a layout of its own.
  void count_sent_alone() const { ++sent_alone_; }
  [[nodiscard]] std::uint32_t take_sent_alone() const { return std::exchange(sent_alone_, 0); }
  /// The batch in one layout, or null if it has not been laid out yet.
  [[nodiscard]] const EncodedBatch* encoded(const Layout& layout) const {
    const EncodedBatch* known = &first_;
    while (known != nullptr && known->layout != &layout) known = known->next.get();
    return known;
  }
  /// The batch in one layout; lays it out first if necessary.
  const EncodedBatch& lay_out(const Layout& layout) const;

 private:
  std::string_view channel_;
  Epoch epoch_;
  Seq begin_;
  Offset offset_before_;
  EntryRef previous_;
  std::vector<EntryRef> entries_;
  std::vector<bool> conflated_;  // empty: none
  mutable EncodedBatch first_;   // most batches are needed in one layout
  mutable std::uint32_t sent_alone_ = 0;
};

}  // namespace carillon
