#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace carillon {

/// Why an entry of a subscription was not delivered.
enum class DropReason : std::uint8_t {
  trimmed,    ///< a publication had left the history before the subscriber could take it: told as a gap
  ephemeral,  ///< an entry without an offset had left the live window
  filtered,   ///< the subscriber's transport or wish does not take this kind (join, leave)
  skipped,    ///< the channel's policy took a subscriber that had fallen behind to the top: told as a gap
};
inline constexpr std::size_t kDropReasons = 4;
inline constexpr std::array<std::string_view, kDropReasons> kDropReasonNames{"trimmed", "ephemeral",
                                                                             "filtered", "skipped"};

/// What became of everything that was announced to a subscription, from its start to its end position. Every
/// term is counted where it happens: published at the announcement, delivered when the kernel (or the reader
/// in memory) took the last byte, dropped at the decision, returned when the subscription ends, pending by
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

/// The account of all subscriptions of a channel, those that have ended included.
struct LedgerRow {
  std::string channel;
  std::uint64_t subscriptions = 0;  ///< open now
  std::uint64_t unbalanced = 0;     ///< subscriptions, open or ended, whose own account does not balance
  Account account;
};

struct Ledger {
  std::vector<LedgerRow> rows;  ///< by channel name; a row with an empty name sums channels already forgotten
  std::size_t missing_shards = 0;  ///< their threads have died: subscriptions open there are not in the rows
  [[nodiscard]] bool is_balanced() const {
    for (const LedgerRow& row : rows) {
      if (row.unbalanced > 0 || !row.account.is_balanced()) return false;
    }
    return true;
  }
};

}  // namespace carillon
