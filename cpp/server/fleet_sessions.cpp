#include "server/fleet_sessions.hpp"

#include <algorithm>
#include <charconv>
#include <memory>
#include <string>
#include <utility>

#include "client/centrifuge_client.hpp"

namespace carillon {

namespace {

using Forwarding = OtherGateways::Forwarding;

// A question "commands": "SESSION DEADLINE\ncommands". Its asker answers its client at the deadline, in the
// time that the gateways share; the client may then repeat the commands, so they must not be delivered any
// more.
//
// Its answers. Whatever else comes is of a version that does not know the question.
constexpr std::string_view kTaken = "taken";
constexpr std::string_view kUnknown = "unknown";
constexpr std::string_view kTooLong = "too long";
constexpr std::string_view kBusy = Fleet::kBusy;
// Answers to "health".
constexpr std::string_view kServing = "serving";
constexpr std::string_view kDraining = "draining";

/// Is it written as all our nodes and sessions are? Both come from a client, and one of them is a part of the
/// name under which the store finds a gateway.
bool is_id(std::string_view text) {
  static constexpr std::size_t kUuid = 36;
  return text.size() == kUuid && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || c == '-';
         });
}

Forwarding outcome_of(const Fleet::Result& result) {
  const auto has = [&](std::string_view answer) {
    return std::find(result.answers.begin(), result.answers.end(), answer) != result.answers.end();
  };
  if (has(kTaken)) return Forwarding::taken;
  switch (result.end) {
    case Fleet::End::not_asked:
      return Forwarding::refused;
    case Fleet::End::late:
      return Forwarding::late;
    case Fleet::End::answered:
      break;
  }
  if (has(kBusy)) return Forwarding::refused;
  if (has(kTooLong)) return Forwarding::too_long;
  return Forwarding::unknown;
}

}  // namespace

struct FleetSessions::Delivery {
  std::string session;
  Millis deadline_ms = 0;
  std::string commands;
  BodyBudget::Share memory;
};

/// One that this gateway passes on: its share of the limits, until the store has let go of it and its client
/// has the answer.
struct FleetSessions::UnderWay {
  explicit UnderWay(FleetSessions& all, std::size_t bytes)
      : all_(all),
        is_one_(all.under_way_.fetch_add(1) < all.here_.limits.forwarded_commands),
        memory_(is_one_ ? all.under_way_memory_.take(static_cast<std::int64_t>(bytes))
                        : BodyBudget::Share()) {}
  ~UnderWay() { all_.under_way_.fetch_sub(1); }
  UnderWay(const UnderWay&) = delete;
  UnderWay& operator=(const UnderWay&) = delete;
  [[nodiscard]] bool is_granted() const { return memory_.is_granted(); }

 private:
  FleetSessions& all_;
  const bool is_one_;
  const BodyBudget::Share memory_;
};

FleetSessions::FleetSessions(Fleet& fleet, Here here) : fleet_(fleet), here_(std::move(here)) {
  fleet_.set_prompt_topic(
      "commands", [this](std::string_view question, const Fleet::Answer& answer) { hear(question, answer); });
  fleet_.set_topic("health", [this](std::string_view, const Fleet::Answer& answer) {
    answer(std::string(here_.is_draining() ? kDraining : kServing));
  });
}

// ---- commands

void FleetSessions::hear(std::string_view question, const Fleet::Answer& answer) {
  // Anybody may send commands for an invented client: what is refused costs no other thread anything.
  const auto refuse = [&answer](std::string_view why) { answer(std::string(why)); };
  const std::size_t end = question.find('\n');
  const std::string_view head = question.substr(0, end);
  const std::size_t blank = head.find(' ');
  if (end == std::string_view::npos || blank == std::string_view::npos) return refuse(kUnknown);
  const std::string_view commands = question.substr(end + 1);
  const std::string_view deadline = head.substr(blank + 1);
  auto delivery = std::make_shared<Delivery>();
  delivery->session = head.substr(0, blank);
  std::from_chars(deadline.data(), deadline.data() + deadline.size(), delivery->deadline_ms);
  if (!here_.directory.find(delivery->session)) return refuse(kUnknown);
  if (commands.size() > static_cast<std::size_t>(here_.limits.message_bytes)) return refuse(kTooLong);
  if (is_over(delivery->deadline_ms)) return refuse(kBusy);
  delivery->memory = here_.bodies.take(static_cast<std::int64_t>(commands.size()));
  if (!delivery->memory.is_granted()) return refuse(kBusy);
  delivery->commands = commands;
  const bool is_waiting =
      fleet_.run(question.size(), [this, delivery, answer] { answer(std::string(deliver(*delivery))); });
  if (!is_waiting) refuse(kBusy);
}

std::string_view FleetSessions::deliver(Delivery& delivery) {
  const auto place = here_.directory.find(delivery.session);
  if (!place) return kUnknown;
  if (is_over(delivery.deadline_ms)) return kBusy;
  CentrifugeClient::deliver(*place, std::move(delivery.commands), std::move(delivery.memory));
  return kTaken;
}

bool FleetSessions::is_over(Millis deadline_ms) const {
  const std::optional<SharedTime> time = fleet_.time();
  // If in doubt it is over: the client connects again, and nothing is done twice.
  return !time || time->latest_ms >= deadline_ms;
}

void FleetSessions::forward(std::string_view node, std::string_view session, std::string_view commands,
                            std::function<void(Forwarding)> done) {
  auto counted = [this, done = std::move(done)](Forwarding outcome) {
    outcomes_[static_cast<std::size_t>(outcome)].fetch_add(1, std::memory_order_relaxed);
    done(outcome);
  };
  if (!fleet_.is_shared() || !is_id(node) || !is_id(session)) return counted(Forwarding::unknown);
  const auto under_way = std::make_shared<UnderWay>(*this, commands.size());
  const std::optional<SharedTime> time = fleet_.time();
  if (!under_way->is_granted() || !time) return counted(Forwarding::refused);
  std::string question(session);
  question.append(1, ' ').append(std::to_string(time->earliest_ms + here_.limits.fleet_answer_timeout_ms));
  question.append(1, '\n').append(commands);
  fleet_.ask_one(node, "commands", question,
                 [under_way, counted = std::move(counted)](const Fleet::Result& result) {
                   counted(outcome_of(result));
                 });
}

// ---- health

void FleetSessions::count(Counted done) {
  std::optional<Count> others;
  {
    const std::lock_guard lock(mutex_);
    const bool is_fresh = others_ms_ && here_.clock.now_ms() - *others_ms_ < kHealthMs;
    if (!is_fresh && health_askers_.size() < static_cast<std::size_t>(here_.limits.fleet_questions)) {
      health_askers_.push_back(std::move(done));
      if (health_askers_.size() > 1) return;
    } else if (is_fresh) {
      others = others_;
    }
  }
  if (done) return done(with_this(others));
  fleet_.ask_all("health", "", [this](const Fleet::Result& result) { on_health(result); });
}

void FleetSessions::on_health(const Fleet::Result& result) {
  const bool is_known =
      result.end == Fleet::End::answered || (result.end == Fleet::End::late && result.asked > 0);
  const auto& answers = result.answers;
  std::optional<Count> others;
  if (is_known) {
    const auto draining = std::count(answers.begin(), answers.end(), kDraining);
    others = Count{.gateways = std::max(result.asked, answers.size()),
                   .draining = static_cast<std::size_t>(draining),
                   .silent = result.asked - std::min(result.asked, answers.size())};
  }
  std::vector<Counted> askers;
  {
    const std::lock_guard lock(mutex_);
    others_ = others;
    others_ms_ = here_.clock.now_ms();
    askers.swap(health_askers_);
  }
  for (const Counted& each : askers) each(with_this(others));
}

std::optional<OtherGateways::Count> FleetSessions::with_this(std::optional<Count> others) const {
  if (!others) return others;
  ++others->gateways;
  if (here_.is_draining()) ++others->draining;
  return others;
}

}  // namespace carillon
