#pragma once

#include <stdexcept>

#include "store/store.hpp"

namespace carillon {

/// A call was not carried out: the store is away, or too much waits for it. StoreUnavailable in Python.
class StoreAway : public std::runtime_error {
 public:
  StoreAway() : std::runtime_error("the store is not available; try again") {}
};
/// A call may have been carried out. StoreOutcomeUnknown in Python.
class StoreInDoubt : public std::runtime_error {
 public:
  StoreInDoubt()
      : std::runtime_error("the store does not say whether it was done; it can be repeated without harm") {}
};

/// Throws unless the store has done it.
inline void raise_unless_done(StoreError error) {
  if (error == StoreError::none) return;
  if (error == StoreError::outcome_unknown) throw StoreInDoubt();
  throw StoreAway();
}

}  // namespace carillon
