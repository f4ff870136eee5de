#pragma once

#include <functional>
#include <memory>
#include <ostream>
#include <string>

#include "env/clock.hpp"
#include "env/random.hpp"
#include "store/owned_store.hpp"

namespace carillon {

/// Limits that the conformance suite needs to be small.
struct SuiteLimits {
  std::size_t waiting_appends = 10'000;
  Millis idempotency_window_ms = 300'000;
};

/// One place where a store keeps what it has: several stores are opened there one after another.
class StorePlace {
 public:
  virtual ~StorePlace() = default;
  /// Not yet OwnedStore::open().
  [[nodiscard]] virtual std::unique_ptr<OwnedStore> open(const Clock& clock, RandomSource& random,
                                                         const SuiteLimits& limits) = 0;
};

/// A kind of store, as the conformance suite needs to know it.
struct StoreKind {
  std::string name;
  bool is_keeping = false;  ///< Store::keeps_entries()
  bool is_durable = false;  ///< outlives its object
  bool is_bounded = false;  ///< answers `overloaded` beyond SuiteLimits
  std::function<std::unique_ptr<StorePlace>()> make_place;
  std::function<std::string()> missing = [] { return std::string(); };  ///< why it cannot run here
};
inline void PrintTo(const StoreKind& kind, std::ostream* out) { *out << kind.name; }

}  // namespace carillon
