#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "env/clock.hpp"
#include "session/body_budget.hpp"
#include "store/store.hpp"

namespace carillon {

/// The other gateways that share the store: asks all of them about a topic, and answers them. A store that is
/// not shared has no others, and every question is answered at once, by nobody. Thread-safe.
class Fleet final : public GatewayListener {
 public:
  using Done = std::function<void(std::vector<std::string>)>;
  enum class End : std::uint8_t {
    answered,   ///< by all that were asked
    late,       ///< not by all of them in time, or it is not known whether anybody was asked
    not_asked,  ///< nobody: the store does not pass it on, too much is under way, or this gateway stops
  };
  /// What became of a question.
  struct Result {
    std::vector<std::string> answers;
    std::size_t asked = 0;  ///< gateways that the store has passed it to
    End end = End::not_asked;
  };
  using Answer = std::function<void(std::string)>;
  /// How this gateway answers a question; any text.
  using Topic = std::function<void(std::string_view question, Answer answer)>;
  /// The answer to a question that is refused because too many wait here.
  static constexpr std::string_view kBusy = "busy";
  struct Options {
    Millis answer_timeout_ms = 1'000;   ///< for the answers of all; then those that are there count
    std::size_t questions_max = 1'000;  ///< under way; beyond it nobody is asked, and orders have no answers
    std::int64_t waiting_bytes_max = 16'777'216;  ///< of questions that wait here; as many may wait
  };
  /// `run`: carries out what another gateway asks for, on a thread that may do so.
  Fleet(Store& store, const Clock& clock, Options options, std::function<void(std::function<void()>)> run)
      : store_(store), clock_(clock), options_(options), run_(std::move(run)) {}

  // Topics are set before the store is opened.

  /// A question waits its turn on the thread of `run`; kBusy if too many wait.
  void set_topic(std::string name, Topic topic) { set(std::move(name), Kind::question, std::move(topic)); }
  /// What all others shall do waits as well, and is never refused: the store limits kept orders.
  void set_order(std::string name, Topic topic) { set(std::move(name), Kind::order, std::move(topic)); }
  /// Called at once, on the store's thread: it refuses what it can, and gives the rest to run().
  void set_prompt_topic(std::string name, Topic topic) {
    set(std::move(name), Kind::prompt, std::move(topic));
  }
  /// Has a question of this size carried out on the thread of `run`. `false`: too many wait there.
  [[nodiscard]] bool run(std::size_t bytes, std::function<void()> task);
  /// See Store::shared_time().
  [[nodiscard]] std::optional<SharedTime> time() const { return store_.shared_time(); }
  /// `done` gets the others' answers, in any order, on any thread.
  void ask(std::string_view topic, std::string_view question, const Done& done);
  /// As ask(), with what became of it.
  void ask_all(std::string_view topic, std::string_view question,
               const std::function<void(const Result&)>& done);
  /// Asks one, by a name that it has for Store::tell(). The caller limits their number. To one gateway they
  /// come in the order of the calls, and it carries them out in this order. `done` is released when the store
  /// has let go of the question, too.
  void ask_one(std::string_view gateway, std::string_view topic, std::string_view question,
               const std::function<void(const Result&)>& done);
  /// As ask(), for what all others shall do: one whose link to the store is away for a moment does it later,
  /// and its answer comes too late.
  void order(std::string_view topic, std::string_view question, const Done& done);
  /// Whether there can be others.
  [[nodiscard]] bool is_shared() const { return !store_.gateway().empty(); }
  /// From time to time: ends questions that have waited long enough.
  void keep_house();
  /// Ends all questions with the answers that are there. From then on nobody is asked.
  void close();

  void on_told(std::string_view from_gateway, std::string_view message) override;

 private:
  using Finish = std::function<void(Result&&)>;
  enum class Kind : std::uint8_t { question, order, prompt };
  struct KnownTopic {
    Kind kind = Kind::question;
    Topic act;
  };
  struct Question {
    Finish done;
    Result result = {};
    bool is_told = false;  // then `result.asked` is known
    bool is_of_one = false;
    Millis deadline_ms = 0;
    [[nodiscard]] bool is_answered() const { return is_told && result.answers.size() >= result.asked; }
  };
  using Questions = std::map<std::uint64_t, Question>;
  enum class Telling : std::uint8_t { ask, ask_one, order };
  void tell(Telling how, std::string_view to, std::string_view topic, std::string_view question,
            const Finish& done);
  /// The store has passed it on, or not.
  void on_passed(std::uint64_t id, StoreError error, std::size_t gateways);
  [[nodiscard]] Question take(Questions::iterator at);
  void set(std::string name, Kind kind, Topic topic) {
    topics_.insert_or_assign(std::move(name), KnownTopic{kind, std::move(topic)});
  }
  void on_question(std::string_view from, std::string_view id, std::string_view topic,
                   std::string_view question);
  /// Calls back if all have answered.
  void finish_if_answered(std::unique_lock<std::mutex> lock, std::uint64_t id);

  Store& store_;
  const Clock& clock_;
  const Options options_;
  const std::function<void(std::function<void()>)> run_;
  std::map<std::string, KnownTopic, std::less<>> topics_;
  std::atomic<std::size_t> waiting_{0};  // questions of others
  BodyBudget waiting_memory_{options_.waiting_bytes_max};
  std::mutex mutex_;
  Questions questions_;           // by number, guarded by the mutex
  std::size_t asked_of_one_ = 0;  // of them
  std::uint64_t last_question_ = 0;
  bool is_closed_ = false;
};

}  // namespace carillon
