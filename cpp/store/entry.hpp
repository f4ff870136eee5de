#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
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
  std::string info_json;  ///< the publisher: an encoded ClientInfo, or empty
  std::vector<Tag> tags;
  std::string key;  ///< for conflation
};

/// Memory of all entries and their encoded forms in the process, bytes.
using BytesGauge = std::atomic<std::int64_t>;

/// One encoded form of an entry, shared by all connections that use it.
struct EncodedForm {
  std::string bytes;
};

/// One entry of a channel's log. Immutable once announced, except for its cache of encoded forms.
/// Shared between shards; the cache is lock-free.
class Entry {
 public:
  /// Maximum number of forms that an entry caches; a form's slot is below it.
  static constexpr std::size_t kForms = 6;
  /// Memory of an entry beside its text: object, ring slot, allocator.
  static constexpr std::size_t kOverheadBytes = 320;

  Entry(EntryKind entry_kind, Publication entry_publication, Millis entry_wall_ms)
      : kind(entry_kind), publication(std::move(entry_publication)), wall_ms(entry_wall_ms) {}
  Entry(const Entry&) = delete;
  Entry& operator=(const Entry&) = delete;
  ~Entry();

  const EntryKind kind;
  const Publication publication;
  const Millis wall_ms;
  Offset offset = 0;  ///< set by the store before it announces the entry; 0 = ephemeral

  [[nodiscard]] bool is_stored() const { return offset != 0; }
  /// Size in memory without forms, bytes.
  [[nodiscard]] std::size_t cost_bytes() const;

  /// Counts this entry, and the forms it will cache, into `gauge`, which must outlive it. Once, before
  /// sharing.
  void count_into(std::shared_ptr<BytesGauge> gauge);
  [[nodiscard]] bool is_counted() const { return gauge_ != nullptr; }

  /// The form in `slot`; made by `make()` at first need. When two shards race, one result is kept.
  template <typename Make>
  const EncodedForm& form(std::size_t slot, Make&& make) const {
    if (const EncodedForm* known = forms_[slot].load(std::memory_order_acquire)) return *known;
    return keep(slot, std::make_unique<EncodedForm>(std::forward<Make>(make)()));
  }

 private:
  const EncodedForm& keep(std::size_t slot, std::unique_ptr<EncodedForm> made) const;

  std::shared_ptr<BytesGauge> gauge_;
  mutable std::array<std::atomic<const EncodedForm*>, kForms> forms_{};
};

using EntryRef = std::shared_ptr<const Entry>;

}  // namespace carillon
