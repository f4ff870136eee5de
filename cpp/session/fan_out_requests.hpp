#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "hub/hub.hpp"
#include "protocol/centrifuge_codes.hpp"
#include "session/limits.hpp"

namespace carillon {

/// Why a request is not done: one of the protocol's errors, and what is wrong, which names the field, its
/// value and the remedy. The text may be empty.
struct Refusal {
  ErrorCode error{0, ""};  ///< code 0: it is done
  std::string text;

  [[nodiscard]] bool is_refused() const { return error.code != 0; }
  /// The error with the text, for the wire.
  [[nodiscard]] std::string message() const;
};

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
                 std::function<void(const Refusal&)> done) const;
  [[nodiscard]] Refusal set_fan_out(std::string_view channel, std::string_view strategy,
                                    std::optional<std::int64_t> threshold) const;

  [[nodiscard]] Refusal check_channel(std::string_view channel) const;

 private:
  [[nodiscard]] Refusal check_members(std::string_view channel, std::span<const std::string> users) const;

  Hub& hub_;
  const Limits& limits_;
};

/// `{"items":[…],"unread":{…},"has_more":…,"is_incomplete":…}`. Of the items as many as `bytes_max` hold
/// beside the counts, which take half of it at most, and one at least; what is left out is more that there
/// is.
void append_inbox(std::string& out, const Inbox& inbox, std::size_t bytes_max);
/// `{"unread":{…}}`: as many channels as `bytes_max` hold; `"has_more":true` when some are left out.
void append_unread(std::string& out, const Inbox& inbox, std::size_t bytes_max);

}  // namespace carillon
