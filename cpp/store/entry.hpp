#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "env/clock.hpp"
#include "store/position.hpp"

namespace carillon {

using Tag = std::pair<std::string, std::string>;

enum class EntryKind : std::uint8_t { publication, join, leave };
enum class ContentType : std::uint8_t { json, binary };

/// A publication as the publisher gives it.
struct Publication {
  std::string data;
  ContentType content = ContentType::json;
  bool has_delta = false;  ///< subscribers that know its predecessor may get the difference to that
  std::string info_json;   ///< the publisher: an encoded ClientInfo, or empty
  std::vector<Tag> tags;
  std::string key;  ///< for conflation
};

/// Memory of all entries and their encoded forms in the process, bytes.
using BytesGauge = std::atomic<std::int64_t>;

/// Names an encoding of entries by its address: one object per encoding in the process.
class FormKey {
 public:
  /// When two shards need the same form at the same moment: either makes it, or one waits for the other,
  /// because making it costs more than that.
  enum class Making : std::uint8_t { any, exclusive };
  FormKey(const FormKey&) = delete;
  FormKey& operator=(const FormKey&) = delete;

 protected:
  constexpr explicit FormKey(Making making = Making::any) : making_(making) {}
  ~FormKey() = default;

 private:
  friend class Entry;
  const Making making_;
};

/// One encoded form of an entry, shared by all connections that use it.
struct EncodedForm {
  const FormKey* key;
  std::string bytes;
  const EncodedForm* next;  ///< an older one of the same entry, or null
};

/// One entry of a channel's log. Immutable once announced, except for its cache of encoded forms.
/// Shared between shards; the cache is lock-free.
class Entry {
 public:
  /// Memory of an entry beside its text: object, ring slot, allocator.
  static constexpr std::size_t kOverheadBytes = 280;

  Entry(EntryKind entry_kind, Publication&& entry_publication, Millis entry_wall_ms)
      : kind(entry_kind), publication(std::move(entry_publication)), wall_ms(entry_wall_ms) {}
  Entry(const Entry&) = delete;
  Entry& operator=(const Entry&) = delete;
  ~Entry();

  const EntryKind kind;
  const Publication publication;
  const Millis wall_ms;
  Offset offset = 0;  ///< set by the store before it announces the entry; 0 = ephemeral
  /// When this process took it from its publisher, monotonic time; 0: another process did. Set before
  /// sharing.
  std::int64_t taken_ns = 0;

  [[nodiscard]] bool is_stored() const { return offset != 0; }
  /// Size in memory without forms, bytes.
  [[nodiscard]] std::size_t cost_bytes() const;

  /// Counts this entry, and the forms it will cache, into `gauge`, which must outlive it. Once, before
  /// sharing.
  void count_into(std::shared_ptr<BytesGauge> gauge);
  [[nodiscard]] bool is_counted() const { return gauge_ != nullptr; }

  /// The bytes in one form, made by `make()` at first need. When two shards race, one result is kept. To make
  /// an exclusive form needs no other exclusive one.
  template <typename Make>
  const std::string& form(const FormKey& key, Make&& make) const {
    const EncodedForm* newest = forms_.load(std::memory_order_acquire);
    if (const EncodedForm* const known = find(newest, nullptr, key)) return known->bytes;
    std::optional<MakingTurn> turn;
    if (key.making_ == FormKey::Making::exclusive) {
      turn.emplace(*this);
      newest = forms_.load(std::memory_order_acquire);
      if (const EncodedForm* const known = find(newest, nullptr, key)) return known->bytes;
    }
    return keep(std::unique_ptr<EncodedForm>(new EncodedForm{&key, std::forward<Make>(make)(), newest}));
  }

 private:
  /// Its time to make an exclusive form. It is the entry's own, so that no thread waits for another entry.
  class MakingTurn final {
   public:
    explicit MakingTurn(const Entry& entry) : entry_(entry) { entry_.begin_making(); }
    MakingTurn(const MakingTurn&) = delete;
    MakingTurn& operator=(const MakingTurn&) = delete;
    ~MakingTurn() { entry_.end_making(); }

   private:
    const Entry& entry_;
  };
  static const EncodedForm* find(const EncodedForm* from, const EncodedForm* end, const FormKey& key) {
    while (from != end && from->key != &key) from = from->next;
    return from != end ? from : nullptr;
  }
  const std::string& keep(std::unique_ptr<EncodedForm> made) const;
  void begin_making() const;
  void end_making() const;

  std::shared_ptr<BytesGauge> gauge_;
  mutable std::atomic<const EncodedForm*> forms_{nullptr};  // newest first; few are ever used of one entry
  mutable std::atomic<bool> is_being_made_{false};          // an exclusive form
};

using EntryRef = std::shared_ptr<const Entry>;

}  // namespace carillon
