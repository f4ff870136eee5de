#include "transports/uni_sse_link.hpp"

#include "protocol/sse_event.hpp"
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
constexpr ClientLayouts kUniSseLayouts =
    client_layouts(Transport::uni_sse, kUniSseForm, kUniSseFullForm, kUniSseDeltaForm);

}  // namespace

const ClientLayouts& UniSseLink::layouts() const { return kUniSseLayouts; }

bool UniSseLink::send_goodbye(CentrifugeClient& client, std::uint16_t code, std::string_view reason) {
  std::string retry;
  append_sse_retry_line(retry, client.retry_ms());
  client.write(retry);
  return UniResponseLink::send_goodbye(client, code, reason);
}

void UniSseLink::frame(std::string& message) const { add_event(message); }

}  // namespace carillon
