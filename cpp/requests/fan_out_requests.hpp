#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "env/limits.hpp"
#include "hub/hub.hpp"
#include "requests/refusal.hpp"

namespace carillon {

/// Members, inboxes and strategies as they are asked for from outside: checked, then given to the hub. One
/// door for the server API, the client protocol and Python. Thread-safe.
class FanOutRequests {
 public:
  using MembersDone = std::function<void(const Refusal&, const MembersResult&)>;
  using InboxDone = std::function<void(const Refusal&, const Inbox&)>;

  static constexpr std::int64_t kInboxItems = 100;  ///< of one read, where nobody says it
  /// In the place of a strategy: what the configuration says, again.
  static constexpr std::string_view kConfigured = "configured";
  static constexpr std::int64_t kMembersListed = 1'000;  ///< the same of a list

  FanOutRequests(Hub& hub, const Limits& limits) : hub_(hub), limits_(limits) {}

  void add_members(std::string_view channel, std::span<const std::string> users, MembersDone done) const;
  void remove_members(std::string_view channel, std::span<const std::string> users, MembersDone done) const;
  void members(std::string_view channel, std::string_view after, std::optional<std::int64_t> limit,
               MembersDone done) const;
  /// `limit` 0: only the counts.
  void inbox(std::string_view user, std::optional<std::int64_t> limit, InboxDone done) const;
  void mark_read(std::string_view user, std::string_view channel, Offset offset,
                 std::function<void(const Refusal&, StoreError)> done) const;
  [[nodiscard]] Refusal set_fan_out(std::string_view channel, std::string_view strategy,
                                    std::optional<std::int64_t> threshold) const;

  [[nodiscard]] Refusal check_channel(std::string_view channel) const;

 private:
  [[nodiscard]] Refusal check_members(std::string_view channel, std::span<const std::string> users) const;

  Hub& hub_;
  const Limits& limits_;
};

}  // namespace carillon
