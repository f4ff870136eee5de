#pragma once

#include "hub/channel_options.hpp"
#include "session/access.hpp"

namespace carillon {

/// What a client asks for with a subscription. It gets it where its channel and its permissions allow it.
struct SubscriptionWishes {
  bool recovery = false;
  bool positioning = false;
  bool join_leave = false;
};

/// What one subscription is like: by the options of its channel, what is granted in place of them, and the
/// wishes that are allowed (protocol.md section 5).
struct SubscriptionTerms {
  bool is_recoverable = false;
  bool is_positioned = false;
  bool has_presence = false;  ///< it is in the presence of its channel
  bool has_notices = false;   ///< its coming and going is announced
  bool gets_notices = false;  ///< those of others, and its own
};

/// `asked`: the question by which the subscription was allowed.
[[nodiscard]] SubscriptionTerms terms_of(const Access& access, const Question& asked,
                                         const ChannelOptions& options, const SubscriptionWishes& wishes,
                                         const SubscriptionOverrides& overrides = {});

}  // namespace carillon
