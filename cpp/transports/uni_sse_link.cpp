#include "transports/uni_sse_link.hpp"

#include "session/forms.hpp"

namespace carillon {

namespace {

void add_event(std::string& push) {
  push.insert(0, "data: ");
  push.append("\n\n");
}

constexpr UniPushForm kUniSseForm(add_event);
constexpr UniPushForm kUniSseFullForm(add_event, DataForm::full);
constexpr UniDeltaPushForm kUniSseDeltaForm(add_event);
constexpr ClientLayouts kUniSseLayouts = client_layouts(kUniSseForm, kUniSseFullForm, kUniSseDeltaForm);

}  // namespace

const ClientLayouts& UniSseLink::layouts() const { return kUniSseLayouts; }

void UniSseLink::frame(std::string& message) const { add_event(message); }

}  // namespace carillon
