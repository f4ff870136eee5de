#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

namespace carillon {

/// The gateways that share the store with this one, as its sessions use them. Thread-safe.
class OtherGateways {
 public:
  /// What became of commands for a client of another gateway.
  enum class Forwarding : std::uint8_t {
    taken,     ///< that gateway has them, and the client
    unknown,   ///< no gateway of that name answers, or the client is not there: nothing was done
    too_long,  ///< for that gateway: nothing was done
    refused,   ///< too much is under way, or the store passes nothing on: nothing was done
    late       ///< no answer in time: the commands may have arrived
  };
  static constexpr std::size_t kForwardings = 5;
  /// Gateways that share the store, this one among them.
  struct Count {
    std::size_t gateways = 0;
    std::size_t draining = 0;
    std::size_t silent = 0;  ///< that have not answered in time
  };

  virtual ~OtherGateways() = default;

  /// Passes commands to the gateway `node` for its client with the secret `session`. Those of one client
  /// that are passed on one after another arrive in this order. `done` is called once, on any thread.
  virtual void forward(std::string_view node, std::string_view session, std::string_view commands,
                       std::function<void(Forwarding)> done) = 0;
  /// Asks all. `done` is called once, on any thread. Nothing: they could not be asked.
  virtual void count(std::function<void(const std::optional<Count>&)> done) = 0;
};

}  // namespace carillon
