#include "session/forms.hpp"

#include <string>

#include "protocol/centrifuge_json.hpp"
#include "protocol/poll_reply.hpp"
#include "protocol/position_token.hpp"
#include "protocol/sse_event.hpp"
#include "protocol/ws_frame.hpp"

namespace carillon {

PublicationView view_of(const Entry& entry, const Epoch& epoch) {
  const Publication& publication = entry.publication;
  return {.data = publication.data,
          .is_json = publication.content == ContentType::json,
          .info_json = publication.info_json,
          .tags = publication.tags,
          .offset = entry.offset,
          .epoch = entry.offset == 1 ? epoch.text() : std::string_view()};
}

namespace {

class WsJsonForm final : public Form {
 public:
  WsJsonForm(FormSlot form_slot, bool has_notices)
      : Form(static_cast<std::size_t>(form_slot)), has_notices_(has_notices) {}

  [[nodiscard]] EncodedForm encode(std::string_view channel, const Epoch& epoch,
                                   const Entry& entry) const override {
    EncodedForm form;
    std::string payload;
    ByteRange object;
    const CentrifugeCodec& codec = centrifuge_json_codec();
    if (entry.kind == EntryKind::publication) {
      object = codec.encode_push_publication(payload, channel, view_of(entry, epoch));
    } else if (!has_notices_) {
      return form;
    } else if (entry.kind == EntryKind::join) {
      codec.encode_push_join(payload, channel, entry.publication.info_json);
    } else {
      codec.encode_push_leave(payload, channel, entry.publication.info_json);
    }
    form.bytes.reserve(ws_header_bytes(payload.size()) + payload.size());
    append_ws_frame(form.bytes, WsOpcode::text, payload);
    const std::size_t header = form.bytes.size() - payload.size();
    form.object_begin = static_cast<std::uint32_t>(header + object.begin);
    form.object_end = static_cast<std::uint32_t>(header + object.end);
    return form;
  }

 private:
  const bool has_notices_;
};

/// What the plain transports have of an entry: publications only.
class PlainForm final : public Form {
 public:
  explicit PlainForm(FormSlot form_slot) : Form(static_cast<std::size_t>(form_slot)), slot_(form_slot) {}

  [[nodiscard]] EncodedForm encode(std::string_view channel, const Epoch& epoch,
                                   const Entry& entry) const override {
    EncodedForm form;
    if (entry.kind != EntryKind::publication) return form;
    const PublicationView view = view_of(entry, epoch);
    if (slot_ == FormSlot::poll_object) {
      append_publication_object(form.bytes, channel, view);
      return form;
    }
    if (slot_ == FormSlot::sse_event && entry.is_stored()) {
      std::string token;
      append_position_token(token, TokenPart{epoch.text(), entry.offset}, true);
      append_sse_id(form.bytes, token);
    }
    append_sse_data(form.bytes, channel, view);
    return form;
  }

 private:
  const FormSlot slot_;
};

}  // namespace

const Form& ws_json_form() {
  static const WsJsonForm form(FormSlot::ws_json, false);
  return form;
}
const Form& ws_json_notices_form() {
  static const WsJsonForm form(FormSlot::ws_json_notices, true);
  return form;
}
const Form& sse_event_form() {
  static const PlainForm form(FormSlot::sse_event);
  return form;
}
const Form& sse_data_form() {
  static const PlainForm form(FormSlot::sse_data);
  return form;
}
const Form& poll_object_form() {
  static const PlainForm form(FormSlot::poll_object);
  return form;
}

}  // namespace carillon
