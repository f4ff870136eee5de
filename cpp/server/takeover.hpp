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
#include "store/memory_store.hpp"

namespace carillon {

/// What a takeover came to.
struct TakeoverReport {
  int process = 0;  ///< at the other end
  std::size_t connections = 0;
  std::size_t left_behind = 0;  ///< clients that waited for an answer and are drained
  Millis pause_ms = 0;          ///< nothing ran for so long
};

/// Hands a running server over to another process of the same user, or takes over from one: the listening
/// socket, the connections, and all that hub and store hold in memory (docs/takeover.md).
///
/// The one who has them sends the entries of its logs, then stops every thread, sends a snapshot of the rest
/// with the descriptors, and waits. The other one makes everything ready and says that it has them: from then
/// on they are its own, and before that the first can go on as if nothing had been. That word is the last
/// that is said, and both know whether it was in time.
class Takeover {
 public:
  struct Parts {
    MemoryStore& store;
    Hub& hub;
    Gateway& gateway;
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

  /// Lets itself be asked to hand over, on a thread of its own. Throws HandoverError.
  void offer();
  /// Is not asked any more; a hand-over that goes on ends, undecided.
  void withdraw();
  /// Everything has been given away, to whom.
  [[nodiscard]] std::optional<TakeoverReport> given_away() const;

  /// Takes everything from the server that runs, into parts that have not been used, and runs them. Throws
  /// HandoverError, std::system_error: that server goes on, and these parts are of no use.
  TakeoverReport take();

  /// Where the socket is.
  [[nodiscard]] std::string path() const;

 private:
  void serve();
  void refuse(HandoverChannel& channel, const std::string& why) const;
  void hand_over(HandoverChannel& channel);
  /// Sends what the logs hold while everything runs, so that little is left to be sent when nothing does.
  void send_ahead(HandoverChannel& channel, SentEntries& sent) const;
  /// Stopped, written down and sent; true: the other process has it.
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
