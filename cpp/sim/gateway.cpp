#include "sim/gateway.hpp"

#include <limits>
#include <span>
#include <utility>

#include "sim/redis/redis_wire.hpp"
#include "sim/sqlite/simulated_sqlite_threads.hpp"
#include "sim/sqlite/simulated_vfs.hpp"
#include "store/memory_store.hpp"
#include "store/redis/redis_store.hpp"
#include "store/sqlite/sqlite_store.hpp"

namespace carillon::sim {

namespace {

constexpr Micros kHouseUs = 250'000;
constexpr std::size_t kWalBytes = 96UL << 10U;  // so that it is copied to the database every now and then
constexpr Micros kRestartUs = 500'000;          // after a start that has failed
constexpr Micros kHistoryUs = 2'000'000;        // for the store to answer with a whole log
constexpr Micros kHoldUs = 200'000;             // for the store to answer what is under way

/// Nothing but the transports is asked for.
class NoPages final : public HttpHandler {
 public:
  [[nodiscard]] std::optional<HttpResponse> refusal_of(const HttpRequest& /*head*/,
                                                       const HttpTarget& /*target*/,
                                                       bool /*is_internal*/) const override {
    return http_error(404, "nothing is here");
  }
  void handle(const HttpRequest& /*request*/, BodyBudget::Share /*memory*/, const HttpTarget& /*target*/,
              Respond respond) override {
    respond(http_error(404, "nothing is here"));
  }
};

}  // namespace

/// The threads of a store in SQLite, and its files.
struct Gateway::WayToDisk {
  WayToDisk(Process& process, SimulatedDisk& disk) : threads(process), vfs(disk, threads) {}
  SimulatedSqliteThreads threads;
  SimulatedVfs vfs;
};

/// What lives as long as the process.
struct Gateway::Instance {
  Instance(Gateway& gateway, Process& its_process)
      : around(gateway.around_),
        process(its_process),
        chance(gateway.around_.seed, gateway.name_ + "#" + std::to_string(gateway.generation_)),
        store(gateway.make_store(way)),
        rules(around.rules),
        hub(gateway.clock_, chance, *store, rules, around.hub_limits),
        access(rules, true),
        shared{.hub = hub,
               .access = access,
               .origins = origins,
               .handler = pages,
               .http = gateway.http_,
               .random = chance,
               .limits = limits,
               .heartbeat = around.heartbeat,
               .version = "simulated"},
        sockets(around.network, [this] { post_events(); }),
        loop(0, shared, sockets, gateway.clock_, TurnLimits{}, TimerWheel::kTickMs, [this] { post_turn(); }) {
    loop.set_flush(sockets);
    hub.set_shards({&loop.shard()});
  }
  ~Instance() { end(); }
  void end() {
    if (std::exchange(has_ended, true)) return;
    if (way) is_held = true;  // while its store is closed, the world goes on
    on_shard([this] { loop.stop(); });
    hub.close();
    on_shard([this] { loop.release(); });
    hub.set_shards({});
  }

  template <typename Task>
  void on_shard(Task task) {
    loop.shard().bind_to_this_thread();
    task();
    Shard::unbind_this_thread();
  }
  void post_turn() {
    if (std::exchange(is_turn_posted, true)) return;
    process.soon([this] {
      is_turn_posted = false;
      if (is_held) return;
      on_shard([this] { loop.turn(); });
      end_turn();
    });
  }
  void post_events() {
    if (std::exchange(are_events_posted, true)) return;
    process.soon([this] {
      are_events_posted = false;
      if (is_held) return;
      on_shard([this] { loop.take_events(); });
      end_turn();
    });
  }
  void end_turn() {
    if (loop.has_work() || sockets.has_events()) post_turn();
    const std::optional<Millis> due_ms = loop.due_ms();
    if (!due_ms || due_ms == sweep_ms) return;
    sweep_ms = due_ms;
    process.after((*due_ms - loop.now_ms()) * 1'000, [this, due_ms] {
      if (sweep_ms != due_ms || is_held) return;
      sweep_ms.reset();
      post_turn();
    });
  }
  void tick() {
    process.after(TimerWheel::kTickMs * 1'000, [this] {
      tick();
      if (is_held) return;
      on_shard([this] { loop.tick(); });
      end_turn();
    });
  }
  void keep_house() {
    process.after(kHouseUs, [this] {
      if (is_held && way) return keep_house();
      hub.set_has_store(store->figures().trouble.empty());
      hub.keep_house();
      store->keep_house();
      keep_house();
    });
  }
  void begin() {
    tick();
    keep_house();
  }

  Surroundings& around;
  Process& process;
  Chance chance;
  std::unique_ptr<WayToDisk> way;  // null: the store is not on a disk
  const std::unique_ptr<OwnedStore> store;
  const Limits limits;
  const ChannelRules rules;
  Hub hub;
  RulesAccess access;
  OriginPolicy origins{{}, true};
  NoPages pages;
  LoopShared shared;
  Endpoint endpoint{};
  SimulatedSockets sockets;
  EventLoop loop;
  const std::shared_ptr<bool> is_answering = std::make_shared<bool>(true);
  bool has_ended = false;
  bool is_held = false;  // no turn runs: another process is about to take over
  bool is_turn_posted = false;
  bool are_events_posted = false;
  std::optional<Millis> sweep_ms;
};

Gateway::Gateway(Surroundings& surroundings, std::size_t index)
    : around_(surroundings), name_("gateway" + std::to_string(index)), clock_(surroundings.time) {}

Gateway::~Gateway() {
  if (process_) process_->die();
  instance_.reset();
}

bool Gateway::is_serving() const { return instance_ != nullptr && !is_in_transition_ && !is_draining_; }

std::unique_ptr<OwnedStore> Gateway::make_store(std::unique_ptr<WayToDisk>& way) {
  Chance& chance = process_->chance();
  if (around_.disk != nullptr) {
    way = std::make_unique<WayToDisk>(*process_, *around_.disk);
    SqliteOptions options;
    options.path = "/simulated/carillon.db";
    options.durability = around_.durability;
    options.boot_id = around_.disk->boot_id();
    options.vfs = way->vfs.name();
    options.is_in_vfs_only = true;
    options.threads = &way->threads;
    options.wal_bytes = kWalBytes;
    options.limits.idempotency_window_ms = 30LL * 24 * 3'600'000;  // by the time of day, which jumps
    return std::make_unique<SqliteStore>(options, clock_, chance);
  }
  if (around_.redis == nullptr) return std::make_unique<MemoryStore>(clock_, chance, StoreLimits{});
  RedisOptions options;
  options.url = "redis://simulated";
  options.heartbeat_ms = 1'000;
  options.dead_ms = 4'000;
  if (around_.seed % 2 == 1) options.presence_page_entries = 2;
  return std::make_unique<RedisStore>(options, clock_, chance, [this](const auto& /*on_mistake*/) {
    return std::make_unique<SimulatedRedisThread>(*process_, *around_.redis, name_);
  });
}

bool Gateway::start() {
  if (process_) return false;
  is_in_transition_ = true;
  ++generation_;
  process_ = std::make_unique<Process>(around_.time, around_.seed, name_ + "/" + std::to_string(generation_));
  auto instance = std::make_unique<Instance>(*this, *process_);
  try {
    instance->store->open();  // the world goes on meanwhile
  } catch (const StoreRefused& refused) {
    around_.trace.add(name_, " does not start: ", refused.what());
    process_->die();
    instance.reset();
    process_.reset();
    is_in_transition_ = false;
    if (around_.disk != nullptr) around_.time.after(kRestartUs, [this] { start(); });
    return false;
  }
  instance_ = std::move(instance);
  is_clean_ = false;
  instance_->begin();
  is_in_transition_ = is_draining_ = false;
  around_.trace.add(name_, " is up");
  return true;
}

void Gateway::crash() {
  if (!instance_ || is_in_transition_) return;
  around_.trace.add(name_, " crashes");
  if (around_.disk != nullptr) *instance_->is_answering = false;
  process_->die();
  // The kernel resets its connections; what it had not sent is gone.
  for (const auto& connection : instance_->loop.connections())
    around_.network.reset(around_.network.at(connection->outlet.descriptor));
  instance_.reset();
  process_.reset();
  is_draining_ = false;
  if (around_.disk == nullptr) return end_log();
  if (around_.durability == Durability::async) around_.log_may_lose();
}

void Gateway::end_log() {
  if (around_.redis == nullptr && around_.disk == nullptr) around_.log_in_memory_ends();
}

void Gateway::cut_power(Micros us) {
  around_.disk->cut_power();
  if (around_.durability != Durability::full && !is_clean_) around_.log_may_lose();
  crash_without_disk(us);
}

void Gateway::crash_at_disk(std::uint64_t changes, Micros us) {
  if (!instance_ || is_in_transition_) return;
  instance_->way->vfs.end_after(
      changes, [this, us] { around_.time.after(0, [this, us] { crash_without_disk(us); }); });
}

void Gateway::crash_without_disk(Micros us) {
  if (is_in_transition_) {
    around_.time.after(1'000, [this, us] { crash_without_disk(us); });
    return;
  }
  if (instance_ && instance_->way->vfs.is_ended()) crash();
  around_.time.after(us, [this] { start(); });
}

void Gateway::replace(Millis pace_ms, Micros patience_us) {
  if (!is_serving()) return;
  around_.trace.add(name_, " drains");
  is_draining_ = true;
  instance_->endpoint.is_draining = true;
  instance_->on_shard([this, pace_ms] { instance_->loop.drain(instance_->endpoint, pace_ms); });
  instance_->post_turn();
  close_when_empty(generation_, around_.time.now_us() + patience_us);
}

void Gateway::close_when_empty(std::uint64_t generation, Micros until_us) {
  process_->after(20'000, [this, generation, until_us] {
    if (generation != generation_ || is_in_transition_) return;
    if (clients() > 0 && around_.time.now_us() < until_us) return close_when_empty(generation, until_us);
    around_.trace.add(name_, " stops, with ", clients(), " clients");
    is_in_transition_ = true;
    // Not from a task of its own process, which ends here.
    around_.time.after(0, [this] {
      const std::uint64_t failures = around_.disk != nullptr ? around_.disk->failures() : 0;
      instance_->end();
      if (around_.disk != nullptr) {
        is_clean_ = !instance_->way->vfs.is_ended() && around_.disk->failures() == failures;
        if (!is_clean_ && around_.durability == Durability::async) around_.log_may_lose();
      }
      instance_.reset();
      process_.reset();
      end_log();
      is_in_transition_ = false;
      start();
    });
  });
}

bool Gateway::take_over() {
  if (!is_serving() || instance_->loop.is_asking()) return false;
  is_in_transition_ = true;
  Instance& old = *instance_;
  old.loop.stop_reading();
  const auto give_up = [&] {
    old.is_held = false;
    old.sweep_ms.reset();
    old.loop.read_again();
    old.post_turn();
    old.post_events();
    is_in_transition_ = false;
    return false;
  };
  for (int turns = 0; old.loop.is_busy() || old.loop.is_asking(); ++turns) {
    if (turns > 1'000) return give_up();
    old.on_shard([&old] { old.loop.turn(); });
  }
  old.is_held = true;
  std::unique_ptr<HeldStore> held;
  try {
    held = old.store->hold_still(SimulatedRedisThread::time_of(around_.time.now_us() + kHoldUs));
  } catch (const StoreRefused&) {
    return give_up();
  }
  std::vector<ConnectionState> states;
  std::vector<int> descriptors;
  std::vector<std::string> left_behind;
  if (!old.loop.is_busy() && !old.loop.is_asking()) old.loop.save(states, descriptors, left_behind);
  if (old.loop.is_busy() || old.loop.is_asking() || !left_behind.empty()) {
    old.loop.forget_saved();
    held.reset();
    return give_up();
  }
  const HubState hub_state = old.hub.save();
  const StoreState store_state = held->save();
  for (const int descriptor : descriptors) ++around_.network.at(descriptor)->holders;

  ++generation_;
  auto process =
      std::make_unique<Process>(around_.time, around_.seed, name_ + "/" + std::to_string(generation_));
  std::swap(process_, process);  // now the old one is `process`
  auto next = std::make_unique<Instance>(*this, *process_);
  const auto fail = [&](const char* why) {
    around_.trace.add(name_, " is not taken over: ", why);
    next->on_shard([&next] { next->loop.discard(); });
    process_->die();
    next.reset();
    std::swap(process_, process);
    for (const int descriptor : descriptors) --around_.network.at(descriptor)->holders;
    old.loop.forget_saved();
    held.reset();
    return give_up();
  };
  try {
    next->store->restore(store_state, Descriptor{});
  } catch (const StoreRefused& refused) {
    return fail(refused.what());
  }
  next->hub.restore(hub_state);
  held->give_away();
  held.reset();  // the store is still only as long as it is held
  old.on_shard([&old] { old.loop.give_away_saved(); });
  next->store->begin();
  for (std::size_t i = 0; i < states.size(); ++i) {
    next->shared.connections.fetch_add(1);
    next->endpoint.connections.fetch_add(1);
    next->on_shard([&] { next->loop.restore(states[i], descriptors[i], next->endpoint); });
  }
  process->die();
  instance_ = std::move(next);
  instance_->begin();
  instance_->post_turn();
  is_in_transition_ = false;
  around_.trace.add(name_, " is taken over, with ", states.size(), " connections");
  return true;
}

void Gateway::stop_for(Micros us) {
  if (!instance_ || is_in_transition_) return;
  around_.trace.add(name_, " is stopped for ", us, " us");
  process_->stop_for(us);
}

bool Gateway::accept(const WireRef& wire) {
  if (!instance_ || is_in_transition_) return false;
  wire->holders = 1;
  // On its way to the loop it belongs to this process, which may end before.
  process_->soon([this, wire] {
    instance_->shared.connections.fetch_add(1);
    instance_->endpoint.connections.fetch_add(1);
    instance_->shared.admission.begin_refusal();
    instance_->on_shard([&] { instance_->loop.add(wire->descriptor, false, instance_->endpoint); });
    instance_->post_events();
  });
  return true;
}

bool Gateway::publish(const std::string& channel, const std::string& data, const std::string& key,
                      Published done) {
  if (!instance_ || is_in_transition_) return false;
  process_->soon([this, channel, data, key, done = std::move(done)] {
    Publication publication;
    publication.data = data;
    publication.content = ContentType::json;
    PublishOptions options;
    options.idempotency_key = key;
    instance_->hub.publish(channel, std::move(publication), options,
                           [done, is_answering = instance_->is_answering](const AppendResult& result) {
                             if (*is_answering) done(result);
                           });
  });
  return true;
}

// ---- members and inboxes

bool Gateway::change_member(const std::string& channel, const std::string& user, bool is_added,
                            std::function<void(bool)> done) {
  if (!instance_ || is_in_transition_) return false;
  process_->soon([this, channel, user, is_added, done = std::move(done)] {
    const auto answer = [done](FanOutError error, const MembersResult& /*result*/) {
      done(error == FanOutError::none);
    };
    if (is_added) return instance_->hub.add_members(channel, std::span(&user, 1), answer);
    instance_->hub.remove_members(channel, std::span(&user, 1), answer);
  });
  return true;
}

bool Gateway::read_inbox(const std::string& user, std::size_t limit,
                         std::function<void(const ShownInbox*)> done) {
  if (!instance_ || is_in_transition_) return false;
  process_->soon([this, user, limit, done = std::move(done)] {
    instance_->hub.inbox(user, limit, [done](const Inbox& inbox) {
      if (inbox.error != StoreError::none) return done(nullptr);
      ShownInbox shown;
      shown.has_more = inbox.has_more;
      for (const InboxItem& item : inbox.items)
        shown.items.push_back({item.channel, std::string(item.epoch.text()), item.first, item.last,
                               item.entry ? item.entry->publication.data : std::string()});
      done(&shown);
    });
  });
  return true;
}

bool Gateway::mark_read(const std::string& user, const std::string& channel, std::uint64_t offset,
                        std::function<void(bool)> done) {
  if (!instance_ || is_in_transition_) return false;
  process_->soon([this, user, channel, offset, done = std::move(done)] {
    instance_->hub.mark_read(user, channel, offset, [done](FanOutError error, StoreError /*of_store*/) {
      done(error == FanOutError::none);
    });
  });
  return true;
}

bool Gateway::has_entered(const std::string& user, const std::string& channel, std::uint64_t offset) {
  if (!instance_) return true;  // and nobody reads it any more
  bool is_entered = false;
  instance_->store->inbox(user, std::numeric_limits<std::size_t>::max(), [&](const InboxResult& result) {
    for (const InboxRange& range : result.content.entered)
      is_entered |= range.channel == channel && range.first <= offset && offset <= range.last;
  });
  return is_entered;
}

std::size_t Gateway::clients() const { return instance_ ? instance_->loop.connections().size() : 0; }

void Gateway::count_presence(const std::string& channel, std::function<void(std::uint64_t)> done) {
  if (!instance_ || is_in_transition_) return;
  instance_->hub.presence_counts(channel, [done = std::move(done)](const PresenceCounts& counts) {
    if (counts.error == StoreError::none) done(counts.clients);
  });
}

void Gateway::list_presence(const std::string& channel, std::function<void(std::uint64_t)> done) {
  if (!instance_ || is_in_transition_) return;
  instance_->hub.presence(channel, {"", 1'000'000}, [done = std::move(done)](const PresenceResult& found) {
    if (found.error == StoreError::none) done(found.members.size());
  });
}

Judge::Log Gateway::log_of(const std::string& channel) {
  const auto log = std::make_shared<Judge::Log>();
  if (!instance_) return *log;
  const auto is_answered = std::make_shared<bool>(false);
  HistoryQuery query;
  query.limit = -1;
  instance_->hub.history(channel, query, [log, is_answered](const HistoryResult& result) {
    *is_answered = true;
    log->epoch = result.top.epoch.text();
    log->top = result.top.offset;
    for (const EntryRef& entry : result.entries)
      log->kept.emplace_back(entry->offset, entry->publication.data);
  });
  if (around_.disk != nullptr)  // its store answers by a thread of its own
    around_.time.run_until(around_.time.now_us() + kHistoryUs, [is_answered] { return *is_answered; });
  return *log;
}

std::string Gateway::trouble_of_ledger() {
  if (!instance_) return {};
  const auto found = std::make_shared<std::optional<Ledger>>();
  instance_->hub.ledger([found](Ledger ledger) { *found = std::move(ledger); });
  for (int i = 0; i < 100 && !*found; ++i) instance_->on_shard([this] { instance_->loop.turn(); });
  if (!*found) return "it does not answer";
  std::string trouble;
  for (const LedgerRow& row : (*found)->rows) {
    if (!row.is_balanced()) trouble += row.channel + " does not balance; ";
  }
  return trouble;
}

}  // namespace carillon::sim
