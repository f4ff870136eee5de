#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "doubles/seeded_random.hpp"
#include "doubles/virtual_clock.hpp"
#include "store/sqlite/sqlite_store.hpp"
#include "store/sqlite_place.hpp"
#include "store/store_calls.hpp"
#include "store/store_journal.hpp"

namespace carillon {

/// An SQLite store with its journal.
struct OpenSqlite {
  OpenSqlite(const SqliteOptions& options, const Clock& clock, RandomSource& random)
      : store(options, clock, random), calls{store} {
    store.set_listener(&journal);
    store.open();
  }
  ~OpenSqlite() { store.close(); }
  AppendResult append(const std::string& channel, const std::string& data = "x",
                      const AppendOptions& options = {}) {
    return calls.append(channel, entry_of(data), options);
  }

  StoreJournal journal;
  SqliteStore store;
  StoreCalls calls;
};

/// Tests that are about SQLite alone.
struct SqliteWorld : testing::Test {
  [[nodiscard]] std::unique_ptr<OpenSqlite> open(const SqliteOptions& options) {
    return std::make_unique<OpenSqlite>(options, clock, random);
  }
  [[nodiscard]] std::unique_ptr<OpenSqlite> open() { return open(place.options()); }
  /// Why the store cannot be opened; empty: it can.
  [[nodiscard]] std::string refusal(const SqliteOptions& options) {
    try {
      SqliteStore store(options, clock, random);
      store.open();
      return "";
    } catch (const std::runtime_error& error) {
      return error.what();
    }
  }
  [[nodiscard]] std::string refusal() { return refusal(place.options()); }

  VirtualClock clock;
  SeededRandom random{1};
  SqlitePlace place;
};

}  // namespace carillon
