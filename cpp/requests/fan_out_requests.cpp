#include "requests/fan_out_requests.hpp"

#include <algorithm>
#include <utility>

#include "protocol/utf8.hpp"
#include "requests/checks.hpp"
#include "requests/store_errors.hpp"

namespace carillon {

namespace {

Refusal bad(std::string text) { return {kErrorBadRequest, std::move(text)}; }

Refusal refusal_of(FanOutError error, std::string_view channel, Offset offset = 0, std::int64_t limit = 0) {
  switch (error) {
    case FanOutError::none:
      return {};
    case FanOutError::unavailable:
      return {kErrorStoreAway, ""};
    case FanOutError::no_history:
      return {kErrorNotAvailable, "channel: " + in_quotes(channel) +
                                      " keeps no history, so nothing in it can be unread and it cannot have "
                                      "members; give it a history_size and a history_ttl"};
    case FanOutError::too_many:
      return {kErrorLimitExceeded, "channel: " + in_quotes(channel) + " would be one more than the " +
                                       std::to_string(limit) +
                                       " channels of limits.fanout_overrides that have a strategy of their "
                                       "own; set \"configured\" where one is no longer needed"};
    case FanOutError::inboxes_full:
      return {kErrorLimitExceeded, "users: members and inboxes take all of limits.inbox_bytes_total (" +
                                       std::to_string(limit) +
                                       "); not all users became members. Remove members, mark inboxes "
                                       "read, or raise the limit"};
    case FanOutError::above_top:
      return bad("offset: " + std::to_string(offset) + " is above the newest publication of " +
                 in_quotes(channel) + "; give the offset of one that was read");
  }
  return {kErrorInternal, ""};
}

/// Within [0, most], where the default gives way to a smaller limit.
Refusal check_limit(std::optional<std::int64_t>& limit, std::int64_t usual, std::int64_t least,
                    std::int64_t most, std::string_view name) {
  if (!limit) {
    limit = std::min(usual, most);
  } else if (*limit < least) {
    return bad("limit: " + std::to_string(*limit) + " is too small; the minimum is " + std::to_string(least));
  } else if (*limit > most) {
    return bad("limit: " + std::to_string(*limit) + " is more than " + std::string(name) + " (" +
               std::to_string(most) + "); ask again for what is left");
  }
  return {};
}

}  // namespace

Refusal FanOutRequests::check_channel(std::string_view channel) const {
  if (is_channel_name(channel, limits_)) return {};
  return bad(channel_name_error(channel, limits_));
}

Refusal FanOutRequests::check_members(std::string_view channel, std::span<const std::string> users) const {
  if (Refusal refusal = check_channel(channel); refusal.is_refused()) return refusal;
  if (users.size() > static_cast<std::size_t>(limits_.members_per_request)) {
    return bad("users: " + std::to_string(users.size()) + " are more than limits.members_per_request (" +
               std::to_string(limits_.members_per_request) + "); send them in several requests");
  }
  const auto empty = std::find(users.begin(), users.end(), "");
  if (empty == users.end()) return {};
  return bad("users: the one at index " + std::to_string(empty - users.begin()) +
             " is empty; anonymous clients have no inbox, give the id of a user");
}

void FanOutRequests::add_members(std::string_view channel, std::span<const std::string> users,
                                 MembersDone done) const {
  if (const Refusal refusal = check_members(channel, users); refusal.is_refused()) return done(refusal, {});
  hub_.add_members(channel, users,
                   [channel = std::string(channel), limit = limits_.inbox_bytes_total,
                    done = std::move(done)](FanOutError error, const MembersResult& result) {
                     done(refusal_of(error, channel, 0, limit), result);
                   });
}

void FanOutRequests::remove_members(std::string_view channel, std::span<const std::string> users,
                                    MembersDone done) const {
  if (const Refusal refusal = check_members(channel, users); refusal.is_refused()) return done(refusal, {});
  hub_.remove_members(channel, users,
                      [done = std::move(done)](FanOutError error, const MembersResult& result) {
                        done(refusal_of(error, {}), result);
                      });
}

void FanOutRequests::members(std::string_view channel, std::string_view after,
                             std::optional<std::int64_t> limit, MembersDone done) const {
  Refusal refusal = check_channel(channel);
  if (!refusal.is_refused())
    refusal =
        check_limit(limit, kMembersListed, 1, limits_.members_per_request, "limits.members_per_request");
  if (refusal.is_refused()) return done(refusal, {});
  hub_.members(channel, after, static_cast<std::size_t>(*limit),
               [done = std::move(done)](FanOutError error, const MembersResult& result) {
                 done(refusal_of(error, {}), result);
               });
}

void FanOutRequests::inbox(std::string_view user, std::optional<std::int64_t> limit, InboxDone done) const {
  Refusal refusal = check_limit(limit, kInboxItems, 0, limits_.inbox_items, "limits.inbox_items");
  if (user.empty()) refusal = bad("user: is empty; anonymous clients have no inbox");
  if (refusal.is_refused()) return done(refusal, {});
  hub_.inbox(user, static_cast<std::size_t>(*limit), [done = std::move(done)](const Inbox& inbox) {
    const bool is_there = inbox.error == StoreError::none;
    done(refusal_of(is_there ? FanOutError::none : FanOutError::unavailable, {}), inbox);
  });
}

void FanOutRequests::mark_read(std::string_view user, std::string_view channel, Offset offset,
                               std::function<void(const Refusal&, StoreError)> done) const {
  Refusal refusal = check_channel(channel);
  if (user.empty()) refusal = bad("user: is empty; anonymous clients have no inbox");
  if (refusal.is_refused()) return done(refusal, StoreError::none);
  hub_.mark_read(user, channel, offset,
                 [channel = std::string(channel), offset, done = std::move(done)](FanOutError error,
                                                                                  StoreError store_error) {
                   done(refusal_of(error, channel, offset), store_error);
                 });
}

Refusal FanOutRequests::set_fan_out(std::string_view channel, std::string_view strategy,
                                    std::optional<std::int64_t> threshold) const {
  if (Refusal refusal = check_channel(channel); refusal.is_refused()) return refusal;
  if (strategy == kConfigured && threshold)
    return bad("threshold: is that of the configuration where the strategy is; leave it out");
  if (strategy == kConfigured) {
    hub_.set_fan_out(channel, std::nullopt, std::nullopt);
    return {};
  }
  const auto* const found = std::find(kFanOutNames.begin(), kFanOutNames.end(), strategy);
  if (found == kFanOutNames.end()) {
    std::string names;
    for (const std::string_view name : kFanOutNames) {
      if (!names.empty()) names += ", ";
      names += name;
    }
    names += " or " + std::string(kConfigured);
    return bad("strategy: " + in_quotes(strategy) + " is not known; use " + names);
  }
  if (threshold && *threshold < 1)
    return bad("threshold: " + std::to_string(*threshold) + " is too small; the minimum is 1");
  std::optional<std::size_t> chosen;
  if (threshold) chosen = static_cast<std::size_t>(*threshold);
  const FanOutError error =
      hub_.set_fan_out(channel, static_cast<FanOut>(found - kFanOutNames.begin()), chosen);
  return refusal_of(error, channel, 0, limits_.fanout_overrides);
}

}  // namespace carillon
