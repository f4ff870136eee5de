#include "client/filtered_path.hpp"

#include <cstdint>
#include <string_view>

namespace carillon {

bool CentrifugeClient::FilteredPath::stage(Cursor& cursor, const Batch& batch) {
  CentrifugeClient& client = *client_;
  if (client.outlet_.is_clogged || client.phase_ != Phase::connected) return false;
  const Layout& layout = client.layouts_[cursor.mark()];
  EncodedBatch& own = client.context_.output.own_batch();
  for (std::uint32_t i = 0; i < batch.size(); ++i) {
    const Entry& entry = *batch.entries()[i];
    const bool is_shown = (entry.kind == EntryKind::publication || layout.has_notices) && passes(entry);
    if (batch.is_conflated(i)) {
      ++own.conflated;
    } else if (const std::string_view frame =
                   is_shown ? std::string_view(batch.encoded_entry(layout.form, entry)) : std::string_view();
               frame.empty()) {
      ++own.filtered;
    } else {
      own.storage.append(frame);
      ++own.frames;
    }
    own.ends.push_back(static_cast<std::uint32_t>(own.storage.size()));
  }
  own.bytes = own.storage;
  own.batch = &batch;
  own.layout = &layout;
  client.context_.output.add(client.outlet_, cursor, own);
  return true;
}

}  // namespace carillon
