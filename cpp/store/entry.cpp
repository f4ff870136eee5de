#include "store/entry.hpp"

namespace carillon {

Entry::~Entry() {
  std::int64_t bytes = static_cast<std::int64_t>(cost_bytes());
  for (auto& slot : forms_) {
    const std::unique_ptr<const EncodedForm> form(slot.load(std::memory_order_acquire));
    if (form) bytes += static_cast<std::int64_t>(form->bytes.size());
  }
  if (gauge_) gauge_->fetch_sub(bytes, std::memory_order_relaxed);
}

std::size_t Entry::cost_bytes() const {
  std::size_t bytes =
      kOverheadBytes + publication.data.size() + publication.info_json.size() + publication.key.size();
  for (const Tag& tag : publication.tags) bytes += sizeof(Tag) + tag.first.size() + tag.second.size();
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
  if (gauge_) gauge_->fetch_add(static_cast<std::int64_t>(fresh->bytes.size()), std::memory_order_relaxed);
  return *made.release();
}

}  // namespace carillon
