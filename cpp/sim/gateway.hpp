#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gateway/beast_http.hpp"
#include "hub/hub.hpp"
#include "loop/event_loop.hpp"
#include "sim/inbox_judge.hpp"
#include "sim/judge.hpp"
#include "sim/network.hpp"
#include "sim/process.hpp"
#include "sim/redis/redis_server.hpp"
#include "sim/sqlite/simulated_disk.hpp"
#include "sim/trace.hpp"
#include "store/owned_store.hpp"
#include "store/sqlite/sqlite_options.hpp"

namespace carillon::sim {

/// What all gateways of a world have in common.
struct Surroundings {
  VirtualTime& time;
  Trace& trace;
  Network& network;
  RedisServer* redis = nullptr;   ///< none: the store is in memory, or on the disk
  SimulatedDisk* disk = nullptr;  ///< with an SQLite file, which is one gateway's; none: see above
  Durability durability = Durability::full;
  std::uint64_t seed = 1;
  std::vector<ChannelRules::Rule> rules;
  Heartbeat heartbeat;
  HubLimits hub_limits = {};
  std::function<void()> log_in_memory_ends = {};  ///< with its process
  std::function<void()> log_may_lose = {};        ///< on the disk: its durability allows it
};

/// A gateway: one process after another. Each has the store, the hub and an event loop that ship, over
/// simulated threads, sockets and clocks.
class Gateway {
 public:
  Gateway(Surroundings& surroundings, std::size_t index);
  ~Gateway();
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  [[nodiscard]] const std::string& name() const { return name_; }
  /// It accepts connections, and clients may stay.
  [[nodiscard]] bool is_serving() const;
  /// A process runs, or comes up or goes down.
  [[nodiscard]] bool is_up() const { return process_ != nullptr; }

  // ---- what happens to it; nothing while it is coming up or going down
  /// Comes up, once its store can be opened; false: it could not.
  bool start();
  /// As after kill -9.
  void crash();
  /// Its machine loses power, and starts anew after `us`.
  void cut_power(Micros us);
  /// It crashes just before it changes its disk, after `changes` more changes, and starts anew after `us`.
  void crash_at_disk(std::uint64_t changes, Micros us);
  /// Asks its clients to go elsewhere, stops when they have gone or after `patience_us`, and starts anew.
  void replace(Millis pace_ms, Micros patience_us);
  /// Another process takes over: connections and all. Nothing if sessions wait for answers.
  bool take_over();
  void stop_for(Micros us);
  void jump_wall(Millis by_ms) { clock_.jump_wall(by_ms); }

  // ---- what others do with it
  /// False: nobody listens.
  bool accept(const WireRef& wire);
  using Published = std::function<void(const AppendResult&)>;
  /// Publishes as its application would; false: there is no process that could. After a crash there is no
  /// answer.
  bool publish(const std::string& channel, const std::string& data, const std::string& key, Published done);

  // Members and inboxes; false: there is no process. After a crash there is no answer.
  bool change_member(const std::string& channel, const std::string& user, bool is_added,
                     std::function<void(bool is_done)> done);
  /// `done` gets nothing, if the store does not answer.
  bool read_inbox(const std::string& user, std::size_t limit,
                  std::function<void(const ShownInbox* shown)> done);
  bool mark_read(const std::string& user, const std::string& channel, std::uint64_t offset,
                 std::function<void(bool is_done)> done);
  /// A walk has entered it into the inbox, whose store is in this process.
  [[nodiscard]] bool has_entered(const std::string& user, const std::string& channel, std::uint64_t offset);

  /// `done` gets the number of clients that are present; never, if the store does not say.
  void count_presence(const std::string& channel, std::function<void(std::uint64_t)> done);
  /// The same by their names, read in pages: whoever reads them clears up behind gateways that have died.
  void list_presence(const std::string& channel, std::function<void(std::uint64_t)> done);
  /// The log of a channel, where the store is in memory; empty if there is no process.
  [[nodiscard]] Judge::Log log_of(const std::string& channel);
  /// What does not add up in its ledger; empty: nothing.
  [[nodiscard]] std::string trouble_of_ledger();
  [[nodiscard]] std::size_t clients() const;

 private:
  struct Instance;
  struct WayToDisk;
  void end_log();
  /// Of a process whose way to its disk has ended. It may be going up or down just now.
  void crash_without_disk(Micros us);
  [[nodiscard]] std::unique_ptr<OwnedStore> make_store(std::unique_ptr<WayToDisk>& way);
  void close_when_empty(std::uint64_t generation, Micros until_us);

  Surroundings& around_;
  const std::string name_;
  ProcessClock clock_;
  BeastHttp http_;
  std::uint64_t generation_ = 0;  // of the process
  bool is_in_transition_ = false;
  bool is_draining_ = false;
  bool is_clean_ = false;             // all that was acknowledged is on the disk, and no process has it open
  std::unique_ptr<Process> process_;  // null: there is none
  std::unique_ptr<Instance> instance_;
};

}  // namespace carillon::sim
