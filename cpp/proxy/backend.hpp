#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "env/clock.hpp"
#include "proxy/backend_link.hpp"
#include "session/operation_histograms.hpp"
#include "session/question_queue.hpp"

namespace carillon {

/// How many questions there are for backends, of all threads.
struct BackendCounters {
  std::atomic<std::int64_t> open{0};          ///< now
  std::atomic<std::uint64_t> undecided{0};    ///< ended without a decision, ever
  std::atomic<std::uint64_t> refused{0};      ///< there was no room for them, ever
  std::atomic<std::uint64_t> connections{0};  ///< opened to backends, ever
  OperationHistograms latencies;              ///< from a client's question to the backend's answer
};

/// The questions of one thread for one endpoint, and the connections that it keeps alive. At most
/// `requests_max` requests are under way, in turns among the clients as QuestionQueue has them; further ones
/// wait. Whoever has waited for the time-out gets no decision, and its request is broken off.
///
/// Belongs to one thread. The owner calls on_time() at due_ms().
class Backend final {
 public:
  using Then = QuestionQueue::Then;
  struct Settings {
    Millis timeout_ms = 1'000;
    std::size_t requests_max = 256;
    std::size_t waiting_max = 1'024;
    std::size_t waiting_bytes_max = 16'777'216;
    std::size_t idle_max = 32;
    Millis idle_ms = 30'000;
  };
  struct Parts {
    MakeBackendLink make_link;
    std::function<std::string(const HookQuestion&)> request_of;
    std::function<Verdict(const HookQuestion&, const std::string& body)> read;
    /// A question had no decision: why.
    std::function<void(const std::string& problem)> tell;
    /// Something has been answered, or due_ms() is another.
    std::function<void()> on_change;
  };
  Backend(const Settings& settings, const Clock& clock, BackendCounters& counters, Parts parts)
      : settings_(settings), clock_(clock), counters_(counters), parts_(std::move(parts)) {}
  ~Backend();
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  void ask(HookQuestion question, Then then);
  void on_time(Millis now_ms);
  [[nodiscard]] std::optional<Millis> due_ms() const;

 private:
  using Id = std::uint64_t;
  struct UnderWay {
    HookQuestion question;
    std::string request;
    std::unique_ptr<BackendLink> link;
    Millis due_ms = 0;
    bool is_reused = false;  // the link: its peer may have closed it meanwhile
  };
  struct Idle {
    std::unique_ptr<BackendLink> link;
    Millis since_ms = 0;
  };

  [[nodiscard]] bool has_room(std::size_t bytes) const;
  void hand_over();
  void send(Id id, UnderWay& asked);
  void on_result(Id id, BackendResult result);
  [[nodiscard]] std::unique_ptr<BackendLink> make_link();
  /// One that is idle and can be used; null: there is none.
  [[nodiscard]] std::unique_ptr<BackendLink> take_idle();
  void give(const Then& then, Verdict verdict);

  const Settings settings_;
  const Clock& clock_;
  BackendCounters& counters_;
  const Parts parts_;
  QuestionQueue queue_;
  std::map<Id, UnderWay> under_way_;
  std::deque<Idle> idle_;    // the longest idle first
  std::deque<Millis> dues_;  // of questions, in order; some may have been answered
  Id next_ = 1;
};

}  // namespace carillon
