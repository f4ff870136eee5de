#include "server/ledger_document.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace carillon {

using nlohmann::json;

namespace {

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
  LedgerRow sum = ledger.others;
  for (const LedgerRow& row : ledger.rows) sum += row;
  json document = counts_of(sum);
  document["is_balanced"] = ledger.is_balanced();
  document["missing_shards"] = ledger.missing_shards;
  const auto forgotten = std::find_if(ledger.rows.begin(), ledger.rows.end(),
                                      [](const LedgerRow& row) { return row.channel.empty(); });
  if (forgotten !=
      ledger.rows.end()) {  // the sum of channels that are not in memory any more: it has no name
    document["forgotten"] = counts_of(*forgotten);
    document["forgotten"]["is_balanced"] = forgotten->is_balanced();
    ledger.rows.erase(forgotten);
  }
  if (rows) {
    const auto end = ledger.rows.begin() + static_cast<std::ptrdiff_t>(std::min(*rows, ledger.rows.size()));
    std::partial_sort(ledger.rows.begin(), end, ledger.rows.end(), LedgerRow::needs_a_look_before);
    ledger.rows.erase(end, ledger.rows.end());
  }
  json& channels = document["channels"] = json::array();
  for (const LedgerRow& row : ledger.rows) {
    json& listed = channels.emplace_back(counts_of(row));
    listed["channel"] = row.channel;
    listed["is_balanced"] = row.is_balanced();
  }
  return document.dump();
}

}  // namespace carillon
