#pragma once

#include "protocol/centrifuge_json.hpp"

namespace carillon {

/// What unidirectional clients speak (protocol.md section 17): a connect request, and then pushes without an
/// envelope. Nothing else is asked or answered.
class UniJsonCodec final : public CentrifugeJsonCodec {
 public:
  /// The whole frame is one connect request.
  DecodeStep decode(std::string_view& frame, Command& out, std::string& scratch) const override;

  std::string why_malformed(std::string_view frame) const override;

  /// The connect push: nobody waits for a reply with this id.
  void encode_connect(std::string& out, std::uint32_t id, const ConnectResult& result) const override;

  void encode_push_publication(std::string& out, std::string_view channel,
                               const PublicationView& publication) const override;
  void encode_push_join(std::string& out, std::string_view channel, std::string_view info) const override;
  void encode_push_leave(std::string& out, std::string_view channel, std::string_view info) const override;
  void encode_push_unsubscribe(std::string& out, std::string_view channel, std::uint32_t code,
                               std::string_view reason) const override;
  void encode_push_subscribe(std::string& out, std::string_view channel,
                             const SubscribeResult& result) const override;
  void encode_push_refresh(std::string& out, const RefreshResult& result) const override;
  void encode_push_disconnect(std::string& out, std::uint32_t code, std::string_view reason) const override;
};

/// The one object, shared by all.
[[nodiscard]] const UniJsonCodec& uni_json_codec();

}  // namespace carillon
