#pragma once

#include "protocol/centrifuge_codes.hpp"
#include "store/store.hpp"

namespace carillon {

// What a client hears when the store fails. All are temporary, and of one code: clients try again by
// themselves.

inline constexpr ErrorCode kErrorStoreAway{kErrorInternal.code, "the store is not available; try again",
                                           true};
inline constexpr ErrorCode kErrorNotStored{kErrorInternal.code,
                                           "the store is not available; nothing was stored", true};
inline constexpr ErrorCode kErrorOutcomeUnknown{kErrorInternal.code,
                                                "the outcome is unknown: it may be stored", true};
/// For those who may give a key.
inline constexpr ErrorCode kErrorOutcomeUnknownOfKey{
    kErrorInternal.code, "the outcome is unknown: it may be stored; repeat it with the same idempotency_key",
    true};

/// Of a change that has failed.
[[nodiscard]] constexpr const ErrorCode& change_error(StoreError error, bool may_have_key = false) {
  if (error != StoreError::outcome_unknown) return kErrorNotStored;
  return may_have_key ? kErrorOutcomeUnknownOfKey : kErrorOutcomeUnknown;
}

}  // namespace carillon
