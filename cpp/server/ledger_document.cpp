#include "server/ledger_document.hpp"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <numeric>
#include <tuple>

namespace carillon {

using nlohmann::json;

namespace {

bool is_balanced(const LedgerRow& row) { return row.unbalanced == 0 && row.account.is_balanced(); }

std::int64_t drops_of(const LedgerRow& row) {
  return std::accumulate(row.account.dropped.begin(), row.account.dropped.end(), std::int64_t{0});
}

bool needs_a_look_before(const LedgerRow& a, const LedgerRow& b) {
  return std::forward_as_tuple(is_balanced(a), -drops_of(a), a.channel) <
         std::forward_as_tuple(is_balanced(b), -drops_of(b), b.channel);
}

json counts_of(const LedgerRow& row) {
  json dropped = json::object();
  for (std::size_t i = 0; i < kDropReasons; ++i) dropped[kDropReasonNames[i]] = row.account.dropped[i];
  return {{"subscriptions", row.subscriptions}, {"published", row.account.published},
          {"delivered", row.account.delivered}, {"conflated", row.account.conflated},
          {"dropped", std::move(dropped)},      {"returned", row.account.returned},
          {"pending", row.account.pending},     {"unbalanced", row.unbalanced}};
}

}  // namespace

std::string ledger_document(Ledger ledger, std::optional<std::size_t> rows) {
  LedgerRow sum;
  for (const LedgerRow& row : ledger.rows) {
    sum.subscriptions += row.subscriptions;
    sum.unbalanced += row.unbalanced;
    sum.account += row.account;
  }
  json document = counts_of(sum);
  document["is_balanced"] = ledger.is_balanced();
  document["missing_shards"] = ledger.missing_shards;
  if (rows) {
    const auto end = ledger.rows.begin() + static_cast<std::ptrdiff_t>(std::min(*rows, ledger.rows.size()));
    std::partial_sort(ledger.rows.begin(), end, ledger.rows.end(), needs_a_look_before);
    ledger.rows.erase(end, ledger.rows.end());
  }
  json& channels = document["channels"] = json::array();
  for (const LedgerRow& row : ledger.rows) {
    json& listed = channels.emplace_back(counts_of(row));
    listed["channel"] = row.channel;
    listed["is_balanced"] = is_balanced(row);
  }
  return document.dump();
}

}  // namespace carillon
