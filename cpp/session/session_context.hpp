#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "env/clock.hpp"
#include "env/limits.hpp"
#include "env/random.hpp"
#include "hub/hub.hpp"
#include "hub/shard.hpp"
#include "session/access.hpp"
#include "session/body_budget.hpp"
#include "session/client_directory.hpp"
#include "session/connection_log.hpp"
#include "session/deflation.hpp"
#include "session/heartbeat.hpp"
#include "session/http_message.hpp"
#include "session/origin.hpp"
#include "session/other_gateways.hpp"
#include "session/outgoing.hpp"
#include "session/personal_channel.hpp"
#include "session/unsent_budget.hpp"
#include "session/user_connections.hpp"

namespace carillon {

/// The connection, as its session sees it. Nothing happens before the session's call has returned.
class ConnectionHost {
 public:
  virtual ~ConnectionHost() = default;
  /// Sends the content of the outlet, then ends the connection.
  virtual void close(Outlet& outlet) = 0;
  /// `successor` takes the connection over, and the bytes that the old session has not read.
  virtual void replace(Outlet& outlet, std::unique_ptr<Session> successor) = 0;
  /// Pauses and resumes reading.
  virtual void pause_reading(Outlet& outlet, bool is_paused) = 0;
  /// Has this turn given the session its time? Then it puts the rest of its input aside and calls
  /// read_on_later().
  [[nodiscard]] virtual bool is_time_over() const = 0;
  /// Session::read_on() in the next turn, before anything more is read from the connection.
  virtual void read_on_later(Outlet& outlet) = 0;
  /// Session::deadline() has changed.
  virtual void reschedule(Outlet& outlet) = 0;
  /// The client has been accepted or refused: its handshake has ended. May be called repeatedly.
  virtual void end_handshake(Outlet& outlet) = 0;
  /// The client asks for its first subscription. If its handshake could have ended long ago, what it did
  /// since then is not a part of connect-to-live.
  virtual void note_subscribe(Outlet& outlet) = 0;
  /// A subscription of the client has read everything: the first one ends what connect-to-live measures.
  virtual void note_live(Outlet& outlet) = 0;
  /// The peer's address as `ip:port`, for records. Empty: it is no longer known.
  [[nodiscard]] virtual std::string peer(const Outlet& outlet) const = 0;
};

/// Counters of a shard's sessions; read from any thread.
struct SessionCounters {
  std::atomic<std::uint64_t> websocket{0};    ///< open now
  std::atomic<std::uint64_t> sse{0};          ///< open now
  std::atomic<std::uint64_t> polls{0};        ///< waiting or being answered now
  std::atomic<std::uint64_t> http_stream{0};  ///< open now, as the next four
  std::atomic<std::uint64_t> emulated_sse{0};
  std::atomic<std::uint64_t> uni_websocket{0};
  std::atomic<std::uint64_t> uni_sse{0};
  std::atomic<std::uint64_t> uni_http_stream{0};
  std::atomic<std::uint64_t> clogged{0};             ///< with a full kernel buffer now
  std::atomic<std::uint64_t> answers_due{0};         ///< HTTP requests that the handler has not answered now
  std::atomic<std::uint64_t> requests{0};            ///< HTTP requests read since the start
  std::atomic<std::uint64_t> commands{0};            ///< Centrifuge commands read since the start
  std::atomic<std::uint64_t> commands_under_way{0};  ///< those that wait for answers now
  /// Number of times that reading commands paused at limits.commands_under_way, since the start.
  std::atomic<std::uint64_t> command_pauses{0};
  std::atomic<std::uint64_t> refused{0};  ///< over the limit of connections, since the start
  /// Over it, and served all the same, such as a health probe; since the start.
  std::atomic<std::uint64_t> served_over_limit{0};
  std::atomic<std::uint64_t> slow{0};     ///< closed with 3008, since the start
  std::atomic<std::uint64_t> no_pong{0};  ///< closed with 3012, since the start
  /// Dropped because the peer acknowledged nothing in time, since the start.
  std::atomic<std::uint64_t> no_ack{0};
  /// Memory that the kernel holds for bytes that peers have not acknowledged, now.
  std::atomic<std::uint64_t> kernel_bytes{0};
  /// No complete request (408) or no connect command (3502) in time, since the start.
  std::atomic<std::uint64_t> handshake_timeouts{0};
  /// Requests with an error of the client (400, 405, 413, 415, 417, 426, 431, 501), and WebSockets closed for
  /// invalid input, since the start.
  std::atomic<std::uint64_t> bad_requests{0};

  /// The gauge of open clients of a transport.
  [[nodiscard]] std::atomic<std::uint64_t>& open(Transport transport) {
    switch (transport) {
      case Transport::websocket:
        return websocket;
      case Transport::sse:
        return sse;
      case Transport::http_stream:
        return http_stream;
      case Transport::emulated_sse:
        return emulated_sse;
      case Transport::uni_websocket:
        return uni_websocket;
      case Transport::uni_sse:
        return uni_sse;
      case Transport::uni_http_stream:
        return uni_http_stream;
      case Transport::poll:
      case Transport::http:
        break;
    }
    return polls;
  }
  [[nodiscard]] const std::atomic<std::uint64_t>& open(Transport transport) const {
    return const_cast<SessionCounters*>(this)->open(transport);
  }
  /// Centrifuge clients over HTTP, open now.
  [[nodiscard]] std::uint64_t emulated() const { return http_stream + emulated_sse; }
  /// Centrifuge clients that only listen, open now.
  [[nodiscard]] std::uint64_t unidirectional() const { return uni_websocket + uni_sse + uni_http_stream; }
};

/// The data shared by the sessions of one shard.
struct SessionContext {
  Hub& hub;
  Shard& shard;
  TurnOutput& output;
  ConnectionHost& host;
  Access& access;
  const OriginPolicy& origins;
  HttpHandler& handler;
  const HttpLibrary& http;
  const Deflation& deflation;
  const Clock& clock;
  RandomSource& random;
  const Limits& limits;
  const Heartbeat& heartbeat;
  SessionCounters& counters;
  const std::atomic<bool>& is_draining;
  const bool& is_internal;  ///< the address is for operators only
  std::string_view version;
  BodyBudget& bodies;
  const UnsentBudget& unsent;
  ClientDirectory& directory;
  const PersonalChannel& personal_channel;
  ClientDirectory& newest_of_user;  ///< by user, while users have one connection each
  UserConnections& user_connections;
  const std::string& token_cookie;  ///< name of the cookie that may have a client's token; empty: none
  const std::string& node;          ///< by which emulated clients name this gateway
  TransportSet switched_off;
  bool tells_time;                  ///< with the answer to a connect
  ConnectionLog* log = nullptr;     ///< null: there is no log
  OtherGateways* others = nullptr;  ///< null: this gateway has its store to itself
};

}  // namespace carillon
