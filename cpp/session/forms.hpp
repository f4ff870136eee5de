#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "hub/batch.hpp"
#include "hub/hub.hpp"
#include "protocol/centrifuge_codec.hpp"
#include "protocol/publication_view.hpp"
#include "session/framing.hpp"
#include "store/store.hpp"

namespace carillon {

/// An entry as the encoders need it.
[[nodiscard]] PublicationView view_of(const Entry& entry, const Epoch& epoch);
/// A history as a list for a reply: as many publications as fit into `bytes_max`, at least one.
[[nodiscard]] std::string list_of(const HistoryResult& history, const CentrifugeCodec& codec,
                                  std::size_t bytes_max);
/// The presence of a channel as the encoders need it; `presence` must outlive it.
[[nodiscard]] std::vector<ClientInfoView> views_of(const std::vector<PresenceMember>& members);

/// The Centrifuge push, framed.
class PushForm final : public Form {
 public:
  constexpr PushForm(Framing framing, Encoding encoding) : framing_(framing), encoding_(encoding) {}
  [[nodiscard]] std::string encode(std::string_view channel, const Epoch& epoch,
                                   const Entry& entry) const override;

 private:
  const Framing framing_;
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

inline constexpr PushForm kWsJsonForm(Framing::websocket, Encoding::json);
inline constexpr PushForm kWsProtobufForm(Framing::websocket, Encoding::protobuf);
inline constexpr PushForm kStreamJsonForm(Framing::stream, Encoding::json);
inline constexpr PushForm kStreamProtobufForm(Framing::stream, Encoding::protobuf);
inline constexpr PushForm kEventJsonForm(Framing::event, Encoding::json);
inline constexpr SseEventForm kSseEventForm;
inline constexpr SseDataForm kSseDataForm;
inline constexpr PollObjectForm kPollObjectForm;

// Of Centrifuge clients: without, and with pushes for join and leave.
inline constexpr Layout kWsJson[]{{kWsJsonForm, false}, {kWsJsonForm, true}};
inline constexpr Layout kWsProtobuf[]{{kWsProtobufForm, false}, {kWsProtobufForm, true}};
inline constexpr Layout kStreamJson[]{{kStreamJsonForm, false}, {kStreamJsonForm, true}};
inline constexpr Layout kStreamProtobuf[]{{kStreamProtobufForm, false}, {kStreamProtobufForm, true}};
inline constexpr Layout kEventJson[]{{kEventJsonForm, false}, {kEventJsonForm, true}};
// Of event streams.
inline constexpr Layout kSseEvents[]{{kSseEventForm, false}, {kSseEventForm, true}};

}  // namespace carillon
