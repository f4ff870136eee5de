#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <thread>

#include "gateway/gateway.hpp"
#include "gateway/handover.hpp"
#include "hub/hub.hpp"
#include "server/config.hpp"
#include "server/snapshot.hpp"
#include "store/owned_store.hpp"
#include "token/token_access.hpp"

namespace carillon {

/// The result of a takeover.
struct TakeoverReport {
  int process = 0;  ///< at the other end
  std::size_t connections = 0;
  std::size_t left_behind = 0;  ///< clients that waited for an answer; they are asked to disconnect
  Millis pause_ms = 0;          ///< time for which all threads were held
};

/// Hands a running server over to another process of the same user, or takes over from one: the listening
/// socket, the connections, and all that hub and store hold in memory (docs/takeover.md).
///
/// The running process sends the entries of its logs. Then it holds all threads, sends a snapshot of the rest
/// with the descriptors, and waits. The new process restores everything and sends "taken". From then on it
/// owns the connections; before that the running process can go on unchanged. "taken" is the last message,
/// and both processes know whether it was in time.
class Takeover {
 public:
  struct Parts {
    OwnedStore& store;
    Hub& hub;
    Gateway& gateway;
    TokenAccess& tokens;
    std::shared_mutex& gate;  ///< of callers on threads of their own, see Server::gate()
    const Clock& clock;
    const ServerConfig& config;
    std::string version;
    std::function<void(OperatorNote)> tell;
  };
  explicit Takeover(Parts parts) : parts_(std::move(parts)) {}
  ~Takeover() { withdraw(); }
  Takeover(const Takeover&) = delete;
  Takeover& operator=(const Takeover&) = delete;

  /// Accepts requests to hand over, on a thread of its own. Throws HandoverError.
  void offer();
  /// Accepts no further request. A hand-over that is under way ends without effect.
  void withdraw();
  /// Set once everything has been handed over: the process that has it.
  [[nodiscard]] std::optional<TakeoverReport> given_away() const;

  /// Takes everything over from the running server, into parts that have not been used, and runs them. Throws
  /// HandoverError, std::system_error: that server goes on, and these parts cannot be used.
  TakeoverReport take();

  /// Path of the socket.
  [[nodiscard]] std::string path() const;

 private:
  void serve();
  void refuse(HandoverChannel& channel, const std::string& why) const;
  void hand_over(HandoverChannel& channel);
  /// Sends the logs while everything runs, so that little remains to be sent while all threads are held.
  void send_ahead(HandoverChannel& channel, SentEntries& sent) const;
  /// Throws HandoverRefused.
  [[nodiscard]] std::unique_ptr<HeldStore> hold_store(HandoverChannel::Time until) const;
  /// Holds, saves and sends the rest. True: the other process has taken it.
  bool try_hand_over(HandoverChannel& channel, const SentEntries& sent, TakeoverReport& report);
  void tell(LogLevel level, std::string_view event, std::string message) const;

  const Parts parts_;
  std::unique_ptr<HandoverListener> listener_;
  std::thread thread_;
  mutable std::mutex mutex_;
  HandoverChannel* channel_ = nullptr;        // under way; guarded by the mutex
  bool is_withdrawn_ = false;                 // guarded by the mutex
  std::optional<TakeoverReport> given_away_;  // guarded by the mutex
};

}  // namespace carillon
