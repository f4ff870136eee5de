// The machine and the lanes step by step, without a server: what is sent, in which order, and what becomes of
// it when a link, a script or a primary is lost.
#include <algorithm>

#include "store/redis/redis_errors.hpp"
#include "store/redis_world.hpp"

namespace carillon {
namespace {

using RedisSteps = RedisWorld;
using Texts = std::vector<std::string>;

const std::string kNone = std::to_string(static_cast<int>(StoreError::none));
const std::string kUnavailable = std::to_string(static_cast<int>(StoreError::unavailable));
const std::string kUnknown = std::to_string(static_cast<int>(StoreError::outcome_unknown));
const std::string kOverloaded = std::to_string(static_cast<int>(StoreError::overloaded));
const std::string kConflict = std::to_string(static_cast<int>(StoreError::conflict));
const std::string kClosed = std::to_string(static_cast<int>(StoreError::closed));

TEST_F(RedisSteps, NothingIsAskedBeforeTheScriptsAreThereAndThePrimaryIsKnown) {
  append("a", "1");
  turn();
  EXPECT_EQ(take_names(), Texts{});
  machine.on_link_up();
  turn();
  Texts expected(kRedisScripts, "SCRIPT");
  expected.push_back("INFO");
  EXPECT_EQ(take_names(), expected);
  answer_scripts();
  EXPECT_EQ(take_names(), Texts{});
  answer_identity("i1");
  EXPECT_EQ(take_names(), (Texts{"SUBSCRIBE", "append"}));
  answer_group("1");
  EXPECT_EQ(take_results(), Texts{"1=" + kNone + ":1"});
}

TEST_F(RedisSteps, AReplicaIsGivenUp) {
  machine.on_link_up();
  answer_scripts();
  answer_identity("i1", "slave");
  ASSERT_EQ(link.renewed.size(), 1U);
  EXPECT_FALSE(machine.is_ready());
}

TEST_F(RedisSteps, WhatComesInOneTurnIsOneGroupAndOneGroupOfAChannelIsUnderWay) {
  come_up();
  append("a", "1");
  append("a", "2");
  append("b", "x");
  turn();
  auto sent = take_sent();
  ASSERT_EQ(sent.size(), 2U);
  EXPECT_EQ(link.sends, 3) << "the preparation, the subscriptions, and one for the turn";
  EXPECT_EQ(group_of(sent[0]).data, (Texts{"1", "2"}));
  EXPECT_EQ(group_of(sent[1]).data, Texts{"x"});
  append("a", "3");
  append("a", "4");
  turn();
  EXPECT_TRUE(take_sent().empty());
  answer_group("1 2");
  sent = take_sent();
  ASSERT_EQ(sent.size(), 1U);
  EXPECT_EQ(group_of(sent[0]).data, (Texts{"3", "4"}));
  answer_group("7");
  answer_group("3 4");
  EXPECT_EQ(take_results(), (Texts{"1=0:1", "2=0:2", "x=0:7", "3=0:3", "4=0:4"}));
  EXPECT_TRUE(log.is_idle());
}

TEST_F(RedisSteps, AGroupIsBoundedAndHasOneRetentionAndMode) {
  come_up();
  for (std::size_t i = 0; i < RedisLog::kGroupEntries + 1; ++i) append("a", "x");
  append("b", std::string(RedisLog::kGroupBytes, 'x'));
  append("b", "small");
  append("c", "1", {.retention = {.entries = 5}});
  append("c", "2", {.retention = {.entries = 6}});
  append("d", "1", {.mode = FanOutMode::write});
  append("d", "2", {.mode = FanOutMode::read});
  turn();
  const auto sent = take_sent();
  ASSERT_EQ(sent.size(), 4U);
  EXPECT_EQ(group_of(sent[0]).data.size(), RedisLog::kGroupEntries);
  for (std::size_t i = 1; i < 4; ++i) EXPECT_EQ(group_of(sent[i]).data.size(), 1U);
}

TEST_F(RedisSteps, ALostLinkRepeatsTheGroupWithItsNumberAheadOfWhatWaits) {
  come_up();
  append("a", "1");
  turn();
  const SentGroup first = group_of(take_sent().at(0));
  append("a", "2");
  turn();
  go_down();
  come_up();
  auto sent = take_sent();
  ASSERT_EQ(sent.size(), 1U);
  EXPECT_EQ(group_of(sent[0]).number, first.number);
  EXPECT_EQ(group_of(sent[0]).data, first.data);
  answer_group("1");
  sent = take_sent();
  ASSERT_EQ(sent.size(), 1U);
  EXPECT_GT(std::stoul(group_of(sent[0]).number), std::stoul(first.number));
  EXPECT_EQ(take_results(), Texts{"1=0:1"});
}

TEST_F(RedisSteps, AnotherPrimaryAdoptsTheChannelBeforeTheGroupIsRepeated) {
  come_up("i1");
  journal.doubts = 0;
  append("a", "1");
  turn();
  const SentGroup first = group_of(take_sent().at(0));
  EXPECT_EQ(first.identity, "i1");
  reply(array_reply({"adopt"}));
  EXPECT_EQ(take_names(), Texts{"adopt"});
  EXPECT_EQ(journal.doubts, 0);
  reply(array_reply({"is", "i2"}));
  EXPECT_EQ(journal.doubts, 1) << "quiet channels are told as well";
  const auto sent = take_sent();
  ASSERT_EQ(sent.size(), 1U);
  EXPECT_EQ(group_of(sent[0]).identity, "i2");
  EXPECT_EQ(group_of(sent[0]).number, first.number);
  answer_group("8", "BBBBBBBB");
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results[0].second.position.epoch.text(), "BBBBBBBB");
}

TEST_F(RedisSteps, ANewPrimaryBehindANewLinkPutsAllInDoubt) {
  come_up("i1");
  EXPECT_EQ(journal.doubts, 1) << "after any link: announcements may have been lost";
  go_down();
  come_up("i1");
  EXPECT_EQ(journal.doubts, 2);
  go_down();
  come_up("i2");
  EXPECT_GE(journal.doubts, 3);
}

TEST_F(RedisSteps, ThePrimaryIsAskedAheadOfTheNextScriptWhenItWasNotForASecond) {
  come_up();
  clock.advance(RedisMachine::kIdentityMs + 1);
  append("a", "1");
  turn();
  EXPECT_EQ(take_names(), Texts{"INFO"});
  answer_identity("i2");
  const auto sent = take_sent();
  ASSERT_EQ(sent.size(), 1U);
  EXPECT_EQ(group_of(sent[0]).identity, "i2");
}

TEST_F(RedisSteps, ThePrimaryIsAskedTwiceASecondAnyway) {
  come_up();
  for (int i = 0; i < 4; ++i) {
    pass(RedisMachine::kIdentityMs / 2);
    EXPECT_EQ(take_names(), Texts{"INFO"});
    answer_identity("i1");
  }
  pass(RedisMachine::kIdentityMs / 2);
  EXPECT_EQ(take_names(), Texts{"INFO"});
  answer_identity("i1", "slave");
  EXPECT_EQ(link.renewed.size(), 1U) << "a demotion that did not cut the link";
}

TEST_F(RedisSteps, ScriptsThatRedisForgotInMidPipelineAreLoadedAndNothingChangesItsPlace) {
  come_up();
  append("a", "1");
  append("b", "2");
  turn();
  take_sent();
  append("a", "3");
  reply(error_reply("NOSCRIPT No matching script. Please use EVAL."));
  reply(error_reply("NOSCRIPT No matching script. Please use EVAL."));
  EXPECT_EQ(take_names(), Texts(kRedisScripts, "SCRIPT")) << "once";
  answer_scripts();
  const auto sent = take_sent();
  ASSERT_EQ(sent.size(), 2U);
  EXPECT_EQ(group_of(sent[0]).data, Texts{"1"});
  EXPECT_EQ(group_of(sent[1]).data, Texts{"2"});
}

TEST_F(RedisSteps, EveryErrorHasAKind) {
  const std::vector<std::pair<std::string, RedisErrorKind>> kinds{
      {"NOSCRIPT No matching script.", RedisErrorKind::missing_script},
      {"LOADING Redis is loading the dataset in memory", RedisErrorKind::later},
      {"BUSY Redis is busy running a script.", RedisErrorKind::later},
      {"TRYAGAIN Multiple keys request during rehashing of slot", RedisErrorKind::later},
      {"CLUSTERDOWN The cluster is down", RedisErrorKind::later},
      {"READONLY You can't write against a read only replica.", RedisErrorKind::not_primary},
      {"MASTERDOWN Link with MASTER is down", RedisErrorKind::not_primary},
      {"OOM command not allowed when used memory > 'maxmemory'.", RedisErrorKind::no_room},
      {"MISCONF Redis is configured to save RDB snapshots", RedisErrorKind::no_room},
      {"NOREPLICAS Not enough good replicas to write.", RedisErrorKind::no_room},
      {"MOVED 3999 127.0.0.1:6381", RedisErrorKind::moved},
      {"ASK 3999 127.0.0.1:6381", RedisErrorKind::moved},
      {"NOPERM this user has no permissions to run the 'evalsha' command", RedisErrorKind::refused},
      {"NOAUTH Authentication required.", RedisErrorKind::refused},
      {"WRONGPASS invalid username-password pair", RedisErrorKind::refused},
      {"ERR unknown command", RedisErrorKind::other},
      {"LOADINGS", RedisErrorKind::other},
      {"", RedisErrorKind::other}};
  for (const auto& [text, kind] : kinds) EXPECT_EQ(kind_of_redis_error(text), kind) << text;
}

TEST_F(RedisSteps, WhatRedisCannotDoNowIsAskedAgainAfterAPause) {
  for (const std::string error :
       {"LOADING", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "OOM", "MISCONF", "NOREPLICAS"}) {
    come_up();
    append("a", error);
    turn();
    const SentGroup group = group_of(take_sent().at(0));
    reply(error_reply(error + " not now"));
    EXPECT_EQ(machine.trouble(), explain_redis_error(error + " not now"));
    EXPECT_TRUE(take_sent().empty()) << error;
    pass(options.endpoint.retry_pause_ms);
    auto sent = take_sent();
    std::erase_if(sent, [](const Words& words) { return words[0] == "INFO"; });
    ASSERT_EQ(sent.size(), 1U) << error;
    EXPECT_EQ(group_of(sent[0]).number, group.number);
    go_down();
    come_up();
    take_sent();
    answer_group("1");
    EXPECT_EQ(take_results(), Texts{error + "=0:1"});
    EXPECT_EQ(machine.trouble(), "");
    go_down();
  }
}

TEST_F(RedisSteps, AReplicaUnderAScriptIsGivenUpAndTheScriptIsAskedElsewhere) {
  come_up();
  append("a", "1");
  turn();
  take_sent();
  reply(error_reply("READONLY You can't write against a read only replica."));
  EXPECT_EQ(link.renewed.size(), 1U);
  go_down();
  take_sent();
  come_up("i2");
  EXPECT_EQ(take_names(), Texts{"append"});
}

TEST_F(RedisSteps, WhatIsRefusedForGoodIsAnsweredAtOnce) {
  for (const std::string error : {"NOPERM", "NOAUTH", "MOVED"}) {
    come_up();
    append("a", error);
    turn();
    reply(error_reply(error + " no"));
    EXPECT_EQ(take_results(), Texts{error + "=" + kUnavailable + ":0"});
    go_down();
  }
  come_up();
  append("a", "1");
  turn();
  reply(error_reply("ERR a script failed halfway"));
  EXPECT_EQ(take_results(), Texts{"1=" + kUnknown + ":0"});
}

TEST_F(RedisSteps, WhatWaitsTooLongIsAnsweredAndALateReplyIsForNobody) {
  append("a", "waits");
  turn();
  pass(options.wait_ms - 1);
  EXPECT_EQ(take_results(), Texts{});
  pass(1);
  EXPECT_EQ(take_results(), Texts{"waits=" + kUnavailable + ":0"}) << "never sent";
  come_up();
  append("a", "sent");
  turn();
  take_sent();
  append("a", "behind it");
  turn();
  pass(options.wait_ms);
  EXPECT_EQ(take_results(), (Texts{"behind it=" + kUnavailable + ":0", "sent=" + kUnknown + ":0"}));
  take_sent();
  append("a", "next");
  turn();
  answer_group("1");
  EXPECT_EQ(take_results(), Texts{}) << "the answer to the first";
  answer_identity("i1");
  EXPECT_EQ(take_names(), Texts{"append"});
  answer_group("2");
  EXPECT_EQ(take_results(), Texts{"next=0:2"});
}

TEST_F(RedisSteps, WhatWasDelayedIsAnsweredAtItsTimeThoughOthersAreAhead) {
  for (const bool is_lost : {false, true}) {
    come_up();
    Texts answered;
    const auto ask = [&](const std::string& name) {
      log.top(name, [&answered, name](const TopResult&) { answered.push_back(name); });
      turn();
    };
    ask("delayed");
    reply(error_reply("LOADING not now"));
    clock.advance(100);
    ask("later");
    pass(options.endpoint.retry_pause_ms);  // now it is asked again, behind the other one
    take_sent();
    if (is_lost) go_down();
    pass(options.wait_ms - options.endpoint.retry_pause_ms - 101);
    EXPECT_EQ(answered, Texts{});
    pass(1);
    EXPECT_EQ(answered, Texts{"delayed"});
    pass(100);
    EXPECT_EQ(answered, (Texts{"delayed", "later"}));
    if (!is_lost) go_down();
    take_sent();
  }
}

TEST_F(RedisSteps, ACallForOneLinkEndsWithItWhereverItWaits) {
  for (const std::string place : {"delayed", "sent", "waiting"}) {
    come_up();
    Texts answered;
    const auto ask = [&](const std::string& key, bool is_for_this_link) {
      RedisCall call;
      call.words = RedisCommand{"SREM", key, "member"};
      call.is_write = true;
      call.is_for_this_link = is_for_this_link;
      call.done = [&answered, key](StoreError error, const RedisReply&) {
        answered.push_back(key + '=' + std::to_string(static_cast<int>(error)));
      };
      machine.call(std::move(call));
    };
    ask("this link", true);
    ask("any link", false);
    if (place != "waiting") turn();
    if (place == "delayed") {
      for (int i = 0; i < 2; ++i) reply(error_reply("LOADING not now"));
    }
    take_sent();
    EXPECT_EQ(answered, Texts{}) << place;
    go_down();
    EXPECT_EQ(answered, Texts{"this link=" + (place == "sent" ? kUnknown : kUnavailable)}) << place;
    come_up();
    pass(options.endpoint.retry_pause_ms);
    auto sent = take_sent();
    std::erase_if(sent, [](const Words& words) { return words[0] != "SREM"; });
    EXPECT_EQ(sent, (std::vector<Words>{{"SREM", "any link", "member"}})) << place;
    go_down();
    pass(options.wait_ms);
    EXPECT_EQ(answered.size(), 2U) << place;
  }
}

TEST_F(RedisSteps, WhatWaitedInItsLaneHasNoMoreTimeAtRedis) {
  come_up();
  append("a", "first");
  turn();
  append("a", "behind it");
  turn();
  clock.advance(options.wait_ms - 10);
  answer_group("1");
  answer_identity("i1");
  EXPECT_EQ(take_results(), Texts{"first=0:1"});
  pass(9);
  EXPECT_EQ(take_results(), Texts{});
  pass(1);
  EXPECT_EQ(take_results(), Texts{"behind it=" + kUnknown + ":0"});
  // The same of a call.
  StoreError error = StoreError::none;
  append("b", "first");
  turn();
  log.remove_history("b", [&](StoreError result) { error = result; });
  turn();
  clock.advance(options.wait_ms - 10);
  take_sent();
  reply(array_reply({"late"}));  // for nobody
  answer_identity("i1");
  pass(10);
  EXPECT_NE(error, StoreError::none);
}

TEST_F(RedisSteps, AGroupDoesNotTakeTheTimeOfWhatCameMuchLater) {
  come_up();
  append("a", "first");
  turn();
  take_sent();
  append("a", "1");
  clock.advance(options.wait_ms / RedisLog::kGroupSpread);
  append("a", "2");
  clock.advance(1);
  append("a", "3");
  answer_identity("i1");
  take_sent();
  answer_group("1");
  machine.flush();
  auto sent = take_sent();
  std::erase_if(sent, [](const Words& words) { return words[0] == "INFO"; });
  if (sent.empty()) {
    answer_identity("i1");
    sent = take_sent();
  }
  ASSERT_EQ(sent.size(), 1U);
  EXPECT_EQ(group_of(sent[0]).data, (Texts{"1", "2"}));
  answer_group("2 3");
  sent = take_sent();
  ASSERT_EQ(sent.size(), 1U);
  EXPECT_EQ(group_of(sent[0]).data, Texts{"3"});
}

TEST_F(RedisSteps, ALinkThatAnnouncesAndDoesNotAnswerIsMadeAgain) {
  const Millis half = options.endpoint.command_timeout_ms / 2;
  come_up();
  append("a", "1");
  turn();
  for (int i = 0; i < 4; ++i) {
    pass(half);
    answer_group(std::to_string(i + 1));
    append("a", "next");
    answer_identity("i1");
  }
  EXPECT_TRUE(link.renewed.empty()) << "it answers";
  pass(half);
  announce("a", "of another gateway", 9);
  EXPECT_TRUE(link.renewed.empty());
  pass(half);
  EXPECT_EQ(link.renewed.size(), 1U);
}

TEST_F(RedisSteps, AGroupThatWasLostWithItsLinkIsUnknownInTheEnd) {
  come_up();
  append("a", "1");
  turn();
  go_down();
  pass(options.wait_ms);
  EXPECT_EQ(take_results(), Texts{"1=" + kUnknown + ":0"});
  // Another group went on meanwhile, and Redis refuses the one that comes late.
  come_up();
  append("a", "2");
  turn();
  reply(array_reply({"late"}));
  EXPECT_EQ(take_results(), Texts{"2=" + kUnknown + ":0"});
}

TEST_F(RedisSteps, AnswersOfAGroupAreDuplicatesAndConflictsToo) {
  come_up();
  for (const std::string data : {"1", "2", "3", "4"}) append("a", data);
  turn();
  answer_group("5 d3 c5 0");
  ASSERT_EQ(results.size(), 4U);
  EXPECT_FALSE(results[0].second.is_duplicate);
  EXPECT_TRUE(results[1].second.is_duplicate);
  EXPECT_EQ(take_results(), (Texts{"1=0:5", "2=0:3", "3=" + kConflict + ":5", "4=0:0"}));
  append("a", "5");
  append("a", "6");
  turn();
  answer_group("7");
  EXPECT_EQ(take_results(), (Texts{"5=0:7", "6=" + kUnknown + ":0"})) << "an answer is missing";
  for (const std::string answers : {"=8+2", "=8+3"}) {
    append("a", "7");
    append("a", "8");
    turn();
    answer_group(answers);
    const bool is_whole = answers == "=8+2";
    EXPECT_EQ(take_results(),
              is_whole ? (Texts{"7=0:8", "8=0:9"}) : (Texts{"7=" + kUnknown + ":0", "8=" + kUnknown + ":0"}));
  }
}

TEST_F(RedisSteps, ASubscriptionComesAheadOfTheTopAndWhatIsAnnouncedBeforeIsNotNew) {
  come_up();
  std::vector<Offset> tops;
  log.follow("a", [&](const TopResult& result) { tops.push_back(result.top.offset); });
  turn();
  EXPECT_EQ(take_names(), (Texts{"SUBSCRIBE", "top"}));
  announce("a", "old", 4);
  EXPECT_EQ(journal.lines(), Texts{});
  reply(array_reply({"ok", "AAAAAAAA", "4", "0"}));
  EXPECT_EQ(tops, (std::vector<Offset>{4}));
  announce("a", "new", 5);
  announce("b", "of another channel", 1);
  EXPECT_EQ(journal.lines(), Texts{"a:5"});
  log.follow("a", [](const TopResult&) {});
  turn();
  EXPECT_EQ(take_names(), Texts{"top"});
  log.unfollow("a");
  turn();
  EXPECT_EQ(take_names(), Texts{});
  log.unfollow("a");
  turn();
  EXPECT_EQ(take_names(), Texts{"UNSUBSCRIBE"});
  announce("a", "on its way", 6);
  EXPECT_EQ(journal.lines(), Texts{"a:5"});
}

TEST_F(RedisSteps, TopsOfATurnAreAskedTogetherAndThoseThatNeedAWriteAlone) {
  come_up();
  Texts tops;
  const auto ask = [&](const std::string& channel) {
    log.top(channel, [&tops, channel](const TopResult& result) {
      tops.push_back(channel + '=' + std::to_string(static_cast<int>(result.error)) + ':' +
                     std::to_string(result.top.offset) + ':' + std::to_string(result.members));
    });
  };
  for (const char* const channel : {"a", "new", "b"}) ask(channel);
  turn();
  EXPECT_EQ(take_names(), Texts{"tops"});
  reply(array_reply({"ok", "AAAAAAAA", "4", "0", "", "", "", "BBBBBBBB", "7", "2"}));
  EXPECT_EQ(tops, (Texts{"a=0:4:0", "b=0:7:2"}));
  EXPECT_EQ(take_names(), Texts{"top"});
  reply(array_reply({"ok", "CCCCCCCC", "0", "0"}));
  EXPECT_EQ(std::exchange(tops, {}), (Texts{"a=0:4:0", "b=0:7:2", "new=0:0:0"}));

  for (std::size_t i = 0; i < RedisLog::kTopsAtOnce + 1; ++i) ask("c" + std::to_string(i));
  turn();
  EXPECT_EQ(take_names(), (Texts{"tops", "top"})) << "a script is bounded";
  ask("late");
  log.close();
  EXPECT_EQ(std::exchange(tops, {}),
            Texts{"late=" + std::to_string(static_cast<int>(StoreError::closed)) + ":0:0"});
  machine.close();
  EXPECT_EQ(tops.size(), RedisLog::kTopsAtOnce + 1);
}

TEST_F(RedisSteps, NewEpochsOfFollowedChannelsAreCountedWithTheirReason) {
  come_up("i1");
  for (const std::string channel : {"a", "b"}) {
    log.follow(channel, [](const TopResult&) {});
    turn();
    reply(array_reply({"ok", "AAAAAAAA", "4", "0"}));
  }
  announce("a", "5", 5);
  log.top("b", [](const TopResult&) {});
  turn();
  reply(array_reply({"ok", "AAAAAAAA", "4", "0"}));
  EXPECT_EQ(log.new_epochs().news, 0U) << "the first epoch of a channel is not a new one";
  announce("a", "1", 1, "BBBBBBBB");  // by whichever gateway
  announce("a", "2", 2, "BBBBBBBB");
  EXPECT_EQ(log.new_epochs().channels, 1U);
  EXPECT_NE(log.new_epochs().why.find("removed or evicted"), std::string_view::npos);
  go_down();
  come_up("i2");
  EXPECT_EQ(log.new_epochs().channels, 1U);
  EXPECT_EQ(log.new_epochs().news, 2U) << "nobody here may follow what is lost";
  take_sent();
  log.top("b", [](const TopResult&) {});
  log.top("nobody follows it", [](const TopResult&) {});
  turn();
  reply(array_reply({"ok", "CCCCCCCC", "4", "0", "DDDDDDDD", "1", "0"}));
  EXPECT_EQ(log.new_epochs().channels, 2U);
  EXPECT_NE(log.new_epochs().why.find("another server than before"), std::string_view::npos);
  log.top("b", [](const TopResult&) {});
  pass(RedisLog::kOfNewPrimaryMs + 1);
  announce("a", "1", 1, "DDDDDDDD");
  EXPECT_NE(log.new_epochs().why.find("removed or evicted"), std::string_view::npos) << "long after it";
}

TEST_F(RedisSteps, WhatMayBeRefusedIsNoTrouble) {
  come_up();
  for (const bool may_be : {true, false}) {
    StoreError error = StoreError::none;
    RedisCall call;
    call.words = RedisCommand{"CONFIG", "GET", "save"};
    call.may_be_refused = may_be;
    call.done = [&](StoreError answer, const RedisReply&) { error = answer; };
    machine.call(std::move(call));
    turn();
    reply(error_reply("NOPERM User carillon has no permissions to run the 'config|get' command"));
    EXPECT_EQ(error, StoreError::unavailable);
    EXPECT_EQ(machine.trouble().empty(), may_be);
  }
}

TEST_F(RedisSteps, AfterANewLinkAllIsSubscribedAgainAheadOfAnythingElse) {
  come_up();
  for (int i = 0; i < 1'200; ++i) log.follow("c" + std::to_string(i), [](const TopResult&) {});
  turn();
  go_down();
  take_sent();
  journal.doubts = 0;
  come_up();
  const auto sent = take_sent();
  std::size_t subscribed = 0;
  std::size_t commands = 0;
  for (const Words& words : sent) {
    if (words[0] != "SUBSCRIBE") break;
    ++commands;
    subscribed += words.size() - 1;
  }
  EXPECT_EQ(subscribed, 1'200U + 2) << "and what gateways tell each other";
  EXPECT_LE(commands, 3U);
  EXPECT_EQ(journal.doubts, 1);
  EXPECT_EQ(sent.size(), commands + 1'200 / RedisLog::kTopsAtOnce) << "and the tops, which had no answer";
}

TEST_F(RedisSteps, AFollowThatFailsFollowsNothing) {
  StoreError error = StoreError::none;
  log.follow("a", [&](const TopResult& result) { error = result.error; });
  turn();
  pass(options.wait_ms);
  EXPECT_EQ(error, StoreError::unavailable);
  EXPECT_EQ(log.followed(), 0U);
}

TEST_F(RedisSteps, AMessageThatIsNotOursHarmsNothing) {
  come_up();
  log.follow("a", [](const TopResult&) {});
  turn();
  reply(array_reply({"ok", "AAAAAAAA", "0", "0"}));
  for (const std::string message :
       {"", "a", "a \n", "a AAAAAAAA w 0 9999999999\n", "a AAAAAAAA w 0 1\n1 99999999999\nxyz",
        "a AAAAAAAA w 0 1\n\n\n\n", "z AAAAAAAA w 0 1\n1 1\nx", "a AAAAAAAA w 0 2\n1 0\n2 3\nabc"})
    push("a", message);
  for (const std::string channel : {"", "test", "test:1:told:", "test:1:{00000000", "another"})
    machine.on_push(array_reply({"message", channel, "a AAAAAAAA w 0 1\n1 1\nx"}));
  machine.on_push(array_reply({"message"}));
  machine.on_push(array_reply({"message", "test:1:{0000000000000000}ca:", "x"}));
  machine.on_push(array_reply({}));
  EXPECT_EQ(journal.lines(), Texts{});
}

TEST_F(RedisSteps, ARemovalIsToldToWhoeverFollows) {
  come_up();
  log.follow("a", [](const TopResult&) {});
  turn();
  reply(array_reply({"ok", "AAAAAAAA", "9", "0"}));
  push("a", "r AAAAAAAA 9");
  push("a", "r AAAA");
  push("a", "r");
  EXPECT_EQ(journal.removals, Texts{"a AAAAAAAA 9"});
}

TEST_F(RedisSteps, WhileUnavailableIsFailNothingWaits) {
  options.while_unavailable = WhileUnavailable::fail;
  append("a", "1");
  EXPECT_EQ(take_results(), Texts{"1=" + kUnavailable + ":0"});
  come_up();
  append("a", "2");
  turn();
  go_down();
  EXPECT_EQ(take_results(), Texts{"2=" + kUnknown + ":0"});
  come_up();
  append("a", "3");
  turn();
  reply(error_reply("OOM no"));
  EXPECT_EQ(take_results(), Texts{"3=" + kUnavailable + ":0"});
}

TEST_F(RedisSteps, CallsThatWaitAreBounded) {
  options.waiting_calls = 3;
  std::vector<StoreError> errors;
  for (int i = 0; i < 5; ++i) log.top("a", [&](const TopResult& result) { errors.push_back(result.error); });
  EXPECT_EQ(errors, (std::vector<StoreError>{StoreError::overloaded, StoreError::overloaded}));
  machine.close();
  EXPECT_EQ(errors.size(), 5U);
}

TEST_F(RedisSteps, TheEndAnswersAllThatWaits) {
  come_up();
  append("a", "sent");
  turn();
  append("a", "waits");
  turn();
  log.close();
  machine.close();
  EXPECT_EQ(take_results(), (Texts{"waits=" + kClosed + ":0", "sent=" + kUnknown + ":0"}));
  append("a", "later");
  EXPECT_EQ(take_results(), Texts{"later=" + kClosed + ":0"});
}

// ---- names of keys

TEST(RedisKeysTest, KeysOfAChannelHaveOneTagWhateverItsNameIs) {
  const RedisKeys keys("p");
  const std::vector<std::string> names{"news", "", "{}", "{a}b", "}{", "a:b", std::string("\0x", 2)};
  for (const std::string& name : names) {
    const std::string tag = keys.channel(name).substr(4, 18);
    EXPECT_EQ(tag.front(), '{');
    EXPECT_EQ(tag.back(), '}');
    EXPECT_EQ(tag.find('}'), 17U);
    for (const std::string& key :
         {keys.stream(name), keys.idempotency_key(name, "k"), keys.announcements(name)})
      EXPECT_EQ(key.substr(0, 22), "p:1:" + tag);
    EXPECT_EQ(keys.channel_of(keys.announcements(name)), name);
  }
  EXPECT_NE(keys.channel("a").substr(4, 18), keys.channel("b").substr(4, 18));
  EXPECT_NE(keys.idempotency_key("a", "b:c"), keys.idempotency_key("a:b", "c"));
  EXPECT_NE(keys.channel("a"), RedisKeys("q").channel("a"));
}

// ---- rights

/// The error of a command in a script, at the first line that has `text`.
std::string refused_in_script(RedisScript script, std::string_view text) {
  const std::string whole = redis_script_text(script);
  const auto lines =
      std::count(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(whole.find(text)), '\n');
  return "ERR The user executing the script can't run this command or subcommand script: d81cbe, on "
         "@user_script:" +
         std::to_string(lines + 1) + '.';
}

TEST(RedisErrors, TellWhichRightIsMissing) {
  EXPECT_EQ(missing_redis_right("NOPERM this user has no permissions to run the 'script|load' command"),
            "+script|load");
  EXPECT_EQ(missing_redis_right("NOPERM User carillon has no permissions to run the 'xadd' command"),
            "+xadd");
  EXPECT_EQ(
      missing_redis_right("NOPERM this user has no permissions to access one of the keys used as arguments"),
      "~");
  EXPECT_EQ(missing_redis_right(
                "NOPERM this user has no permissions to access one of the channels used as arguments"),
            "&");
  EXPECT_EQ(missing_redis_right("OOM command not allowed when used memory > 'maxmemory'."), "");
  EXPECT_EQ(explain_redis_error("OOM no"),
            "OOM no (raise maxmemory of redis, or shorten histories: docs/redis.md, section Faults)");
  const std::string append = redis_script_text(RedisScript::append);
  const auto of_append = [&](std::string_view line) {
    return missing_redis_right(refused_in_script(RedisScript::append, line), append);
  };
  EXPECT_EQ(of_append("redis.call('XADD'"), "+xadd");
  EXPECT_EQ(of_append("redis.call('TIME')"), "+time");
  EXPECT_EQ(of_append("redis.call('XTRIM'"), "+xtrim");
  const std::string settle = redis_script_text(RedisScript::settle_members);
  EXPECT_EQ(missing_redis_right(refused_in_script(RedisScript::settle_members, "ARGV[i + 1]"), settle),
            "+hget or +hdel");
  EXPECT_EQ(missing_redis_right(
                "ERR The user executing the script can't run this command, on @user_script:999.", append),
            "");
}

TEST_F(RedisSteps, WhatIsNotPermittedStaysTheTroubleWhileOtherCallsSucceed) {
  come_up();
  append("a", "1");
  turn();
  reply(error_reply(refused_in_script(RedisScript::append, "redis.call('PUBLISH', channel")));
  EXPECT_EQ(take_results(), Texts{"1=" + kUnknown + ":0"}) << "the script has done what stands before";
  EXPECT_NE(machine.trouble().find("lacks +publish"), std::string::npos) << machine.trouble();
  machine.call(
      {.words = RedisCommand{"SADD", "key", "member"}, .is_write = true, .done = [](auto, const auto&) {}});
  turn();
  reply(text_reply("1"));
  EXPECT_NE(machine.trouble(), "");
  append("a", "2");
  turn();
  answer_group("1");
  EXPECT_EQ(machine.trouble(), "") << "now it is permitted";
  EXPECT_EQ(take_results(), Texts{"2=" + kNone + ":1"});
}

}  // namespace
}  // namespace carillon
