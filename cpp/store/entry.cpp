#include "store/entry.hpp"

#include <cstddef>

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
  for (const EncodedForm* next = forms_.load(std::memory_order_acquire); next != nullptr;) {
    const std::unique_ptr<const EncodedForm> form(next);
    bytes += cost_of(*form);
    next = form->next;
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

void Entry::begin_making() const {
  while (is_being_made_.exchange(true, std::memory_order_acquire))
    is_being_made_.wait(true, std::memory_order_relaxed);
}

void Entry::end_making() const {
  is_being_made_.store(false, std::memory_order_release);
  is_being_made_.notify_all();
}

const std::string& Entry::keep(std::unique_ptr<EncodedForm> made) const {
  const EncodedForm* newest = made->next;
  while (!forms_.compare_exchange_weak(newest, made.get(), std::memory_order_acq_rel)) {
    if (const EncodedForm* const known = find(newest, made->next, *made->key)) return known->bytes;
    made->next = newest;
  }
  if (gauge_) gauge_->fetch_add(cost_of(*made), std::memory_order_relaxed);
  return made.release()->bytes;
}

}  // namespace carillon
