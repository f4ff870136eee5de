#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "hub/batch.hpp"
#include "hub/hub.hpp"
#include "protocol/centrifuge_codec.hpp"
#include "protocol/publication_view.hpp"
#include "store/store.hpp"

namespace carillon {

/// Slots of the cached forms of an entry (Entry::kForms bounds them).
enum class FormSlot : std::size_t {
  ws_json = 0,
  ws_json_notices = 1,
  sse_event = 2,
  sse_data = 3,
  poll_object = 4
};

/// An entry as the encoders need it.
[[nodiscard]] PublicationView view_of(const Entry& entry, const Epoch& epoch);
/// A history as a list for a reply: as many publications as fit into `bytes_max`, at least one.
[[nodiscard]] std::string list_of(const HistoryResult& history, const CentrifugeCodec& codec,
                                  std::size_t bytes_max);
/// The presence of a channel as the encoders need it; `presence` must outlive it.
[[nodiscard]] std::vector<ClientInfoView> views_of(const std::vector<PresenceMember>& members);

/// A whole WebSocket text frame with the Centrifuge push.
class WsJsonForm final : public Form {
 public:
  constexpr WsJsonForm(FormSlot form_slot, bool has_notices)
      : Form(static_cast<std::size_t>(form_slot)), has_notices_(has_notices) {}
  [[nodiscard]] EncodedForm encode(std::string_view channel, const Epoch& epoch,
                                   const Entry& entry) const override;

 private:
  bool has_notices_;
};

/// The form of an entry on the plain transports. Polls have publications only: between two polls nobody is
/// subscribed.
class PlainForm final : public Form {
 public:
  constexpr explicit PlainForm(FormSlot form_slot)
      : Form(static_cast<std::size_t>(form_slot)), slot_(form_slot) {}
  [[nodiscard]] EncodedForm encode(std::string_view channel, const Epoch& epoch,
                                   const Entry& entry) const override;

 private:
  FormSlot slot_;
};

inline constexpr WsJsonForm kWsJsonForm(FormSlot::ws_json, false);
/// With frames for join and leave.
inline constexpr WsJsonForm kWsJsonNoticesForm(FormSlot::ws_json_notices, true);
/// A whole event of a one-channel stream, with its id.
inline constexpr PlainForm kSseEventForm(FormSlot::sse_event);
/// The data block of an event; each stream of several channels writes its own id line before it.
inline constexpr PlainForm kSseDataForm(FormSlot::sse_data);
/// The publication object of a poll's answer.
inline constexpr PlainForm kPollObjectForm(FormSlot::poll_object);

}  // namespace carillon
