#pragma once

#include <cstddef>

#include "hub/batch.hpp"
#include "protocol/centrifuge_codec.hpp"
#include "protocol/publication_view.hpp"

namespace carillon {

/// Slots of the cached forms of an entry (Entry::kForms bounds them).
enum class FormSlot : std::size_t {
  ws_json = 0,
  ws_json_notices = 1,
  sse_event = 2,
  sse_data = 3,
  poll_object = 4
};

/// What the encoders need of an entry.
[[nodiscard]] PublicationView view_of(const Entry& entry, const Epoch& epoch);

/// A whole WebSocket text frame with the Centrifuge push.
[[nodiscard]] const Form& ws_json_form();
/// The same, and frames for join and leave.
[[nodiscard]] const Form& ws_json_notices_form();
/// A whole event of a one-channel stream, with its id.
[[nodiscard]] const Form& sse_event_form();
/// The data block of an event; each stream of several channels writes its own id line before it.
[[nodiscard]] const Form& sse_data_form();
/// The publication object of a poll's answer.
[[nodiscard]] const Form& poll_object_form();

}  // namespace carillon
