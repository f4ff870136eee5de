#include "session/subscription_terms.hpp"

namespace carillon {

namespace {

// As a subscriber, which it is about to be.
bool may_read(const Access& access, const Question& asked, Operation operation) {
  Question question = asked;
  question.operation = operation;
  question.is_subscribed = true;
  const std::optional<Verdict> verdict = access.answer(question);
  return verdict && verdict->is_allowed;
}

}  // namespace

SubscriptionTerms terms_of(const Access& access, const Question& asked, const ChannelOptions& options,
                           const SubscriptionWishes& wishes, const SubscriptionOverrides& overrides) {
  SubscriptionTerms terms;
  terms.has_presence = overrides.presence.value_or(options.presence);
  terms.has_notices = overrides.join_leave.value_or(options.join_leave);
  terms.gets_notices =
      terms.has_notices && (overrides.force_push_join_leave.value_or(options.force_push_join_leave) ||
                            (wishes.join_leave && may_read(access, asked, Operation::presence)));
  if (!options.has_history()) return terms;
  terms.is_recoverable =
      overrides.force_recovery.value_or(options.force_recovery) ||
      (options.recovery_mode == RecoveryMode::cache && options.auto_cache_recover) ||
      (wishes.recovery && (options.allow_recovery || may_read(access, asked, Operation::history)));
  terms.is_positioned =
      terms.is_recoverable || overrides.force_positioning.value_or(options.force_positioning) ||
      (wishes.positioning && (options.allow_positioning || may_read(access, asked, Operation::history)));
  return terms;
}

}  // namespace carillon
