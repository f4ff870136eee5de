#pragma once

#include <string>
#include <utility>

#include "client/centrifuge_client.hpp"
#include "protocol/tags_filter.hpp"

namespace carillon {

/// Takes the entries of a subscription with a tags filter: its own choice of the forms that all share.
class CentrifugeClient::FilteredPath final : public Sink {
 public:
  /// `text`: of the filter, in the encoding of the client.
  FilteredPath(CentrifugeClient& client, TagsFilter filter, std::string text)
      : client_(&client), filter_(std::move(filter)), text_(std::move(text)) {}

  bool stage(Cursor& cursor, const Batch& batch) override;
  void on_gap(Cursor& cursor, const Gap& gap) override { client_->on_gap(cursor, gap); }
  void on_slow(Cursor& cursor) override { client_->on_slow(cursor); }
  void on_live(Cursor& cursor) override { client_->on_live(cursor); }
  [[nodiscard]] std::string_view client_id() const override { return client_->client_id(); }

  [[nodiscard]] bool passes(const Entry& entry) const {
    return entry.kind != EntryKind::publication || filter_.passes(entry.publication.tags);
  }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  CentrifugeClient* const client_;
  const TagsFilter filter_;
  const std::string text_;
};

}  // namespace carillon
