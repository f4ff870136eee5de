#include "hub/batch.hpp"

#include <set>
#include <utility>

namespace carillon {

void Batch::conflate() {
  std::set<std::string_view>
      newer;  // no hash table: publishers choose keys, and might choose some that collide
  std::vector<bool> conflated(entries_.size(), false);
  bool is_any = false;
  for (std::size_t i = entries_.size(); i > 0; --i) {
    const std::string& key = entries_[i - 1]->publication.key;
    if (key.empty() || newer.insert(key).second) continue;
    conflated[i - 1] = is_any = true;
  }
  if (is_any) conflated_ = std::move(conflated);
}

const Entry* Batch::previous_of(std::uint32_t index, bool has_taken_previous) const {
  const Entry& entry = *entries_[index];
  if (entry.kind != EntryKind::publication || !entry.is_stored()) return nullptr;
  const Entry* previous = has_taken_previous ? previous_.get() : nullptr;
  for (std::uint32_t i = index; i > 0; --i) {
    if (entries_[i - 1]->kind != EntryKind::publication) continue;
    previous = entries_[i - 1].get();
    break;
  }
  const bool is_base = previous != nullptr && previous->is_stored() && previous->offset + 1 == entry.offset;
  return is_base ? previous : nullptr;
}

const EncodedBatch& Batch::lay_out(const Layout& layout) const {
  if (const EncodedBatch* const known = encoded(layout)) return *known;
  EncodedBatch* free = &first_;
  if (free->batch != nullptr) {
    auto further = std::make_unique<EncodedBatch>();
    further->next = std::move(first_.next);
    first_.next = std::move(further);
    free = first_.next.get();
  }
  EncodedBatch& out = *free;
  out.batch = this;
  out.layout = &layout;
  const auto bytes_of = [&](std::uint32_t index) -> std::string_view {
    const Entry& entry = *entries_[index];
    if (entry.kind != EntryKind::publication && !layout.has_notices) return {};
    if (layout.delta != nullptr) {
      if (const Entry* const previous = previous_of(index, layout.has_taken_previous)) {
        const std::string& delta = entry.form(
            *layout.delta, [&] { return layout.delta->encode(channel_, epoch_, entry, *previous); });
        if (!delta.empty()) return delta;
      }
    }
    return encoded_entry(layout.form, entry);
  };
  if (entries_.size() == 1) {
    out.bytes = bytes_of(0);
    (out.bytes.empty() ? out.filtered : out.frames) = 1;
    return out;
  }
  std::size_t bytes = 0;
  for (std::uint32_t i = 0; i < size(); ++i) {
    if (!is_conflated(i)) bytes += bytes_of(i).size();
  }
  out.storage.reserve(bytes);
  out.ends.reserve(entries_.size());
  for (std::uint32_t i = 0; i < size(); ++i) {
    if (is_conflated(i)) {
      ++out.conflated;
    } else {
      const std::string_view frame = bytes_of(i);
      out.storage.append(frame);
      ++(frame.empty() ? out.filtered : out.frames);
    }
    out.ends.push_back(static_cast<std::uint32_t>(out.storage.size()));
  }
  out.bytes = out.storage;
  return out;
}

}  // namespace carillon
