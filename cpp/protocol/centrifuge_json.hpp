#pragma once

#include "protocol/centrifuge_codec.hpp"

namespace carillon {

/// The JSON encoding of the Centrifuge protocol.
///
/// Commands are joined by LF; an empty line between them is malformed, one LF at the end is fine. Unknown
/// fields are ignored, a null field counts as absent, a known field of the wrong type is malformed. Duplicate
/// keys: the last one that is not null wins (in a repeated request object, field by field). Several request
/// fields in one command: the first in the order connect, subscribe, unsubscribe, publish, presence,
/// presence_stats, history, rpc, send, refresh, sub_refresh, ping wins. A command without one is a pong if
/// its id is 0 (whatever else it holds, but for `send`), else malformed.
///
/// A binary publication is written as "data":{"b64":"…"}. Newlines in raw JSON are dropped.
class CentrifugeJsonCodec : public CentrifugeCodec {
 public:
  using CentrifugeCodec::encode_error;

  Encoding encoding() const override { return Encoding::json; }

  DecodeStep decode(std::string_view& frame, Command& out, std::string& scratch) const override;
  std::string why_malformed(std::string_view frame) const override;
  bool decode_wishes(std::string_view wishes, std::size_t most,
                     std::vector<SubscriptionWish>& out) const override;

  void encode_error(std::string& out, std::uint32_t id, std::uint32_t code, std::string_view message,
                    bool is_temporary) const override;
  void encode_connect(std::string& out, std::uint32_t id, const ConnectResult& result) const override;
  void encode_subscribe(std::string& out, std::uint32_t id, const SubscribeResult& result) const override;
  void encode_refresh(std::string& out, std::uint32_t id, const RefreshResult& result) const override;
  void encode_sub_refresh(std::string& out, std::uint32_t id, const RefreshResult& result) const override;
  void encode_unsubscribe(std::string& out, std::uint32_t id) const override;
  void encode_publish(std::string& out, std::uint32_t id) const override;
  void encode_presence(std::string& out, std::uint32_t id, std::span<const ClientInfoView> clients,
                       bool has_more) const override;
  void encode_presence_stats(std::string& out, std::uint32_t id, std::uint64_t clients,
                             std::uint64_t users) const override;
  void encode_history(std::string& out, std::uint32_t id, std::string_view publications,
                      std::string_view epoch, std::uint64_t offset) const override;
  void encode_ping_reply(std::string& out, std::uint32_t id) const override;
  void encode_rpc(std::string& out, std::uint32_t id, std::string_view data, bool is_binary) const override;
  void encode_heartbeat(std::string& out) const override;

  void encode_publication(std::string& out, const PublicationView& publication) const override;
  void append_listed(std::string& list, std::string_view publication) const override;
  void append_subscription(std::string& list, std::string_view channel,
                           const SubscribeResult& result) const override;

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
const CentrifugeJsonCodec& centrifuge_json_codec();

/// Reads the request of a connect that stands alone (protocol.md section 17), as the command that it is.
/// False: malformed. Clears `scratch`, which holds decoded text.
[[nodiscard]] bool decode_connect_request(std::string_view request, Command& out, std::string& scratch);
/// Why decode_connect_request() has refused it: names the field, and shows no value.
[[nodiscard]] std::string why_no_connect_request(std::string_view request);

/// `{"<client>":{"user":…,"client":…},…}`, as presence results of the client protocol and of the server API
/// have it.
void append_presence_map(std::string& out, std::span<const ClientInfoView> clients);

}  // namespace carillon
