#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace carillon {

/// The reason why an entry of a subscription was not delivered.
enum class DropReason : std::uint8_t {
  trimmed,    ///< a publication left the history before the subscriber could take it: a gap
  ephemeral,  ///< an entry without an offset left the live window
  filtered,   ///< the subscriber does not get this kind (join, leave)
  skipped,    ///< the slow-consumer policy moved the subscriber past it: a gap
};
inline constexpr std::size_t kDropReasons = 4;
inline constexpr std::array<std::string_view, kDropReasons> kDropReasonNames{"trimmed", "ephemeral",
                                                                             "filtered", "skipped"};

/// The account of all entries announced to a subscription, from its start to its end position. Each term is
/// counted where it happens: published at the announcement, delivered when the kernel (or the reader in
/// memory) took the last byte, dropped at the decision, returned when the subscription ends, pending by
/// position.
struct Account {
  std::int64_t published = 0;
  std::int64_t delivered = 0;
  std::int64_t conflated = 0;
  std::array<std::int64_t, kDropReasons> dropped{};
  std::int64_t returned = 0;
  std::int64_t pending = 0;

  [[nodiscard]] bool is_balanced() const {
    std::int64_t sum = delivered + conflated + returned + pending;
    for (const std::int64_t count : dropped) sum += count;
    return published == sum;
  }
  Account& operator+=(const Account& other) {
    published += other.published;
    delivered += other.delivered;
    conflated += other.conflated;
    for (std::size_t i = 0; i < kDropReasons; ++i) dropped[i] += other.dropped[i];
    returned += other.returned;
    pending += other.pending;
    return *this;
  }
};

/// The account of all subscriptions of a channel, ended ones included.
struct LedgerRow {
  std::string channel;
  std::uint64_t subscriptions = 0;  ///< open now
  std::uint64_t unbalanced = 0;     ///< subscriptions, open or ended, with an account that does not balance
  Account account;

  [[nodiscard]] bool is_balanced() const { return unbalanced == 0 && account.is_balanced(); }
  [[nodiscard]] std::int64_t drops() const {
    return std::accumulate(account.dropped.begin(), account.dropped.end(), std::int64_t{0});
  }
  LedgerRow& operator+=(const LedgerRow& other) {
    subscriptions += other.subscriptions;
    unbalanced += other.unbalanced;
    account += other.account;
    return *this;
  }
  /// Unbalanced rows come first, then those with most drops.
  static bool needs_a_look_before(const LedgerRow& a, const LedgerRow& b) {
    return std::make_tuple(a.is_balanced(), -a.drops(), std::string_view(a.channel)) <
           std::make_tuple(b.is_balanced(), -b.drops(), std::string_view(b.channel));
  }
};

/// What a ledger is asked for: the rows that match all of it.
struct LedgerFilter {
  std::string channel;  ///< empty: all
  std::string client;   ///< open subscriptions of this client alone; empty: all, and ended ones

  [[nodiscard]] bool is_for_all() const { return channel.empty() && client.empty(); }
  [[nodiscard]] bool has(std::string_view name) const { return channel.empty() || channel == name; }
};

struct Ledger {
  std::vector<LedgerRow> rows;     ///< by name; one with an empty name sums forgotten channels
  std::size_t missing_shards = 0;  ///< whose threads have died: their open subscriptions are missing
  LedgerRow others;                ///< sum of the rows that were left out
  std::size_t unbalanced_others = 0;

  static constexpr std::size_t kAllRows = std::numeric_limits<std::size_t>::max();

  /// Adds a row. Beyond `rows_max` the row with the fewest problems is left out.
  void add(LedgerRow row, std::size_t rows_max) {
    if (rows.size() < rows_max) {
      rows.push_back(std::move(row));
      if (rows.size() == rows_max) std::make_heap(rows.begin(), rows.end(), LedgerRow::needs_a_look_before);
      return;
    }
    if (rows_max > 0 && LedgerRow::needs_a_look_before(row, rows.front())) {
      std::pop_heap(rows.begin(), rows.end(), LedgerRow::needs_a_look_before);
      std::swap(rows.back(), row);
      std::push_heap(rows.begin(), rows.end(), LedgerRow::needs_a_look_before);
    }
    if (!row.is_balanced()) ++unbalanced_others;
    others += row;
  }
  [[nodiscard]] bool is_balanced() const {
    return unbalanced_others == 0 &&
           std::all_of(rows.begin(), rows.end(), [](const LedgerRow& row) { return row.is_balanced(); });
  }
};

}  // namespace carillon
