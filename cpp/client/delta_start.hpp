#pragma once

#include "client/centrifuge_client.hpp"
#include "session/forms.hpp"

namespace carillon {

/// Takes the entries of a subscription with deltas until its client has got a publication in full, which the
/// next one can be a delta to. Afterwards they go straight to the client.
class CentrifugeClient::DeltaStart final : public Sink {
 public:
  explicit DeltaStart(CentrifugeClient& client) : client_(&client) {}

  bool stage(Cursor& cursor, const Batch& batch) override {
    for (std::uint32_t i = batch.size(); i > 0; --i) {
      const Entry& entry = *batch.entries()[i - 1];
      if (entry.kind != EntryKind::publication || !entry.is_stored()) continue;
      base_ = entry.offset;
      break;
    }
    client_->outlet_.wants_empty_notice = true;
    return client_->stage(cursor, batch);
  }
  void on_gap(Cursor& cursor, const Gap& gap) override { client_->on_gap(cursor, gap); }
  void on_slow(Cursor& cursor) override { client_->on_slow(cursor); }
  void on_live(Cursor& cursor) override { client_->on_live(cursor); }
  [[nodiscard]] std::string_view client_id() const override { return client_->client_id(); }

  /// Once everything has been sent: has the client got a base? Entries that the socket did not take went back
  /// to the cursor.
  [[nodiscard]] bool has_base(const Cursor& cursor) const { return base_ > 0 && cursor.offset() >= base_; }

 private:
  CentrifugeClient* const client_;
  Offset base_ = 0;  // the newest publication that has been staged
};

}  // namespace carillon
