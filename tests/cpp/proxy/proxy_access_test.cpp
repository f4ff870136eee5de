// What the operator hears of a backend that fails.
#include "proxy/proxy_access.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "doubles/virtual_clock.hpp"

namespace carillon {
namespace {

using Answer = std::function<void(BackendResult)>;

/// A connection to a backend that is not there.
struct DeadLink final : BackendLink {
  explicit DeadLink(std::vector<Answer>& every) : waiting(every) {}
  void exchange(const std::string& /*text*/, Answer answer) override { waiting.push_back(std::move(answer)); }
  [[nodiscard]] bool is_quiet() const override { return false; }
  std::vector<Answer>& waiting;
};

struct ProxyAccessTest : testing::Test {
  ProxyAccessTest() {
    options.has_connect = true;
    options.connect.endpoint = "http://127.0.0.1:1/connect?key=secret";
    access = std::make_unique<ProxyAccess>(ProxyAccess::Parts{
        .next = rules_access,
        .rules = rules,
        .options = options,
        .clock = clock,
        .limits = limits,
        .tell = [this](std::string message, std::int64_t count) { told.emplace_back(message, count); }});
    backend = access->make_backend(
        Operation::connect, [this] { return std::make_unique<DeadLink>(waiting); }, [] {});
  }
  void ask(int times) {
    for (int i = 0; i < times; ++i)
      backend->ask(HookQuestion::of({.operation = Operation::connect}), [](const Verdict& /*verdict*/) {});
    for (const Answer& answer : std::exchange(waiting, {})) {
      BackendResult result;
      result.problem = "cannot be reached";
      answer(std::move(result));
    }
  }
  static std::string record(const std::string& more = {}) {
    return "client.proxy.connect: the backend at http://127.0.0.1:1/connect cannot be reached; its clients "
           "are "
           "asked to try again" +
           more;
  }

  VirtualClock clock{10'000};
  Limits limits;
  ChannelRules rules;
  RulesAccess rules_access{rules, true};
  ProxyOptions options;
  std::vector<Answer> waiting;
  std::vector<std::pair<std::string, std::int64_t>> told;
  std::unique_ptr<ProxyAccess> access;
  std::unique_ptr<Backend> backend;
};

TEST_F(ProxyAccessTest, FailuresWithoutARecordAreCountedInTheNextOne) {
  ask(1);
  ASSERT_EQ(told.size(), 1U) << "the first one is told at once";
  EXPECT_EQ(told[0], std::pair(record(), std::int64_t{1}));
  ask(4);
  EXPECT_EQ(told.size(), 1U);
  clock.advance(1'500);
  ask(1);
  ASSERT_EQ(told.size(), 2U);
  EXPECT_EQ(told[1], std::pair(record(" (4 more like this in the last 1.5 s)"), std::int64_t{5}));
}

TEST_F(ProxyAccessTest, FailuresWithoutARecordAreToldAlsoIfNoneFollows) {
  ask(4);
  access->keep_house();
  ASSERT_EQ(told.size(), 1U) << "a second has not passed";
  clock.advance(1'000);
  access->keep_house();
  ASSERT_EQ(told.size(), 2U);
  EXPECT_EQ(told[1], std::pair(record(" (2 more like this in the last 1.0 s)"), std::int64_t{3}));
  clock.advance(1'000);
  access->keep_house();
  EXPECT_EQ(told.size(), 2U) << "there is nothing more to tell";
}

}  // namespace
}  // namespace carillon
