#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string_view>
#include <vector>

#include "env/clock.hpp"
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
    const Clock& clock;
    std::function<bool()> is_draining;
  };
  /// For this time the answers about the fleet's health are kept, ms: anybody may ask for it, and often.
  static constexpr Millis kHealthMs = 1'000;

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
  using Counted = std::function<void(const std::optional<Count>&)>;
  struct Delivery;
  struct UnderWay;
  /// Another gateway has commands for a client here. On the store's thread.
  void hear(std::string_view question, const Fleet::Answer& answer);
  /// The answer to them, on a thread that a takeover holds still.
  [[nodiscard]] std::string_view deliver(Delivery& delivery);
  [[nodiscard]] bool is_over(Millis deadline_ms) const;
  void on_health(const Fleet::Result& result);
  /// With this gateway, as it is now.
  [[nodiscard]] std::optional<Count> with_this(std::optional<Count> others) const;

  Fleet& fleet_;
  const Here here_;
  std::atomic<std::int64_t> under_way_{0};
  BodyBudget under_way_memory_{here_.limits.forwarded_bytes};
  std::array<std::atomic<std::uint64_t>, kForwardings> outcomes_{};
  std::mutex mutex_;
  std::vector<Counted> health_askers_;  // while the one question is under way
  std::optional<Count> others_;         // nothing: they could not be asked
  std::optional<Millis> others_ms_;     // when they answered
};

}  // namespace carillon
