#include "store/entry.hpp"

namespace carillon {

namespace {
/// What the allocator gives for a text beside the object.
std::size_t heap_bytes(const std::string& text) { return text.size() < 16 ? 0 : text.size() + 24; }
std::int64_t cost_of(const EncodedForm& form) {
  return static_cast<std::int64_t>(sizeof(EncodedForm) + 40 + form.bytes.size());
}
}  // namespace

Entry::~Entry() {
  std::int64_t bytes = static_cast<std::int64_t>(cost_bytes());
  for (auto& slot : forms_) {
    const std::unique_ptr<const EncodedForm> form(slot.load(std::memory_order_acquire));
    if (form) bytes += cost_of(*form);
  }
  if (gauge_) gauge_->fetch_sub(bytes, std::memory_order_relaxed);
}

std::size_t Entry::cost_bytes() const {
  std::size_t bytes =
      kOverheadBytes + publication.data.size() + publication.info_json.size() + publication.key.size();
  bytes += publication.tags.capacity() * sizeof(Tag);
  for (const Tag& tag : publication.tags) bytes += heap_bytes(tag.first) + heap_bytes(tag.second);
  return bytes;
}

void Entry::count_into(std::shared_ptr<BytesGauge> gauge) {
  gauge_ = std::move(gauge);
  gauge_->fetch_add(static_cast<std::int64_t>(cost_bytes()), std::memory_order_relaxed);
}

const EncodedForm& Entry::keep(std::size_t slot, std::unique_ptr<EncodedForm> made) const {
  const EncodedForm* expected = nullptr;
  const EncodedForm* fresh = made.get();
  if (!forms_[slot].compare_exchange_strong(expected, fresh, std::memory_order_acq_rel)) return *expected;
  if (gauge_) gauge_->fetch_add(cost_of(*fresh), std::memory_order_relaxed);
  return *made.release();
}

}  // namespace carillon
