#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "env/descriptor.hpp"
#include "store/store.hpp"
#include "store/store_limits.hpp"
#include "store/store_state.hpp"

namespace carillon {

/// A store cannot be opened, or not be held still: what() says what to do.
class StoreRefused : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Channels that have begun new epochs since the store was opened: who resumes in them is told of a loss.
struct NewEpochs {
  std::uint64_t news = 0;      ///< rises when there is something new to tell
  std::uint64_t channels = 0;  ///< of those that are followed here: the others are not known
  std::string_view why;        ///< of the last one; a literal
};

/// What an operator sees of a store.
struct StoreFigures {
  std::size_t channels_known = 0;  ///< in memory, in use or not
  std::size_t dormant_bytes = 0;   ///< memory of channels that are not in use
  std::size_t inbox_bytes = 0;     ///< memory of members and inboxes
  std::size_t inbox_users = 0;     ///< users that have an inbox
  std::size_t wal_bytes = 0;       ///< written, and not yet in the database file
  bool has_new_epochs = false;  ///< since it was opened: the last run may have lost acknowledged publications
  std::string trouble;          ///< why appends fail now; empty: they do not
  NewEpochs new_epochs;         ///< of a store that can lose what it has while it is open
  std::vector<std::string> warnings;  ///< of its settings, each with a remedy; they only become more
  std::uint64_t mistakes = 0;         ///< exceptions that nobody has caught: a bug, or no memory; it goes on
  std::string last_mistake;           ///< what the last of them says
};

/// A store that does nothing: it can be saved, and given to another process. Without that the store goes on
/// when this object ends.
class HeldStore {
 public:
  virtual ~HeldStore() = default;
  [[nodiscard]] virtual StoreState save() const = 0;
  /// What the other process needs to be the only user of the store from then on; -1: nothing.
  [[nodiscard]] virtual int descriptor() const { return -1; }
  /// Another process has it: all that waits, and all later calls, are answered `closed`.
  virtual void give_away() noexcept = 0;
};

/// A store as the server that owns it sees it.
class OwnedStore : public Store {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// Begins, after set_listener() and before any other call. Throws StoreRefused.
  virtual void open() = 0;
  /// The same with what another process has saved, and the descriptor that it sent. Throws StoreRefused.
  /// Calls wait until begin(): before that the other process has the store, and may go on with it.
  virtual void restore(const StoreState& state, Descriptor descriptor) = 0;
  /// This process has the store from now on.
  virtual void begin() {}
  /// Answers all that waits, then holds the store still. While no other call runs. Throws StoreRefused: it
  /// cannot, or not by `until`, and goes on.
  [[nodiscard]] virtual std::unique_ptr<HeldStore> hold_still(Time until) = 0;
  /// What is above them shrinks with its next use. While no other call runs.
  virtual void set_limits(const StoreLimits& limits) = 0;
  /// Any thread, at any time.
  [[nodiscard]] virtual StoreFigures figures() const = 0;
};

}  // namespace carillon
