#pragma once

#include "protocol/centrifuge_codec.hpp"

namespace carillon {

/// The Protobuf encoding of the Centrifuge protocol (protocol.md sections 1 and 2).
///
/// Each command and each reply stands behind its length, a varint. Unknown fields are skipped; a known field
/// of another type, and text that is not UTF-8, are malformed. Several request fields in one command, and a
/// command without one: as in JSON (CentrifugeJsonCodec).
///
/// A payload that is JSON text counts as JSON, also if it is nested too deep and is therefore refused; any
/// other is binary and travels as it is. Fields of our own have numbers from 1,001 on.
class CentrifugeProtobufCodec final : public CentrifugeCodec {
 public:
  using CentrifugeCodec::encode_error;

  Encoding encoding() const override { return Encoding::protobuf; }

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

}  // namespace carillon
