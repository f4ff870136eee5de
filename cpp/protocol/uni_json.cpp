#include "protocol/uni_json.hpp"

#include <string_view>

namespace carillon {

namespace {

/// Takes the envelope `{"push":…}` away from the reply that begins at `begin`.
void unwrap(std::string& out, std::size_t begin) {
  static constexpr std::string_view kEnvelope = R"({"push":)";
  out.pop_back();
  out.erase(begin, kEnvelope.size());
}

}  // namespace

DecodeStep UniJsonCodec::decode(std::string_view& frame, Command& out, std::string& scratch) const {
  if (frame.empty()) return DecodeStep::end;
  const std::string_view request = frame;
  frame = {};
  return decode_connect_request(request, out, scratch) ? DecodeStep::command : DecodeStep::malformed;
}

std::string UniJsonCodec::why_malformed(std::string_view frame) const {
  return "the connect request: " + why_no_connect_request(frame);
}

void UniJsonCodec::encode_connect(std::string& out, std::uint32_t /*id*/, const ConnectResult& result) const {
  CentrifugeJsonCodec::encode_connect(out, 0, result);
}

void UniJsonCodec::encode_push_publication(std::string& out, std::string_view channel,
                                           const PublicationView& publication) const {
  const std::size_t begin = out.size();
  CentrifugeJsonCodec::encode_push_publication(out, channel, publication);
  unwrap(out, begin);
}

void UniJsonCodec::encode_push_join(std::string& out, std::string_view channel, std::string_view info) const {
  const std::size_t begin = out.size();
  CentrifugeJsonCodec::encode_push_join(out, channel, info);
  unwrap(out, begin);
}

void UniJsonCodec::encode_push_leave(std::string& out, std::string_view channel,
                                     std::string_view info) const {
  const std::size_t begin = out.size();
  CentrifugeJsonCodec::encode_push_leave(out, channel, info);
  unwrap(out, begin);
}

void UniJsonCodec::encode_push_unsubscribe(std::string& out, std::string_view channel, std::uint32_t code,
                                           std::string_view reason) const {
  const std::size_t begin = out.size();
  CentrifugeJsonCodec::encode_push_unsubscribe(out, channel, code, reason);
  unwrap(out, begin);
}

void UniJsonCodec::encode_push_subscribe(std::string& out, std::string_view channel,
                                         const SubscribeResult& result) const {
  const std::size_t begin = out.size();
  CentrifugeJsonCodec::encode_push_subscribe(out, channel, result);
  unwrap(out, begin);
}

void UniJsonCodec::encode_push_refresh(std::string& out, const RefreshResult& result) const {
  const std::size_t begin = out.size();
  CentrifugeJsonCodec::encode_push_refresh(out, result);
  unwrap(out, begin);
}

void UniJsonCodec::encode_push_disconnect(std::string& out, std::uint32_t code,
                                          std::string_view reason) const {
  const std::size_t begin = out.size();
  CentrifugeJsonCodec::encode_push_disconnect(out, code, reason);
  unwrap(out, begin);
}

const UniJsonCodec& uni_json_codec() {
  static const UniJsonCodec codec;
  return codec;
}

}  // namespace carillon
