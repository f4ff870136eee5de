#include "token/token_access.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "doubles/token_signer.hpp"
#include "env/clock.hpp"
#include "protocol/centrifuge_codes.hpp"

namespace carillon::testing {
namespace {

constexpr Millis kExpiryMs = 1'700'000'060'000;

/// Time goes on between two looks at it.
struct TickingClock final : Clock {
  explicit TickingClock(Millis begin_ms) : next_ms(begin_ms) {}
  [[nodiscard]] Millis now_ms() const override { return next_ms; }
  [[nodiscard]] std::int64_t now_ns() const override { return next_ms * 1'000'000; }
  [[nodiscard]] Millis wall_ms() const override { return next_ms++; }
  mutable Millis next_ms;
};

TEST(TokenAccess, ATokenThatExpiresWhileItIsCheckedAsksForANewOne) {
  const ChannelRules rules;
  RulesAccess next(rules, false);
  const std::string token = signed_token("secret", R"({"sub":"ann","exp":1700000060})");
  const std::string of_channel = signed_token("secret", R"({"sub":"ann","channel":"a","exp":1700000060})");
  for (Millis before_ms = 0; before_ms < 4; ++before_ms) {
    for (const Operation operation : {Operation::connect, Operation::subscribe}) {
      const TickingClock clock(kExpiryMs - before_ms);
      TokenOptions options;
      options.hmac_secret_key = "secret";
      TokenAccess access(next, clock, {}, std::make_unique<TokenVerifier>(options, 0, 4'096), nullptr);
      Question question;
      question.operation = operation;
      question.token = operation == Operation::connect ? token : of_channel;
      question.user = "ann";
      question.channel = "a";
      const Verdict verdict = access.answer(question).value();
      if (verdict.is_allowed) continue;
      EXPECT_EQ(verdict.code, kErrorTokenExpired.code) << before_ms << " ms before its end";
    }
  }
}

}  // namespace
}  // namespace carillon::testing
