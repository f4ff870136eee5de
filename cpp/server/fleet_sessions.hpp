#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

#include "env/limits.hpp"
#include "server/fleet.hpp"
#include "session/body_budget.hpp"
#include "session/client_directory.hpp"
#include "session/other_gateways.hpp"

namespace carillon {

/// What sessions ask of the other gateways, and what those ask of the clients here.
class FleetSessions final : public OtherGateways {
 public:
  /// What is here. It outlives the fleet's last task.
  struct Here {
    const ClientDirectory& directory;
    BodyBudget& bodies;
    const Limits& limits;
    std::function<bool()> is_draining;
  };
  /// Sets the topics by which others ask.
  FleetSessions(Fleet& fleet, Here here);

  void forward(std::string_view node, std::string_view session, std::string_view commands,
               std::function<void(Forwarding)> done) override;
  /// Requests for other gateways since the start, by what became of them.
  [[nodiscard]] std::uint64_t forwarded(Forwarding outcome) const {
    return outcomes_[static_cast<std::size_t>(outcome)].load(std::memory_order_relaxed);
  }
  void count(std::function<void(const std::optional<Count>&)> done) override;

 private:
  /// The answer to another gateway that has commands for a client here.
  [[nodiscard]] std::string_view take(std::string_view question);

  Fleet& fleet_;
  const Here here_;
  std::atomic<std::int64_t> under_way_{0};
  std::array<std::atomic<std::uint64_t>, kForwardings> outcomes_{};
};

}  // namespace carillon
