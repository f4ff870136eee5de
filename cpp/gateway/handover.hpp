#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "env/descriptor.hpp"

namespace carillon {

/// A hand-over between two processes has failed: what() says why.
class HandoverError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The process that has the connections refuses to hand over now: what() is for the other process.
class HandoverRefused : public HandoverError {
 public:
  using HandoverError::HandoverError;
};

/// A message between the two processes.
struct HandoverMessage {
  std::uint32_t kind = 0;
  std::string body;
  std::vector<Descriptor> descriptors;
};

/// A connection between two processes of one user, which carries descriptors beside bytes. Every wait has an
/// end. For one thread, except abort().
class HandoverChannel {
 public:
  using Time = std::chrono::steady_clock::time_point;

  explicit HandoverChannel(Descriptor socket) : socket_(std::move(socket)) {}
  /// Throws HandoverError: no process listens there, or one of another user.
  static HandoverChannel connect(const std::string& path);

  /// Throws HandoverError: the other end has gone, or does not accept it by `until`.
  void send(std::uint32_t kind, std::string_view body, std::span<const int> descriptors, Time until);
  /// Throws HandoverError: the other end has gone, or has not sent it by `until`.
  [[nodiscard]] HandoverMessage receive(Time until);
  /// Waits for a message of this kind without a body. False: `until` has passed or the other end is gone, and
  /// the message can no longer be sent. Both ends then agree: the other end's send() has thrown.
  [[nodiscard]] bool decide(std::uint32_t kind, Time until);
  /// Process id of the other end.
  [[nodiscard]] int peer_process() const;
  /// Ends every wait, now and later. Any thread.
  void abort();

 private:
  void wait(short events, Time until) const;
  void send_some(std::string_view& bytes, Time until);
  void receive_exactly(std::span<char> bytes, Time until);
  void receive_descriptors(std::size_t count, std::vector<Descriptor>& descriptors, Time until);

  Descriptor socket_;
};

/// A Unix socket at which a running process can be asked to hand over, by processes of the same user only.
class HandoverListener {
 public:
  /// Listens at `path`, and replaces a socket there that no process listens to. Throws HandoverError.
  explicit HandoverListener(const std::string& path);
  /// Uses a socket that listens already.
  explicit HandoverListener(Descriptor listening);

  [[nodiscard]] int descriptor() const { return socket_.get(); }
  /// Waits for a connection. Nothing: stop() was called.
  [[nodiscard]] std::optional<HandoverChannel> accept();
  /// Any thread.
  void stop();
  /// Removes the socket from the file system.
  void remove_path() const;

 private:
  Descriptor socket_;
  Descriptor stop_;  // an eventfd
};

}  // namespace carillon
