#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "hub/channel_rules.hpp"
#include "session/access.hpp"

namespace carillon {
namespace {

/// An operation, and the options that grant it.
struct Row {
  Operation operation;
  bool ChannelOptions::* client;
  bool ChannelOptions::* subscriber;  // null: there is none
  bool ChannelOptions::* anonymous;
  std::string name;
};

const std::vector<Row>& rows() {
  static const std::vector<Row> all{
      {Operation::subscribe, &ChannelOptions::allow_subscribe, nullptr,
       &ChannelOptions::allow_subscribe_for_anonymous, "allow_subscribe"},
      {Operation::publish, &ChannelOptions::allow_publish, &ChannelOptions::allow_publish_for_subscriber,
       &ChannelOptions::allow_publish_for_anonymous, "allow_publish"},
      {Operation::presence, &ChannelOptions::allow_presence, &ChannelOptions::allow_presence_for_subscriber,
       &ChannelOptions::allow_presence_for_anonymous, "allow_presence"},
      {Operation::history, &ChannelOptions::allow_history, &ChannelOptions::allow_history_for_subscriber,
       &ChannelOptions::allow_history_for_anonymous, "allow_history"},
  };
  return all;
}

Verdict decide(const ChannelOptions& options, Operation operation, std::string_view user, bool is_subscribed,
               std::string_view channel = "news", bool is_insecure = false) {
  const ChannelRules rules({{"*", options}});
  const RulesAccess access(rules, is_insecure);
  Question question;
  question.operation = operation;
  question.user = user;
  question.channel = channel;
  question.is_subscribed = is_subscribed;
  return *access.answer(question);
}

TEST(RulesAccess, EveryRowOfTheTableHoldsForUsersSubscribersAndAnonymousClients) {
  for (const Row& row : rows()) {
    for (unsigned bits = 0; bits < 32; ++bits) {
      ChannelOptions options;
      const bool for_client = (bits & 1U) != 0;
      const bool for_subscriber = (bits & 2U) != 0 && row.subscriber != nullptr;
      const bool for_anonymous = (bits & 4U) != 0;
      const bool is_subscribed = (bits & 8U) != 0;
      const bool is_anonymous = (bits & 16U) != 0;
      options.*(row.client) = for_client;
      if (for_subscriber) options.*(row.subscriber) = true;
      options.*(row.anonymous) = for_anonymous;
      const bool is_granted = for_client || (for_subscriber && is_subscribed);
      const bool is_allowed = is_granted && (!is_anonymous || for_anonymous);
      const std::string_view user = is_anonymous ? "" : "ann";
      const Verdict verdict = decide(options, row.operation, user, is_subscribed);
      EXPECT_EQ(verdict.is_allowed, is_allowed) << row.name << " " << bits;
      EXPECT_FALSE(verdict.is_undecided);
      EXPECT_TRUE(decide(options, row.operation, user, is_subscribed, "news", true).is_allowed);
      if (is_allowed) continue;
      const std::string client = row.name + "_for_client";
      const std::string anonymous = row.name + "_for_anonymous";
      const std::string wanted = !is_anonymous || for_anonymous ? client
                                 : is_granted                   ? anonymous
                                                                : client + " and " + anonymous;
      EXPECT_EQ(verdict.option, wanted) << bits;
    }
  }
}

TEST(RulesAccess, AnOptionGrantsItsOwnOperationOnly) {
  for (const Row& given : rows()) {
    ChannelOptions options;
    options.*(given.client) = options.*(given.anonymous) = true;
    for (const Row& asked : rows()) {
      EXPECT_EQ(decide(options, asked.operation, "ann", true).is_allowed, asked.operation == given.operation)
          << given.name << " " << asked.name;
    }
    EXPECT_FALSE(decide(options, Operation::rpc, "ann", true).is_allowed);
  }
}

ChannelOptions with_everything() {
  ChannelOptions options;
  for (const Row& row : rows()) options.*(row.client) = options.*(row.anonymous) = true;
  return options;
}

TEST(RulesAccess, APrivateChannelNeedsATokenAlsoOfAnInsecureServer) {
  for (const bool is_insecure : {false, true}) {
    for (const char* name : {"$secret", "$chat:1", "$dm#ann"}) {
      ChannelOptions options = with_everything();
      options.allow_user_limited = true;
      const Verdict verdict = decide(options, Operation::subscribe, "ann", false, name, is_insecure);
      EXPECT_FALSE(verdict.is_allowed) << name;
      EXPECT_TRUE(verdict.option.empty()) << "no option allows it";
      EXPECT_NE(verdict.reason.find("token"), std::string::npos);
      EXPECT_TRUE(decide(options, Operation::publish, "ann", false, name, is_insecure).is_allowed) << name;
    }
  }
}

TEST(RulesAccess, AUserLimitedChannelIsForTheUsersInItsName) {
  struct Case {
    const char* channel;
    const char* user;
    bool is_listed;
  };
  for (const Case& each : {
           Case{"dm:x#42", "42", true},
           Case{"dm:x#42", "4", false},
           Case{"dm:x#42", "422", false},
           Case{"dm:x#42,43", "42", true},
           Case{"dm:x#42,43", "43", true},
           Case{"dm:x#42,43", "42,43", false},
           Case{"dm:x#42,43", "", false},
           Case{"dm:x#", "", false},
           Case{"dm:x#42,,43", "", false},
           Case{"dm:x#42,", "", false},
           Case{"dm:x#42,,43", "43", true},
           Case{"dm:x#7#42", "42", true},
           Case{"dm:x#7#42", "7", false},
           Case{"#ann", "ann", true},
           Case{"#ann", "bob", false},
       }) {
    ChannelOptions options = with_everything();  // which counts for names without users only
    options.allow_user_limited = true;
    const Verdict verdict = decide(options, Operation::subscribe, each.user, false, each.channel);
    EXPECT_EQ(verdict.is_allowed, each.is_listed) << each.channel << " " << each.user;
    EXPECT_TRUE(verdict.option.empty());
    EXPECT_TRUE(decide(options, Operation::subscribe, each.user, false, each.channel, true).is_allowed);
    ChannelOptions closed;
    closed.allow_user_limited = true;
    EXPECT_EQ(decide(closed, Operation::subscribe, each.user, false, each.channel).is_allowed,
              each.is_listed);
  }
}

TEST(RulesAccess, AHashIsALetterWhereChannelsAreNotUserLimited) {
  EXPECT_TRUE(decide(with_everything(), Operation::subscribe, "bob", false, "dm:x#42").is_allowed);
  EXPECT_FALSE(decide(ChannelOptions{}, Operation::subscribe, "42", false, "dm:x#42").is_allowed);
  ChannelOptions options = with_everything();
  options.allow_user_limited = true;
  EXPECT_TRUE(decide(options, Operation::subscribe, "bob", false, "dm:x").is_allowed) << "it lists nobody";
}

}  // namespace
}  // namespace carillon
