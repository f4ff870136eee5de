#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "hub/batch.hpp"
#include "hub/hub.hpp"
#include "protocol/centrifuge_codec.hpp"
#include "protocol/publication_view.hpp"
#include "session/access.hpp"
#include "session/framing.hpp"
#include "store/store.hpp"

namespace carillon {

/// An entry as the encoders need it.
[[nodiscard]] PublicationView view_of(const Entry& entry, const Epoch& epoch);
/// The same for a subscriber that gets deltas. `previous`: the publication at the offset before, if it has
/// got that; else null. `must_want`: only publications with `has_delta` are sent as deltas.
[[nodiscard]] PublicationView delta_view_of(const Entry& entry, const Epoch& epoch, const Entry* previous,
                                            Encoding encoding, bool must_want);
/// A history as a list for a reply: as many publications as fit into `bytes_max`, at least one.
[[nodiscard]] std::string list_of(const HistoryResult& history, const CentrifugeCodec& codec,
                                  std::size_t bytes_max);
/// The presence of a channel as the encoders need it; `presence` must outlive it.
[[nodiscard]] std::vector<ClientInfoView> views_of(const std::vector<PresenceMember>& members);

class Deflation;

/// The Centrifuge push, framed. `data`: of publications, plain or full.
class PushForm final : public Form {
 public:
  constexpr PushForm(Framing framing, Encoding encoding, DataForm data = DataForm::plain)
      : framing_(framing), encoding_(encoding), data_(data) {}
  /// In compressed WebSocket frames; made once even where shards race for it.
  PushForm(const Deflation& deflation, Encoding encoding, DataForm data = DataForm::plain)
      : Form(Making::exclusive),
        deflation_(&deflation),
        framing_(Framing::websocket),
        encoding_(encoding),
        data_(data) {}
  [[nodiscard]] std::string encode(std::string_view channel, const Epoch& epoch,
                                   const Entry& entry) const override;

 private:
  const Deflation* const deflation_ = nullptr;
  const Framing framing_;
  const Encoding encoding_;
  const DataForm data_;
};

/// Adds what stands around a push on the transport of a unidirectional client, in place.
using UniFrame = void (*)(std::string& push);

/// The push without an envelope, for unidirectional clients.
class UniPushForm final : public Form {
 public:
  constexpr explicit UniPushForm(UniFrame frame, DataForm data = DataForm::plain)
      : frame_(frame), data_(data) {}
  [[nodiscard]] std::string encode(std::string_view channel, const Epoch& epoch,
                                   const Entry& entry) const override;

 private:
  const UniFrame frame_;
  const DataForm data_;
};

/// The same with a delta.
class UniDeltaPushForm final : public DeltaForm {
 public:
  constexpr explicit UniDeltaPushForm(UniFrame frame) : frame_(frame) {}
  [[nodiscard]] std::string encode(std::string_view channel, const Epoch& epoch, const Entry& entry,
                                   const Entry& previous) const override;

 private:
  const UniFrame frame_;
};

/// The push with a delta.
class DeltaPushForm final : public DeltaForm {
 public:
  constexpr DeltaPushForm(Framing framing, Encoding encoding) : framing_(framing), encoding_(encoding) {}
  DeltaPushForm(const Deflation& deflation, Encoding encoding)
      : DeltaForm(Making::exclusive),
        deflation_(&deflation),
        framing_(Framing::websocket),
        encoding_(encoding) {}
  [[nodiscard]] std::string encode(std::string_view channel, const Epoch& epoch, const Entry& entry,
                                   const Entry& previous) const override;

 private:
  const Deflation* const deflation_ = nullptr;
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
// Where deltas are, whole publications have another form in JSON only.
inline constexpr PushForm kWsJsonFullForm(Framing::websocket, Encoding::json, DataForm::full);
inline constexpr PushForm kStreamJsonFullForm(Framing::stream, Encoding::json, DataForm::full);
inline constexpr PushForm kEventJsonFullForm(Framing::event, Encoding::json, DataForm::full);
inline constexpr DeltaPushForm kWsJsonDeltaForm(Framing::websocket, Encoding::json);
inline constexpr DeltaPushForm kWsProtobufDeltaForm(Framing::websocket, Encoding::protobuf);
inline constexpr DeltaPushForm kStreamJsonDeltaForm(Framing::stream, Encoding::json);
inline constexpr DeltaPushForm kStreamProtobufDeltaForm(Framing::stream, Encoding::protobuf);
inline constexpr DeltaPushForm kEventJsonDeltaForm(Framing::event, Encoding::json);
inline constexpr SseEventForm kSseEventForm;
inline constexpr SseDataForm kSseDataForm;
inline constexpr PollObjectForm kPollObjectForm;

/// Of Centrifuge clients: without, and with pushes for join and leave; the same with deltas, to who has got
/// the publication before; and the same with deltas to who has not.
inline constexpr std::size_t kClientLayouts = 6;
inline constexpr std::uint32_t kDeltaLayouts = 2;  ///< index of the first of those
inline constexpr std::uint32_t kFirstLayouts = 4;
using ClientLayouts = std::array<Layout, kClientLayouts>;
constexpr ClientLayouts client_layouts(Transport transport, const Form& plain, const Form& full,
                                       const DeltaForm& delta) {
  return {{{plain, false, nullptr, true, transport},
           {plain, true, nullptr, true, transport},
           {full, false, &delta, true, transport},
           {full, true, &delta, true, transport},
           {full, false, &delta, false, transport},
           {full, true, &delta, false, transport}}};
}
inline constexpr ClientLayouts kWsJson =
    client_layouts(Transport::websocket, kWsJsonForm, kWsJsonFullForm, kWsJsonDeltaForm);
inline constexpr ClientLayouts kWsProtobuf =
    client_layouts(Transport::websocket, kWsProtobufForm, kWsProtobufForm, kWsProtobufDeltaForm);
inline constexpr ClientLayouts kStreamJson =
    client_layouts(Transport::http_stream, kStreamJsonForm, kStreamJsonFullForm, kStreamJsonDeltaForm);
inline constexpr ClientLayouts kStreamProtobuf = client_layouts(
    Transport::http_stream, kStreamProtobufForm, kStreamProtobufForm, kStreamProtobufDeltaForm);
inline constexpr ClientLayouts kEventJson =
    client_layouts(Transport::emulated_sse, kEventJsonForm, kEventJsonFullForm, kEventJsonDeltaForm);
// Of event streams.
inline constexpr Layout kSseEvents[]{{kSseEventForm, false, nullptr, true, Transport::sse},
                                     {kSseEventForm, true, nullptr, true, Transport::sse}};

}  // namespace carillon
