#include "transports/uni_http_stream_link.hpp"

#include "session/forms.hpp"

namespace carillon {

namespace {

void add_line_end(std::string& push) { push.push_back('\n'); }

constexpr UniPushForm kUniHttpStreamForm(add_line_end);
constexpr UniPushForm kUniHttpStreamFullForm(add_line_end, DataForm::full);
constexpr UniDeltaPushForm kUniHttpStreamDeltaForm(add_line_end);
constexpr ClientLayouts kUniHttpStreamLayouts = client_layouts(
    Transport::uni_http_stream, kUniHttpStreamForm, kUniHttpStreamFullForm, kUniHttpStreamDeltaForm);

}  // namespace

const ClientLayouts& UniHttpStreamLink::layouts() const { return kUniHttpStreamLayouts; }

void UniHttpStreamLink::frame(std::string& message) const { add_line_end(message); }

}  // namespace carillon
