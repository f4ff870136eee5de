#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/centrifuge_codes.hpp"
#include "protocol/client_info.hpp"
#include "protocol/publication_view.hpp"

namespace carillon {

// The Centrifuge client protocol (protocol.md sections 1 to 10), whatever its encoding: commands and results
// as plain structs, and the codec that reads and writes them: centrifuge_json.hpp, centrifuge_protobuf.hpp.

enum class Encoding : std::uint8_t { json, protobuf };

/// `pong` is the empty command with id 0; the others are named after the request field.
enum class CommandKind : std::uint8_t {
  pong,
  connect,
  subscribe,
  unsubscribe,
  publish,
  presence,
  presence_stats,
  history,
  ping,
  send,
  rpc,
  refresh,
  sub_refresh
};

/// One decoded command. Views point into the frame or into the scratch of the decode call and live until the
/// next decode with that scratch or the end of the frame's buffer. Fields that the command does not have are
/// zero.
struct Command {
  std::uint32_t id = 0;  ///< 0 only for pong and send
  CommandKind kind = CommandKind::pong;

  std::string_view channel = {};  ///< all channel commands; empty is a bad request, which the session judges
  std::string_view data = {};     ///< payload: connect, subscribe, publish, rpc, send
  std::string_view token = {};    ///< connect, subscribe, refresh, sub_refresh
  std::string_view method = {};   ///< rpc
  std::string_view after = {};    ///< presence, ours: the page begins behind this client id
  std::string_view delta = {};    ///< subscribe: wished delta format
  std::string_view filter = {};   ///< subscribe: `tf` in this encoding, for TagsFilter

  std::string_view since = {};  ///< subscribe, ours: start as text; not beside `recover`

  std::string_view wishes = {};  ///< connect: `subs`, for CentrifugeCodec::decode_wishes()

  // subscribe: what to recover from. history: `since`.
  std::string_view epoch = {};
  std::uint64_t offset = 0;

  bool is_recover = false;                 ///< subscribe: recover from (offset, epoch)
  bool is_positioned = false;              ///< subscribe: wish
  bool is_recoverable = false;             ///< subscribe: wish
  bool is_join_leave = false;              ///< subscribe: wish
  bool has_tags_filter = false;            ///< subscribe: `tf` is there
  std::optional<std::uint64_t> last = {};  ///< subscribe, ours: start with the newest publications
  std::uint64_t flag = 0;  ///< connect, subscribe: bit mask (2: error 112 instead of recovered = false)
  std::int64_t type = 0;   ///< subscribe, publish, sub_refresh: 0 is the normal stream

  std::int64_t limit = 0;    ///< history: 0 only the position, negative all
  bool is_reverse = false;   ///< history
  bool has_since = false;    ///< history: offset and epoch are set
  bool is_binary = false;    ///< `data` is no JSON text; otherwise it is validated raw JSON, or empty
  bool is_too_deep = false;  ///< a value in it is nested deeper than kJsonDepthMax: to be refused
};

/// Is this a value of `delta` that there is? Empty: no deltas are wanted.
[[nodiscard]] constexpr bool is_delta_wish(std::string_view format) {
  return format.empty() || format == "fossil";
}

/// What a client says at its connect about a subscription of the server (protocol.md section 3).
struct SubscriptionWish {
  std::string channel = {};
  bool is_recover = false;  ///< from (offset, epoch)
  std::uint64_t offset = 0;
  std::string epoch = {};
  bool wants_delta = false;
};

enum class DecodeStep : std::uint8_t { command, end, malformed };

struct ConnectResult {
  std::string_view client = {};
  std::string_view version = {};
  std::uint32_t ping_s = 0;  ///< seconds between the server's pings, 0 none
  bool is_pong_expected = false;
  std::string_view session = {};  ///< emulation: the secret by which commands find their client
  std::string_view node = {};     ///< emulation: the gateway that has the client
  bool expires = false;           ///< the client must refresh within `ttl_s`
  std::uint32_t ttl_s = 0;
  std::string_view data = {};           ///< JSON text or empty
  std::string_view subscriptions = {};  ///< of the server, made by append_subscription()
  std::uint64_t time_ms = 0;            ///< of the server's day, since 1970; 0: not told
};

struct SubscribeResult {
  bool is_recoverable = false;
  std::string_view epoch = {};
  std::uint64_t offset = 0;
  bool is_positioned = false;
  bool was_recovering = false;
  bool is_recovered = false;
  std::string_view publications = {};  ///< a list made by append_listed(), oldest first
  bool has_delta = false;              ///< publications may come as deltas
  bool is_conflated = false;           ///< ours: offsets may be left out on the way
  bool expires = false;                ///< the client must refresh the subscription within `ttl_s`
  std::uint32_t ttl_s = 0;
  std::string_view data = {};  ///< JSON text or empty
};

/// For a connection, and for a subscription, which has neither client nor version.
struct RefreshResult {
  std::string_view client = {};
  std::string_view version = {};
  bool expires = false;
  std::uint32_t ttl_s = 0;
};

/// An encoding of the protocol. Stateless: one object serves all connections and threads.
/// Every encode_* appends one complete reply (no WebSocket header) to `out`, unless it says otherwise;
/// each goes as a message of its own. Text is valid UTF-8; `info_json` and `conn_info` are valid JSON, and so
/// is the `data` of replies.
class CentrifugeCodec {
 public:
  virtual ~CentrifugeCodec() = default;

  virtual Encoding encoding() const = 0;

  /// Takes one command off the front of `frame`. `end`: nothing left (at once for an empty frame, which the
  /// session refuses). After `malformed` the rest of the frame must not be read. Clears `scratch`, which
  /// holds decoded text.
  virtual DecodeStep decode(std::string_view& frame, Command& out, std::string& scratch) const = 0;

  /// Why decode() has found the frame's first command malformed: names the field, and shows no value.
  virtual std::string why_malformed(std::string_view frame) const = 0;

  /// Reads Command::wishes: the first `most` of them. False: malformed.
  virtual bool decode_wishes(std::string_view wishes, std::size_t most,
                             std::vector<SubscriptionWish>& out) const = 0;

  virtual void encode_error(std::string& out, std::uint32_t id, std::uint32_t code, std::string_view message,
                            bool is_temporary) const = 0;
  void encode_error(std::string& out, std::uint32_t id, const ErrorCode& error) const {
    encode_error(out, id, error.code, error.message, error.is_temporary);
  }
  virtual void encode_connect(std::string& out, std::uint32_t id, const ConnectResult& result) const = 0;
  virtual void encode_subscribe(std::string& out, std::uint32_t id, const SubscribeResult& result) const = 0;
  virtual void encode_refresh(std::string& out, std::uint32_t id, const RefreshResult& result) const = 0;
  virtual void encode_sub_refresh(std::string& out, std::uint32_t id, const RefreshResult& result) const = 0;
  virtual void encode_unsubscribe(std::string& out, std::uint32_t id) const = 0;
  virtual void encode_publish(std::string& out, std::uint32_t id) const = 0;
  /// `has_more`: there are others behind the last one.
  virtual void encode_presence(std::string& out, std::uint32_t id, std::span<const ClientInfoView> clients,
                               bool has_more) const = 0;
  virtual void encode_presence_stats(std::string& out, std::uint32_t id, std::uint64_t clients,
                                     std::uint64_t users) const = 0;
  /// `publications`: a list made by append_listed(); `epoch` and `offset`: the top of the stream.
  virtual void encode_history(std::string& out, std::uint32_t id, std::string_view publications,
                              std::string_view epoch, std::uint64_t offset) const = 0;
  virtual void encode_ping_reply(std::string& out, std::uint32_t id) const = 0;
  virtual void encode_rpc(std::string& out, std::uint32_t id, std::string_view data,
                          bool is_binary) const = 0;

  /// The server's ping, an empty reply.
  virtual void encode_heartbeat(std::string& out) const = 0;

  /// The publication alone, not a reply: to be listed in a subscribe or history result.
  virtual void encode_publication(std::string& out, const PublicationView& publication) const = 0;
  /// Adds one encoded publication to a list of them. The list only makes sense to the same codec.
  virtual void append_listed(std::string& list, std::string_view publication) const = 0;
  /// Adds a subscription of the server to the list for ConnectResult.
  virtual void append_subscription(std::string& list, std::string_view channel,
                                   const SubscribeResult& result) const = 0;

  virtual void encode_push_publication(std::string& out, std::string_view channel,
                                       const PublicationView& publication) const = 0;
  /// `info`: what append_client_info() wrote.
  virtual void encode_push_join(std::string& out, std::string_view channel, std::string_view info) const = 0;
  virtual void encode_push_leave(std::string& out, std::string_view channel, std::string_view info) const = 0;
  virtual void encode_push_unsubscribe(std::string& out, std::string_view channel, std::uint32_t code,
                                       std::string_view reason) const = 0;
  /// The server has added a subscription. Publications are not part of it.
  virtual void encode_push_subscribe(std::string& out, std::string_view channel,
                                     const SubscribeResult& result) const = 0;
  /// The server has renewed the connection.
  virtual void encode_push_refresh(std::string& out, const RefreshResult& result) const = 0;
  /// The last message, on transports that cannot say the code themselves.
  virtual void encode_push_disconnect(std::string& out, std::uint32_t code,
                                      std::string_view reason) const = 0;
};

/// The one codec of an encoding, shared by all.
[[nodiscard]] const CentrifugeCodec& codec_of(Encoding encoding);

}  // namespace carillon
