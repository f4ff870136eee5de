#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "env/clock.hpp"
#include "env/limits.hpp"
#include "hub/channel_rules.hpp"
#include "proxy/backend.hpp"
#include "proxy/endpoint_url.hpp"
#include "proxy/proxy_options.hpp"
#include "session/access.hpp"

namespace boost::asio {
class io_context;
}  // namespace boost::asio

namespace carillon {

/// Access with backends that are asked over HTTP: where the configuration names one for an operation, it
/// decides; elsewhere the next access does. Each thread of a shard asks over connections of its own. A
/// backend that is slow or down leaves its questions undecided, and costs nobody else anything. Thread-safe.
class ProxyAccess final : public Access {
 public:
  struct Parts {
    Access& next;
    const ChannelRules& rules;
    const ProxyOptions& options;
    const Clock& clock;
    const Limits& limits;
    bool allows_anonymous = false;  ///< a backend that names no user accepts the client as anonymous
    /// For the operator, at most once a second per endpoint. `count`: questions without a decision, this one
    /// and those that had no record since the last one.
    std::function<void(std::string message, std::int64_t count)> tell;
  };
  explicit ProxyAccess(Parts parts);

  [[nodiscard]] std::optional<Verdict> answer(const Question& question) const override;
  void ask(const Question& question, std::function<void(Verdict)> then) override;
  [[nodiscard]] bool has_hook(Operation operation) const override {
    return is_used(operation) || parts_.next.has_hook(operation);
  }
  [[nodiscard]] bool asks_hook(Operation operation, std::string_view subject) const override {
    return asks(operation, subject) || parts_.next.asks_hook(operation, subject);
  }
  [[nodiscard]] bool wants_request(Operation operation) const override;

  /// While nobody asks.
  void reload(bool allows_anonymous) { allows_anonymous_ = allows_anonymous; }
  /// Is there a backend for such questions?
  [[nodiscard]] bool is_used(Operation operation) const {
    return is_used_.at(static_cast<std::size_t>(operation));
  }
  [[nodiscard]] const BackendCounters& counters() const { return counters_; }

  /// Tells of questions without a decision that still have no record. To be called now and then.
  void keep_house();

  /// The backends as one thread asks them.
  class OfThread;
  /// For this thread, which runs `io`, until the result is destroyed. `wake`: something has been answered.
  [[nodiscard]] std::shared_ptr<void> attach(boost::asio::io_context& io, std::function<void()> wake);
  /// The same with connections of another kind.
  [[nodiscard]] std::unique_ptr<Backend> make_backend(Operation operation, MakeBackendLink make_link,
                                                      std::function<void()> on_change);
  using Backends = std::array<std::unique_ptr<Backend>, kOperations>;
  /// The backends of this thread; null: it has none.
  static void bind_to_this_thread(Backends* backends);

 private:
  [[nodiscard]] bool asks(Operation operation, std::string_view subject) const;
  /// Of one endpoint: what the operator has been told of it, and what has still to be told.
  struct Told {
    std::mutex mutex;
    Millis last_ms = 0;     // of the last record
    bool is_first = true;   // there was none
    std::int64_t left = 0;  // questions without a record
    std::string problem;    // of the newest of them
  };
  void tell(Operation operation, const std::string& problem);
  /// With the mutex of `told` held.
  void tell_all(Operation operation, Told& told, Millis now_ms);

  const Parts parts_;
  bool allows_anonymous_;
  std::array<std::optional<EndpointUrl>, kOperations> urls_;
  std::array<bool, kOperations> is_used_{};
  std::array<Told, kOperations> told_;
  BackendCounters counters_;
};

}  // namespace carillon
