#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "hub/batch.hpp"
#include "hub/hub.hpp"
#include "protocol/centrifuge_codec.hpp"
#include "protocol/publication_view.hpp"
#include "protocol/ws_frame.hpp"
#include "store/store.hpp"

namespace carillon {

/// An entry as the encoders need it.
[[nodiscard]] PublicationView view_of(const Entry& entry, const Epoch& epoch);
/// A history as a list for a reply: as many publications as fit into `bytes_max`, at least one.
[[nodiscard]] std::string list_of(const HistoryResult& history, const CentrifugeCodec& codec,
                                  std::size_t bytes_max);
/// The presence of a channel as the encoders need it; `presence` must outlive it.
[[nodiscard]] std::vector<ClientInfoView> views_of(const std::vector<PresenceMember>& members);

/// Of the frames of messages in this encoding.
[[nodiscard]] WsOpcode ws_opcode_of(Encoding encoding);

/// A whole WebSocket frame with the Centrifuge push.
class WebSocketForm final : public Form {
 public:
  constexpr explicit WebSocketForm(Encoding encoding) : encoding_(encoding) {}
  [[nodiscard]] std::string encode(std::string_view channel, const Epoch& epoch,
                                   const Entry& entry) const override;

 private:
  const Encoding encoding_;
};

/// A whole event of a one-channel stream, with its id.
class SseEventForm final : public Form {
 public:
  [[nodiscard]] std::string encode(std::string_view channel, const Epoch& epoch,
                                   const Entry& entry) const override;
};

/// The data block of an event; each stream of several channels writes its own id line before it.
class SseDataForm final : public Form {
 public:
  [[nodiscard]] std::string encode(std::string_view channel, const Epoch& epoch,
                                   const Entry& entry) const override;
};

/// The publication object of a poll's answer. Polls have publications only: between two polls nobody is
/// subscribed.
class PollObjectForm final : public Form {
 public:
  [[nodiscard]] std::string encode(std::string_view channel, const Epoch& epoch,
                                   const Entry& entry) const override;
};

inline constexpr WebSocketForm kWsJsonForm(Encoding::json);
inline constexpr WebSocketForm kWsProtobufForm(Encoding::protobuf);
inline constexpr SseEventForm kSseEventForm;
inline constexpr SseDataForm kSseDataForm;
inline constexpr PollObjectForm kPollObjectForm;

/// Of a client over a WebSocket: without, and with frames for join and leave.
inline constexpr Layout kWsJson[]{{kWsJsonForm, false}, {kWsJsonForm, true}};
inline constexpr Layout kWsProtobuf[]{{kWsProtobufForm, false}, {kWsProtobufForm, true}};
inline constexpr Layout kSseEvents{kSseEventForm};

}  // namespace carillon
