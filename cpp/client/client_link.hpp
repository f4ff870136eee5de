#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "protocol/centrifuge_codec.hpp"
#include "session/access.hpp"
#include "session/forms.hpp"
#include "session/session_state.hpp"

namespace carillon {

class CentrifugeClient;

/// The transport of a Centrifuge client: it takes apart what the peer sends, and frames what the client says.
/// It decides nothing. Belongs to its client, and to the thread of that client's shard.
class ClientLink {
 public:
  ClientLink() = default;
  ClientLink(const ClientLink&) = delete;
  ClientLink& operator=(const ClientLink&) = delete;
  virtual ~ClientLink() = default;

  [[nodiscard]] virtual Transport transport() const = 0;
  /// What the messages are written in.
  [[nodiscard]] virtual const CentrifugeCodec& codec() const = 0;
  /// Does the peer send only its connect? Then it gets pushes, and no replies.
  [[nodiscard]] virtual bool is_unidirectional() const { return false; }
  /// Layouts of the publications for this transport and encoding. They live as long as the process.
  [[nodiscard]] virtual const ClientLayouts& layouts() const = 0;

  /// Bytes from the peer, which may be changed in place. Messages with commands go to
  /// CentrifugeClient::on_message(); what belongs to the transport alone is answered here.
  virtual void on_bytes(CentrifugeClient& client, std::span<char> bytes) = 0;
  /// The outlet has sent everything, and the client is still connected.
  virtual void on_outlet_empty(CentrifugeClient& /*client*/) {}

  /// Frames one message of the client, in place.
  virtual void frame(std::string& message) const = 0;
  /// Asks the peer for a sign of life. False: the transport has no ping of its own, so an empty reply is to
  /// be sent.
  [[nodiscard]] virtual bool send_ping(CentrifugeClient& /*client*/) { return false; }
  /// Does the peer answer that?
  [[nodiscard]] virtual bool has_pongs() const { return true; }
  /// A secret that names the client: to requests with its commands, if they come by other connections, and to
  /// the application. Empty: it has none.
  [[nodiscard]] virtual std::string_view session() const { return {}; }
  /// Does send_ping() have one? Then the connect reply announces no pings.
  [[nodiscard]] virtual bool has_own_pings() const { return false; }
  /// The last message: why the client is disconnected. True: the peer will answer it, so its answer is waited
  /// for.
  [[nodiscard]] virtual bool send_goodbye(CentrifugeClient& client, std::uint16_t code,
                                          std::string_view reason) = 0;
  /// The peer has said goodbye first: the answer to that.
  virtual void answer_goodbye(CentrifugeClient& /*client*/, std::uint16_t /*code*/) {}

  /// What restores it: see restore_session().
  [[nodiscard]] virtual ClientState::Link save() const = 0;
};

}  // namespace carillon
