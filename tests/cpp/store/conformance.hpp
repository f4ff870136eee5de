#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "doubles/seeded_random.hpp"
#include "doubles/virtual_clock.hpp"
#include "store/store_calls.hpp"
#include "store/store_factory.hpp"
#include "store/store_journal.hpp"

namespace carillon {

/// The suite that every store must pass (conformance_*_test.cpp).
struct Conformance : testing::TestWithParam<StoreKind> {
  void SetUp() override {
    if (const std::string missing = GetParam().missing(); !missing.empty()) GTEST_SKIP() << missing;
    place = GetParam().make_place();
    open();
  }
  ~Conformance() override { close(); }

  void open(const SuiteLimits& limits = {}) {
    journal = std::make_unique<StoreJournal>();
    store = place->open(clock, random, limits);
    store->set_listener(journal.get());
    store->open();
    calls = std::make_unique<StoreCalls>(*store);
  }
  void close() {
    if (!store) return;
    store->close();
    calls.reset();
    store.reset();
  }
  /// Closes the store, and opens another one in the same place.
  void restart() {
    close();
    open();
  }

  AppendResult append(const std::string& channel, const std::string& data = "",
                      const AppendOptions& options = {}) {
    return calls->append(channel, entry_of(data, clock.wall_ms()), options);
  }
  /// Follows it. A store that keeps no entries wants each channel that is used to be followed.
  TopResult follow(const std::string& channel) { return calls->follow(channel); }
  [[nodiscard]] bool keeps() const { return store->keeps_entries(); }

  VirtualClock clock;
  SeededRandom random{1};
  std::unique_ptr<StorePlace> place;
  std::unique_ptr<StoreJournal> journal;
  std::unique_ptr<OwnedStore> store;
  std::unique_ptr<StoreCalls> calls;
};

using Lines = std::vector<std::string>;
using Offsets = std::vector<Offset>;

}  // namespace carillon
