#include "hub/batch.hpp"

namespace carillon {

const EncodedBatch& Batch::lay_out(const Form& form) const {
  EncodedBatch& out = encoded_[form.slot];
  if (out.batch != nullptr) return out;
  out.batch = this;
  if (entries_.size() == 1) {
    out.bytes = encoded_entry(form, *entries_.front()).bytes;
    (out.bytes.empty() ? out.filtered : out.frames) = 1;
    return out;
  }
  std::size_t bytes = 0;
  for (const EntryRef& entry : entries_) bytes += encoded_entry(form, *entry).bytes.size();
  out.storage.reserve(bytes);
  out.ends.reserve(entries_.size());
  for (const EntryRef& entry : entries_) {
    const std::string& frame = encoded_entry(form, *entry).bytes;
    out.storage.append(frame);
    out.ends.push_back(static_cast<std::uint32_t>(out.storage.size()));
    ++(frame.empty() ? out.filtered : out.frames);
  }
  out.bytes = out.storage;
  return out;
}

}  // namespace carillon
