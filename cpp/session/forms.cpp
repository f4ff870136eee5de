#include "session/forms.hpp"

#include <string>

#include "protocol/fossil_delta.hpp"
#include "protocol/poll_reply.hpp"
#include "protocol/position_token.hpp"
#include "protocol/sse_event.hpp"
#include "protocol/uni_json.hpp"
#include "session/deflation.hpp"

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

class DeltaText final : public FormKey {};
constexpr DeltaText kDeltaText;

/// The delta between two publications, made once for all encodings; empty if it would not be shorter.
const std::string& delta_text(const Entry& entry, const Entry& previous) {
  return entry.form(kDeltaText, [&] {
    const Publication& from = previous.publication;
    const Publication& to = entry.publication;
    if (from.data.empty() || from.content != to.content) return std::string();
    std::string delta = fossil_delta(
        from.data, to.data, to.content == ContentType::json ? DeltaCuts::characters : DeltaCuts::bytes);
    return delta.size() < to.data.size() ? delta : std::string();
  });
}

}  // namespace

PublicationView delta_view_of(const Entry& entry, const Epoch& epoch, const Entry* previous,
                              Encoding encoding, bool must_want) {
  PublicationView view = view_of(entry, epoch);
  view.form = DataForm::full;
  // In JSON, bytes travel as another text than what the delta is made of.
  const bool can_have = previous != nullptr && (view.is_json || encoding == Encoding::protobuf) &&
                        (entry.publication.has_delta || !must_want);
  if (!can_have) return view;
  if (const std::string& delta = delta_text(entry, *previous); !delta.empty()) {
    view.data = delta;
    view.form = DataForm::delta;
  }
  return view;
}

std::string list_of(const HistoryResult& history, const CentrifugeCodec& codec, std::size_t bytes_max) {
  std::string list;
  std::string object;
  for (const EntryRef& entry : history.entries) {
    object.clear();
    codec.encode_publication(object, view_of(*entry, {}));  // their epoch is the list's
    if (!list.empty() && list.size() + object.size() > bytes_max) break;
    codec.append_listed(list, object);
  }
  return list;
}

std::vector<ClientInfoView> views_of(const std::vector<PresenceMember>& members) {
  std::vector<ClientInfoView> views;
  views.reserve(members.size());
  for (const PresenceMember& member : members)
    views.push_back({member.user, member.client, member.conn_info_json, member.chan_info_json});
  return views;
}

namespace {
/// What surrounds most payloads: one allocation then is enough.
constexpr std::size_t kEnvelopeBytes = 192;

void frame_in(const Deflation* deflation, std::string& payload, Framing framing, Encoding encoding) {
  if (deflation != nullptr) return deflation->add_frame(payload, encoding);
  add_frame(payload, framing, encoding);
}

std::string push_of(const CentrifugeCodec& codec, std::string_view channel, const Epoch& epoch,
                    const Entry& entry, DataForm data) {
  std::string payload;
  payload.reserve(channel.size() + entry.publication.data.size() + kEnvelopeBytes);
  switch (entry.kind) {
    case EntryKind::publication: {
      PublicationView view = view_of(entry, epoch);
      view.form = data;
      codec.encode_push_publication(payload, channel, view);
      break;
    }
    case EntryKind::join:
      codec.encode_push_join(payload, channel, entry.publication.info_json);
      break;
    case EntryKind::leave:
      codec.encode_push_leave(payload, channel, entry.publication.info_json);
      break;
  }
  return payload;
}

/// Empty: there is no delta, or it is not shorter.
std::string delta_push_of(const CentrifugeCodec& codec, std::string_view channel, const Epoch& epoch,
                          const Entry& entry, const Entry& previous) {
  std::string payload;
  const PublicationView view = delta_view_of(entry, epoch, &previous, codec.encoding(), true);
  if (view.form != DataForm::delta) return payload;
  payload.reserve(channel.size() + view.data.size() + kEnvelopeBytes);
  codec.encode_push_publication(payload, channel, view);
  return payload;
}

}  // namespace

std::string PushForm::encode(std::string_view channel, const Epoch& epoch, const Entry& entry) const {
  std::string payload = push_of(codec_of(encoding_), channel, epoch, entry, data_);
  frame_in(deflation_, payload, framing_, encoding_);
  return payload;
}

std::string UniPushForm::encode(std::string_view channel, const Epoch& epoch, const Entry& entry) const {
  std::string payload = push_of(uni_json_codec(), channel, epoch, entry, data_);
  frame_(payload);
  return payload;
}

std::string DeltaPushForm::encode(std::string_view channel, const Epoch& epoch, const Entry& entry,
                                  const Entry& previous) const {
  std::string payload = delta_push_of(codec_of(encoding_), channel, epoch, entry, previous);
  if (!payload.empty()) frame_in(deflation_, payload, framing_, encoding_);
  return payload;
}

std::string UniDeltaPushForm::encode(std::string_view channel, const Epoch& epoch, const Entry& entry,
                                     const Entry& previous) const {
  std::string payload = delta_push_of(uni_json_codec(), channel, epoch, entry, previous);
  if (!payload.empty()) frame_(payload);
  return payload;
}

namespace {

/// An event for a join or a leave. It has no position.
bool append_notice(std::string& out, std::string_view channel, const Entry& entry) {
  if (entry.kind == EntryKind::publication) return false;
  append_sse_notice(out, entry.kind == EntryKind::join ? "join" : "leave", channel,
                    entry.publication.info_json);
  return true;
}

}  // namespace

std::string SseEventForm::encode(std::string_view channel, const Epoch& epoch, const Entry& entry) const {
  std::string event;
  if (append_notice(event, channel, entry)) return event;
  if (entry.is_stored()) {
    std::string token;
    append_position_token(token, TokenPart{epoch.text(), entry.offset}, true);
    append_sse_id(event, token);
  }
  append_sse_data(event, channel, view_of(entry, epoch));
  return event;
}

std::string SseDataForm::encode(std::string_view channel, const Epoch& epoch, const Entry& entry) const {
  std::string event;
  if (append_notice(event, channel, entry)) return event;
  append_sse_data(event, channel, view_of(entry, epoch));
  return event;
}

std::string PollObjectForm::encode(std::string_view channel, const Epoch& epoch, const Entry& entry) const {
  std::string object;
  if (entry.kind == EntryKind::publication) append_publication_object(object, channel, view_of(entry, epoch));
  return object;
}

}  // namespace carillon
