#include "server/fleet_sessions.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "client/centrifuge_client.hpp"

namespace carillon {

namespace {

using Forwarding = OtherGateways::Forwarding;

// Answers to "commands". Whatever else comes is of a version that does not know the question.
constexpr std::string_view kTaken = "taken";
constexpr std::string_view kUnknown = "unknown";
constexpr std::string_view kTooLong = "too long";
constexpr std::string_view kBusy = "busy";
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

FleetSessions::FleetSessions(Fleet& fleet, Here here) : fleet_(fleet), here_(std::move(here)) {
  fleet_.set_topic("commands", [this](std::string_view question, const Fleet::Answer& answer) {
    answer(std::string(take(question)));
  });
  fleet_.set_topic("health", [this](std::string_view, const Fleet::Answer& answer) {
    answer(std::string(here_.is_draining() ? kDraining : kServing));
  });
}

std::string_view FleetSessions::take(std::string_view question) {
  const std::size_t end = question.find('\n');
  if (end == std::string_view::npos) return kUnknown;
  const auto place = here_.directory.find(question.substr(0, end));
  if (!place) return kUnknown;
  std::string commands(question.substr(end + 1));
  if (commands.size() > static_cast<std::size_t>(here_.limits.message_bytes)) return kTooLong;
  BodyBudget::Share memory = here_.bodies.take(static_cast<std::int64_t>(commands.size()));
  if (!memory.is_granted()) return kBusy;
  CentrifugeClient::deliver(*place, std::move(commands), std::move(memory));
  return kTaken;
}

void FleetSessions::forward(std::string_view node, std::string_view session, std::string_view commands,
                            std::function<void(Forwarding)> done) {
  auto counted = [this, done = std::move(done)](Forwarding outcome) {
    outcomes_[static_cast<std::size_t>(outcome)].fetch_add(1, std::memory_order_relaxed);
    done(outcome);
  };
  if (!fleet_.is_shared() || !is_id(node) || !is_id(session)) return counted(Forwarding::unknown);
  if (under_way_.fetch_add(1) >= here_.limits.forwarded_commands) {
    under_way_.fetch_sub(1);
    return counted(Forwarding::refused);
  }
  std::string question(session);
  question.append(1, '\n').append(commands);
  fleet_.ask_one(node, "commands", question,
                 [this, counted = std::move(counted)](const Fleet::Result& result) {
                   under_way_.fetch_sub(1);
                   counted(outcome_of(result));
                 });
}

void FleetSessions::count(std::function<void(const std::optional<Count>&)> done) {
  fleet_.ask_all("health", "", [this, done = std::move(done)](const Fleet::Result& result) {
    const bool is_known =
        result.end == Fleet::End::answered || (result.end == Fleet::End::late && result.asked > 0);
    if (!is_known) return done(std::nullopt);
    const auto& answers = result.answers;
    const auto draining =
        std::count(answers.begin(), answers.end(), kDraining) + (here_.is_draining() ? 1 : 0);
    done(Count{.gateways = 1 + std::max(result.asked, answers.size()),
               .draining = static_cast<std::size_t>(draining),
               .silent = result.asked - std::min(result.asked, answers.size())});
  });
}

}  // namespace carillon
