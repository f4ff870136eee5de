#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "env/limits.hpp"
#include "hub/hub.hpp"
#include "protocol/api_answer.hpp"
#include "protocol/api_request.hpp"
#include "protocol/centrifuge_codes.hpp"
#include "requests/fan_out_requests.hpp"
#include "session/body_budget.hpp"
#include "session/http_message.hpp"

namespace carillon {

class Connections;
class FleetChannels;
class FleetNodes;
class FleetStrategies;

/// A page or file that is served as it is.
struct StaticPage {
  std::string content_type;
  std::string body;
};

/// All clients are to be asked to disconnect. What is not set is as configured.
struct DrainRequest {
  std::optional<Millis> deadline_ms;
  std::optional<Millis> pace_ms;
  std::optional<std::uint16_t> port;  ///< only of the listener there, not of all
};

/// An error of the HTTP API; it travels with status 200 (protocol.md section 21).
[[nodiscard]] HttpResponse api_error(const ErrorCode& code, std::string_view message = {});
[[nodiscard]] HttpResponse api_error(const Refusal& refusal);

/// The HTTP API (protocol.md section 21) and the static pages. Thread-safe.
class Api final : public HttpHandler {
 public:
  struct Options {
    std::string key;
    bool is_insecure = false;
    std::string version;
    bool has_transport_errors = false;  ///< errors have an HTTP status, without being asked for it
    bool has_metrics = true;            ///< at /metrics
    bool has_internal_address = false;  ///< then they are there only, and need no key
  };
  static constexpr std::uint64_t kLedgerRows = 1'000;  ///< of one answer at most

  Api(Hub& hub, const Limits& limits, const Clock& clock, Options options,
      std::map<std::string, StaticPage> pages);
  /// The counters of the server as a JSON object; from any thread.
  void set_stats(std::function<std::string()> stats) { stats_ = std::move(stats); }
  /// The page of metrics; from any thread.
  void set_metrics(std::function<std::string()> metrics) { metrics_ = std::move(metrics); }

  /// Begins a drain and returns how many connections it asks to disconnect; nothing: no listener at that
  /// port. Must not block.
  using BeginDrain = std::function<std::optional<std::size_t>(const DrainRequest&)>;
  void set_begin_drain(BeginDrain begin) { begin_drain_ = std::move(begin); }

  /// Begins a reload, which answers on any thread. Must not block.
  using BeginReload = std::function<void(Respond)>;
  void set_begin_reload(BeginReload begin) { begin_reload_ = std::move(begin); }
  /// Other keys and modes from now on. While no request is handled.
  void reload(std::string key, bool is_insecure, bool has_transport_errors) noexcept {
    options_.key = std::move(key);
    options_.is_insecure = is_insecure;
    options_.has_transport_errors = has_transport_errors;
  }

  /// Before the first request that acts on connections.
  void set_connections(Connections& connections) { connections_ = &connections; }
  void set_channels(FleetChannels& channels) { channels_ = &channels; }
  void set_strategies(FleetStrategies& strategies) { strategies_ = &strategies; }
  void set_nodes(FleetNodes& nodes) { nodes_ = &nodes; }

  [[nodiscard]] std::optional<HttpResponse> refusal_of(const HttpRequest& head, const HttpTarget& target,
                                                       bool is_internal) const override;
  void handle(const HttpRequest& request, BodyBudget::Share body_memory, const HttpTarget& target,
              Respond respond) override;

 private:
  [[nodiscard]] HttpResponse without_key() const;
  [[nodiscard]] bool is_authorized(const HttpRequest& head, const HttpTarget& target) const;
  /// A copy, of a request that takes several turns.
  struct Body {
    std::string text;
    BodyBudget::Share memory;  ///< what it takes of limits.body_bytes_total, as long as it lives
  };
  void call(ApiMethod method, std::string_view body, BodyBudget::Share body_memory, Respond respond);
  void publish(const ApiRequest& request, Respond respond);
  struct Broadcast;
  void broadcast(Body body, Respond respond);
  bool broadcast_some(const std::shared_ptr<Broadcast>& work);
  void history(const ApiRequest& request, Respond respond);
  void presence(const ApiRequest& request, bool is_stats, Respond respond);
  void channels(const ApiRequest& request, Respond respond);
  void remove_history(const ApiRequest& request, const Respond& respond);
  [[nodiscard]] std::optional<HttpResponse> undecoded(ApiDecode decoded, const ApiRequest& request) const;

  // Several commands: api_batch.cpp.
  struct Batch;
  void batch(Body body, Respond respond);
  bool batch_some(const std::shared_ptr<Batch>& work);

  // What acts on live connections: api_connections.cpp.
  void disconnect(const ApiRequest& request, Respond respond) const;
  void refresh(const ApiRequest& request, Respond respond) const;
  void subscribe(const ApiRequest& request, Respond respond) const;
  void unsubscribe(const ApiRequest& request, Respond respond) const;

  void info(Respond respond);
  void stats(const Respond& respond) const;
  void ledger(const ApiRequest& request, Respond respond);
  void drain(const ApiRequest& request, const Respond& respond) const;

  // Members, inboxes and strategies: api_fan_out.cpp.
  void call_fan_out(ApiMethod method, const ApiRequest& request, Respond respond);
  void change_members(ApiMethod method, const ApiRequest& request, Respond respond);
  void members(const ApiRequest& request, Respond respond);
  void inbox(const ApiRequest& request, bool is_counting, Respond respond);
  void mark_read(const ApiRequest& request, Respond respond);
  void set_fan_out(const ApiRequest& request, const Respond& respond);
  void fan_out(const ApiRequest& request, const Respond& respond);

  /// Why requests about this channel are refused.
  [[nodiscard]] Refusal channel_refusal(std::string_view channel) const;
  /// What is wrong with a publish.
  [[nodiscard]] Refusal publish_refusal(std::string_view channel, const ApiRequest& request) const;

  Hub& hub_;
  const Limits& limits_;
  const FanOutRequests fan_out_requests_;
  const Clock& clock_;
  Options options_;
  const std::map<std::string, StaticPage> pages_;
  std::function<std::string()> stats_;
  std::function<std::string()> metrics_;
  BeginDrain begin_drain_;
  BeginReload begin_reload_;
  Connections* connections_ = nullptr;
  FleetChannels* channels_ = nullptr;
  FleetStrategies* strategies_ = nullptr;
  FleetNodes* nodes_ = nullptr;
};

}  // namespace carillon
