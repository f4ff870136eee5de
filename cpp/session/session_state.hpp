#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "env/clock.hpp"
#include "hub/hub_state.hpp"
#include "protocol/centrifuge_codec.hpp"
#include "session/access.hpp"
#include "session/framing.hpp"
#include "store/position.hpp"

namespace carillon {

// The saved state of sessions. Times are relative to now (ages, and time left until a deadline), because the
// other process has another clock.

struct WebSocketLinkState {
  bool has_own_pings = false;
  std::optional<std::string> pong;
  std::string unfinished;    ///< the part of the next message that the parser has
  bool is_deflated = false;  ///< permessage-deflate was negotiated
};

struct StreamLinkState {
  Framing framing = Framing::stream;
  std::string session;
};

struct UniWebSocketLinkState {
  WebSocketLinkState socket;
  std::string session;
};

struct UniSseLinkState {
  std::string session;
};

struct UniHttpStreamLinkState {
  std::string session;
};

struct ClientState {
  struct Subscription {
    std::string channel;
    CursorState cursor;
    bool wants_notices = false;
    bool has_notices = false;
    bool has_presence = false;
    bool is_ending = false;
    bool is_by_server = false;   ///< the client has not asked for it
    std::string info_json = {};  ///< `chan_info`
    Expiry expiry = {};
    bool has_delta = false;
    bool has_base = false;    ///< it has a publication for the next one to be a delta to
    std::string filter = {};  ///< by tags, in the encoding of the client; empty: none
  };
  /// A channel in which the slow-consumer policy skipped publications, and where the client continues.
  struct Skipped {
    std::string channel;
    Position position;
  };
  /// Messages with commands that wait for replies to be sent, for answers, or for their turn.
  struct Queued {
    std::vector<std::string> messages;
    bool is_begun = false;  ///< only the end of the first message is here
    std::uint16_t close_code = 0;
  };
  using Link = std::variant<WebSocketLinkState, StreamLinkState, UniWebSocketLinkState, UniSseLinkState,
                            UniHttpStreamLinkState>;
  Link link;
  Encoding encoding = Encoding::json;
  std::uint8_t phase = 0;  ///< CentrifugeClient::Phase
  bool is_ping_due = false;
  Millis ping_left_ms = 0;
  Millis pong_left_ms = 0;
  Millis phase_left_ms = 0;
  Expiry expiry;
  std::uint64_t token_channels = 0;
  std::string user;
  std::string client;
  std::string conn_info_json;
  std::optional<Queued> queued;
  std::vector<Subscription> subscriptions;
  std::vector<Skipped> skipped;
  std::string claimed_user;  ///< until the client is identified
  std::optional<ClientRequest> request;
};

struct SseState {
  struct Subscription {
    std::string channel;
    CursorState cursor;
    Epoch epoch;
    bool has_history = false;
    bool has_presence = false;
    bool has_notices = false;
    std::optional<bool> gets_notices;  ///< missing: saved by a version without this field
  };
  std::string user;
  std::string info_json;
  Expiry expiry;
  std::string client;
  Millis comment_left_ms = 0;
  bool is_ending = false;
  std::vector<Subscription> subscriptions;
};

struct PollState {
  struct Subscription {
    std::string channel;
    CursorState cursor;
    Epoch epoch;
    std::optional<Offset> ends_at;
    bool has_history = false;
    std::uint32_t in_answer = 0;
  };
  Millis left_ms = 0;
  std::string publications;  ///< gathered for the answer
  std::string statuses;
  std::int64_t taken = 0;
  bool has_news = false;
  bool is_answered = false;
  bool has_failed = false;
  std::vector<Subscription> subscriptions;
};

struct HttpState {
  std::uint8_t state = 0;  ///< HttpSession::State
  bool is_over_limit = false;
  bool is_keep_alive = true;
  bool is_head = false;
  bool is_reading_paused = false;
  bool is_answer_unsent = false;
  std::string unfinished;  ///< the part of the next request that the reader has
  std::string ahead;       ///< read while a request is unanswered
  std::string cors;
  Millis left_ms = 0;
  std::uint32_t requests = 0;
  std::optional<PollState> poll;
  std::string user;
  bool is_http_1_0 = false;
  bool is_head_known = false;
};

struct SessionState {
  using Kind = std::variant<HttpState, ClientState, SseState>;
  Kind kind;
  std::optional<Millis> connected_age_ms;  ///< since the client was identified
  std::optional<std::uint16_t> end_code;   ///< why the connection ends, if known
  std::string end_reason;
  bool is_end_goodbye = false;  ///< a goodbye with it has been written
};

}  // namespace carillon
