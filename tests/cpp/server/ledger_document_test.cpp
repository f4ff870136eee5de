#include "server/ledger_document.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace carillon {
namespace {

using Json = nlohmann::json;

LedgerRow row(std::string channel, std::int64_t trimmed) {
  LedgerRow row{.channel = std::move(channel), .subscriptions = 2};
  row.account.published = 10 + trimmed;
  row.account.delivered = 7;
  row.account.returned = row.account.conflated = row.account.pending = 1;
  row.account.dropped[static_cast<std::size_t>(DropReason::trimmed)] = trimmed;
  return row;
}

std::vector<std::string> channels_of(const Json& document) {
  std::vector<std::string> names;
  for (const Json& each : document["channels"]) names.push_back(each["channel"]);
  return names;
}

TEST(LedgerDocument, HasTheSumsAndARowPerChannel) {
  const Json document = Json::parse(ledger_document({{row("a", 0), row("b", 3)}, 1}));
  EXPECT_EQ(document["published"], 23);
  EXPECT_EQ(document["delivered"], 14);
  EXPECT_EQ(document["conflated"], 2);
  EXPECT_EQ(document["returned"], 2);
  EXPECT_EQ(document["pending"], 2);
  EXPECT_EQ(document["subscriptions"], 4);
  EXPECT_EQ(document["unbalanced"], 0);
  EXPECT_EQ(document["missing_shards"], 1);
  EXPECT_EQ(document["dropped"], Json({{"trimmed", 3}, {"ephemeral", 0}, {"filtered", 0}, {"skipped", 0}}));
  EXPECT_EQ(document["is_balanced"], true);
  EXPECT_EQ(channels_of(document), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(document["channels"][1]["dropped"]["trimmed"], 3);
  EXPECT_EQ(document["channels"][1]["is_balanced"], true);
}

TEST(LedgerDocument, TheSumOfForgottenChannelsIsNoChannelWithoutAName) {
  for (const std::optional<std::size_t> rows :
       {std::optional<std::size_t>{}, std::optional<std::size_t>{5}}) {
    const Json document = Json::parse(ledger_document({{row("a", 0), row("", 3)}}, rows));
    EXPECT_EQ(document["published"], 23) << "the sums have them, too";
    EXPECT_EQ(channels_of(document), std::vector<std::string>{"a"});
    EXPECT_EQ(document["forgotten"]["dropped"]["trimmed"], 3);
    EXPECT_EQ(document["forgotten"]["is_balanced"], true);
  }
  EXPECT_FALSE(Json::parse(ledger_document({{row("a", 0)}})).contains("forgotten"));
}

TEST(LedgerDocument, WithSoManyRowsTheUnbalancedComeFirstAndThenMostDrops) {
  Ledger ledger{{row("a", 0), row("b", 1), row("c", 5), row("d", 0), row("e", 0)}};
  ledger.rows[3].unbalanced = 1;
  ++ledger.rows[4].account.delivered;
  using Names = std::vector<std::string>;
  EXPECT_EQ(channels_of(Json::parse(ledger_document(ledger, 4))), (Names{"d", "e", "c", "b"}));
  EXPECT_EQ(channels_of(Json::parse(ledger_document(ledger, 100))), (Names{"d", "e", "c", "b", "a"}));
  const Json none = Json::parse(ledger_document(ledger, 0));
  EXPECT_EQ(none["channels"], Json::array());
  EXPECT_EQ(none["is_balanced"], false);
  EXPECT_EQ(none["unbalanced"], 1) << "the sums are of all channels";
  EXPECT_EQ(none["dropped"]["trimmed"], 6);
}

}  // namespace
}  // namespace carillon
