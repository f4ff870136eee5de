#include "store/redis/redis_store.hpp"

#include <chrono>
#include <exception>
#include <new>
#include <type_traits>
#include <utility>

#include "env/process_forks.hpp"
#include "store/entry_codec.hpp"
#include "store/redis/redis_clearing.hpp"
#include "store/redis/redis_cluster.hpp"
#include "store/redis/redis_gateways.hpp"
#include "store/redis/redis_keys.hpp"
#include "store/redis/redis_layout.hpp"
#include "store/redis/redis_log.hpp"
#include "store/redis/redis_machine.hpp"
#include "store/redis/redis_members.hpp"
#include "store/redis/redis_presence.hpp"
#include "store/redis/redis_settings.hpp"
#include "store/redis/redis_unfinished_copy.hpp"

namespace carillon {

namespace {
/// A name for this process among the gateways.
std::string letters_of(std::uint64_t bits) { return std::string(Epoch::from_bits(bits).text()); }

/// Answers a call that is not carried out.
template <typename First, typename... Others>
void refuse(const std::function<void(First, Others...)>& done, StoreError error) {
  if constexpr (std::is_same_v<First, StoreError>) {
    done(error, Others{}...);
  } else {
    done(std::remove_cvref_t<First>{.error = error});
  }
}
}  // namespace

class RedisStore::GuardedListener final : public StoreListener, public GatewayListener {
 public:
  explicit GuardedListener(RedisStore& store) : store_(store) {}
  void on_announced(const Announcement& announcement) override {
    store_.guard([&] { store_.listener_->on_announced(announcement); });
  }
  void on_doubt() override {
    store_.guard([&] { store_.listener_->on_doubt(); });
  }
  void on_history_removed(std::string_view channel, Epoch epoch, Offset up_to) override {
    store_.guard([&] { store_.listener_->on_history_removed(channel, epoch, up_to); });
  }
  void on_walk_finished(std::size_t entered) override {
    store_.guard([&] { store_.listener_->on_walk_finished(entered); });
  }
  void on_told(std::string_view from_gateway, std::string_view message) override {
    store_.guard([&] { store_.gateway_listener_->on_told(from_gateway, message); });
  }

 private:
  RedisStore& store_;
};

/// What lives on the thread, with the thread. A turn follows every batch of events.
class RedisStore::Parts final : private RedisLinkEvents, private RedisMachineListener {
 public:
  explicit Parts(RedisStore& owner)
      : keys(owner.options_.prefix),
        store_(owner),
        carrier_(make_carrier()),
        machine(*carrier_),
        log(owner.options_, keys, owner.gateway_, machine, owner.clock_),
        gateways(owner.options_, keys, owner.gateway_, machine, owner.clock_, owner.random_),
        presence(owner.options_, keys, machine, gateways, owner.clock_, owner.random_),
        members(owner.options_, keys, machine, log, gateways, owner.clock_),
        listener_(owner),
        clearing_(keys, machine, gateways, presence, members),
        thread_(owner.make_thread_([&owner](std::string_view what) { owner.note_mistake(what); })) {
    if (owner.listener_ != nullptr) {
      log.set_listener(&listener_);
      members.set_listener(&listener_);
    }
    if (owner.gateway_listener_ != nullptr) log.told().set_listener(&listener_);
    log.set_node(owner.node_);
    machine.set_listener(this);
    gateways.set_on_beat([this](bool is_renamed) {
      presence.on_beat(is_renamed);
      members.on_beat(is_renamed);
      clearing_.on_beat();
    });
    thread_->run([this] {
      if (server_ != nullptr) {
        link_ = thread_->link(store_.options_.endpoint, store_.random_, *this);
        server_->set_link(link_.get());
      }
      is_running_ = true;
      tick();
    });
  }
  ~Parts() override { stop(); }

  /// Nothing runs on the thread any more.
  void stop() {
    if (std::exchange(is_stopped_, true)) return;
    thread_->run([this] {
      log.close();
      machine.close();
      presence.close();
      link_.reset();
      is_running_ = false;
    });
  }
  /// Any thread, also while what is posted to the store waits.
  void call(RedisCall call) {
    const auto shared = std::make_shared<RedisCall>(std::move(call));
    thread_->post([this, shared] {
      machine.call(std::move(*shared));
      wake();
    });
  }
  /// Another thread waits for what this one does.
  bool wait(std::unique_lock<std::mutex>& lock, Millis limit_ms, const std::function<bool()>& is_met) {
    return wait_until(lock, thread_->now() + std::chrono::milliseconds(limit_ms), is_met);
  }
  bool wait_until(std::unique_lock<std::mutex>& lock, Time until, const std::function<bool()>& is_met) {
    return thread_->wait(lock, store_.changed_, until, is_met);
  }
  /// Any thread: on_turn() follows.
  void wake() {
    if (!is_turn_due_.exchange(true)) thread_->post([this] { turn(); });
  }

  void flush() {
    log.flush();
    presence.flush();
    machine.flush();
  }
  [[nodiscard]] bool is_idle() const { return log.is_idle() && presence.is_idle() && machine.waiting() == 0; }
  /// Nothing of this gateway shall be there any more.
  void leave() {
    gateways.leave();
    presence.leave();
    members.leave();
  }

  const RedisKeys keys;

 private:
  RedisStore& store_;
  RedisMachine* server_ = nullptr;  // null: a cluster, which has its own links
  const std::unique_ptr<RedisCarrier> carrier_;

 public:
  RedisCarrier& machine;
  RedisLog log;
  RedisGateways gateways;
  RedisPresence presence;
  RedisMembers members;

 private:
  static constexpr Millis kTickMs = 100;

  [[nodiscard]] std::unique_ptr<RedisCarrier> make_carrier() {
    const RedisEndpoint& endpoint = store_.options_.endpoint;
    if (endpoint.cluster_nodes.empty()) {
      auto server = std::make_unique<RedisMachine>(store_.options_, store_.clock_, store_.random_);
      server_ = server.get();
      return server;
    }
    const auto make_link = [this](const RedisAddress& node, RedisLinkEvents& events) {
      RedisEndpoint there = store_.options_.endpoint;
      there.server = node;
      return thread_->link(there, store_.random_, events);
    };
    return std::make_unique<RedisCluster>(store_.options_, store_.clock_, store_.random_, make_link,
                                          [this] { wake(); });
  }
  void turn() {
    is_turn_due_ = false;
    if (is_running_) store_.on_turn(*this);
  }
  void tick() {
    thread_->after(kTickMs, [this] {
      if (is_running_) tick();
    });
    log.tick();
    machine.tick();
    gateways.tick();
    presence.tick();
    wake();
  }
  void on_link_up() override {
    server_->on_link_up();
    wake();
  }
  void on_reply(RedisReply&& reply) override {
    server_->on_reply(std::move(reply));
    wake();
  }
  void on_push(RedisReply&& push) override {
    server_->on_push(std::move(push));
    wake();
  }
  void on_link_down(const std::string& reason) override {
    server_->on_link_down(reason);
    wake();
  }
  void on_ready() override {
    log.machine_listener().on_ready();
    // What was under way over the lost link may still arrive, behind what is sent now: under the old name.
    if (presence.take_doubt()) gateways.rename();
    gateways.on_ready();  // ahead of its presence: others have to know whose it is
    presence.on_ready();
  }
  void on_new_primary() override {
    log.machine_listener().on_new_primary();
    // A failover may restore entries of clients that have left. They have the old name, so others remove
    // them.
    gateways.rename();
    members.on_new_primary();
    if (!machine.is_ready()) return;  // on_ready() follows
    gateways.on_ready();
    presence.on_new_primary();
  }
  void on_doubt() override { log.machine_listener().on_doubt(); }
  void on_message(std::string_view channel, std::string_view message) override {
    log.machine_listener().on_message(channel, message);
  }

  GuardedListener listener_;
  RedisClearing clearing_;
  std::unique_ptr<RedisLink> link_;  // of server_; null before and after
  bool is_running_ = false;
  std::atomic<bool> is_turn_due_{false};
  bool is_stopped_ = false;
  const std::unique_ptr<RedisThread> thread_;  // ends first
};

/// What is posted waits for this object's end.
class RedisStore::Held final : public HeldStore {
 public:
  explicit Held(RedisStore& store) : store_(store) {}
  ~Held() override {
    if (!is_given_away_) store_.begin();
  }
  [[nodiscard]] StoreState save() const override {
    StoreState state;
    state.url = store_.options_.url;
    // The other process is another gateway, and makes them its own.
    store_.parts_->presence.own().visit([&state](const std::string& channel, const PresenceMember& member) {
      state.presence.push_back({channel, member});
    });
    return state;
  }
  void give_away() noexcept override {
    is_given_away_ = true;
    store_.close(true);
  }

 private:
  RedisStore& store_;
  bool is_given_away_ = false;
};

RedisStore::RedisStore(const RedisOptions& options, const Clock& clock, RandomSource& random,
                       MakeRedisThread make_thread)
    : options_(options),
      clock_(clock),
      random_(random),
      make_thread_(std::move(make_thread)),
      forks_(forks_of_process()),
      gateway_(letters_of(random.next())) {}

RedisStore::~RedisStore() {
  if (forks_ != forks_of_process()) {
    // Its thread is not here, and its connection is the parent's.
    static_cast<void>(parts_.release());
    return;
  }
  close();
}

bool RedisStore::is_out_of_use() const { return forks_ != forks_of_process(); }

// ---- life

void RedisStore::open() {
  start();
  begin();
}

void RedisStore::restore(const StoreState& state, Descriptor descriptor) {
  static_cast<void>(descriptor);
  if (state.url != options_.url)
    throw StoreRefused("store.url: the running server has its logs in " + state.url +
                       ", and this one would in " + options_.url +
                       "; give the same store, or let the clients leave (SIGTERM) and start anew");
  start();
  for (const StoreState::Member& saved : state.presence) add_presence(saved.channel, saved.member);
}

void RedisStore::start() {
  watch_forks();
  {
    const std::lock_guard lock(mutex_);
    is_closed_ = false;
    is_held_ = true;
  }
  parts_ = std::make_unique<Parts>(*this);
  std::string trouble;
  {
    // The first try has to succeed: later ones are made as long as it takes.
    std::unique_lock lock(mutex_);
    const Millis limit_ms = options_.endpoint.connect_timeout_ms + options_.endpoint.command_timeout_ms;
    parts_->wait(lock, limit_ms, [this] { return is_ready_ || !trouble_.empty(); });
    if (!is_ready_) trouble = trouble_.empty() ? "redis does not answer" : trouble_;
  }
  if (trouble.empty()) trouble = trouble_of_first_answers();
  if (trouble.empty()) return;
  close();
  throw StoreRefused("the store " + options_.url + " cannot be used: " + trouble);
}

std::string RedisStore::trouble_of_first_answers() {
  struct Answers {
    std::atomic<int> missing{3};
    std::mutex mutex;
    std::string refusal;
    std::string unfit;  // what is in it, is not for this gateway
  };
  const auto answers = std::make_shared<Answers>();
  RedisCall of_keys;
  of_keys.words = RedisCommand{"EXISTS", parts_->keys.copying()};
  // A channel of ours whose name no channel has: nobody hears it.
  RedisCall of_channels;
  const bool is_cluster = !options_.endpoint.cluster_nodes.empty();
  of_channels.words = RedisCommand{is_cluster ? "SPUBLISH" : "PUBLISH", parts_->keys.announcements(""), ""};
  RedisCall of_layout;
  of_layout.words = RedisCommand{"GET", parts_->keys.layout()};
  for (RedisCall* call : {&of_layout, &of_keys, &of_channels}) {
    call->done = [this, answers, is_copy = call == &of_keys, is_layout = call == &of_layout,
                  &machine = parts_->machine](StoreError error, const RedisReply& reply) {
      if (error == StoreError::unavailable && machine.is_ready()) {
        const std::lock_guard lock(answers->mutex);
        if (answers->refusal.empty()) answers->refusal = machine.trouble();
      }
      if (error == StoreError::none) {
        std::string unfit = is_layout                        ? redis_layout_trouble(options_, reply)
                            : is_copy && reply.number() == 1 ? redis_unfinished_copy(options_)
                                                             : std::string();
        const std::lock_guard lock(answers->mutex);
        if (answers->unfit.empty()) answers->unfit = std::move(unfit);
      }
      --answers->missing;
    };
    parts_->call(std::move(*call));
  }
  std::unique_lock lock(mutex_);
  const auto is_lost = [this] { return !is_ready_ && !trouble_.empty(); };
  parts_->wait(lock, options_.endpoint.command_timeout_ms,
               [&] { return answers->missing == 0 || is_lost(); });
  const std::lock_guard answers_lock(answers->mutex);
  if (!answers->unfit.empty()) return answers->unfit;
  return is_lost() ? trouble_ : answers->refusal;
}

void RedisStore::look_at_settings() {
  if (!options_.endpoint.cluster_nodes.empty()) return;  // each node has its own: `carillon doctor` looks
  const auto settings = std::make_shared<RedisSettings>();
  const auto ask = [this, settings](RedisCommand words, void (RedisSettings::*take)(const RedisReply&)) {
    RedisCall call;
    call.words = std::move(words);
    call.may_be_refused = true;
    call.done = [this, settings, take](StoreError error, const RedisReply& reply) {
      if (error == StoreError::none) ((*settings).*take)(reply);
      const std::lock_guard lock(mutex_);
      warnings_ = settings->warnings(options_.loss);
    };
    parts_->call(std::move(call));
  };
  // Only who has promised something is asked for more than its user needs: a refusal is in Redis' ACL LOG.
  if (options_.loss == RedisLoss::never) ask(RedisSettings::question(), &RedisSettings::take_settings);
  ask(RedisCommand{"INFO"}, &RedisSettings::take_info);
}

void RedisStore::begin() {
  {
    const std::lock_guard lock(mutex_);
    is_held_ = false;
  }
  parts_->wake();
  look_at_settings();
}

std::unique_ptr<HeldStore> RedisStore::hold_still(Time until) {
  if (is_out_of_use()) throw StoreRefused("the store is closed");
  std::unique_lock lock(mutex_);
  if (is_closed_) throw StoreRefused("the store is closed");
  const bool is_still =
      parts_->wait_until(lock, until, [this] { return is_idle_ && is_ready_ && posted_.empty(); });
  if (!is_still)
    throw StoreRefused("redis does not answer what is under way" +
                       (trouble_.empty() ? std::string() : ": " + trouble_));
  is_held_ = true;
  return std::make_unique<Held>(*this);
}

void RedisStore::close(bool is_given_away) {
  static constexpr Millis kLastAnswersMs = 1'000;
  if (is_out_of_use() || !parts_) return;
  // What is not removed in time is what others clear up.
  if (!is_given_away) static_cast<void>(post([](Parts& parts) { parts.leave(); }));
  {
    std::unique_lock lock(mutex_);
    if (std::exchange(is_closed_, true)) return;
    is_held_ = false;
    parts_->wake();
    // What was accepted is carried out, unless Redis is away.
    parts_->wait(lock, kLastAnswersMs, [this] { return is_idle_ || !is_ready_; });
  }
  parts_->stop();
}

void RedisStore::set_limits(const StoreLimits& limits) { static_cast<void>(limits); }

StoreFigures RedisStore::figures() const {
  StoreFigures figures;
  const std::lock_guard lock(mutex_);
  figures.trouble = is_closed_ ? "the store is closed" : trouble_;
  figures.new_epochs = new_epochs_;
  figures.warnings = warnings_;
  figures.mistakes = mistakes_;
  figures.last_mistake = last_mistake_;
  return figures;
}

bool RedisStore::post(std::function<void(Parts&)> what) {
  if (is_out_of_use()) return false;
  {
    const std::lock_guard lock(mutex_);
    if (is_closed_) return false;
    is_idle_ = false;
    posted_.push_back(std::move(what));
    if (posted_.size() > 1) return true;
  }
  parts_->wake();
  return true;
}

void RedisStore::on_turn(Parts& parts) {
  std::vector<std::function<void(Parts&)>> posted;
  {
    const std::lock_guard lock(mutex_);
    if (!is_held_) posted.swap(posted_);
  }
  for (const auto& each : posted) guard([&] { each(parts); });
  parts.flush();
  const std::lock_guard lock(mutex_);
  is_ready_ = parts.machine.is_ready();
  is_idle_ = posted_.empty() && parts.is_idle();
  if (gateways_looks_ != parts.gateways.looks()) {
    gateways_looks_ = parts.gateways.looks();
    gateways_ = parts.gateways.records();
    gateways_ms_ = clock_.now_ms();
  }
  // In this order: a pause between the two makes deadlines seem over, and never lets one pass.
  time_ms_ = clock_.now_ms();
  time_ = parts.gateways.time();
  new_epochs_ = parts.log.new_epochs();
  if (trouble_ != parts.machine.trouble()) trouble_ = parts.machine.trouble();
  changed_.notify_all();
}

// ---- calls

bool RedisStore::take_room(Room& room, std::size_t count_max, std::size_t bytes) {
  // Both in any case: what is refused gives both back.
  const std::size_t before = room.count.fetch_add(1);
  const std::size_t all_bytes = room.bytes.fetch_add(bytes) + bytes;
  if (before < count_max && (bytes == 0 || all_bytes <= options_.waiting_bytes)) return true;
  give_room_back(room, bytes);
  return false;
}

void RedisStore::give_room_back(Room& room, std::size_t bytes) {
  room.count.fetch_sub(1);
  room.bytes.fetch_sub(bytes);
}

template <typename Task>
void RedisStore::guard(Task&& task) noexcept {
  try {
    std::forward<Task>(task)();
  } catch (const std::exception& mistake) {
    note_mistake(mistake.what());
  }
}

void RedisStore::note_mistake(std::string_view what) noexcept {
  const std::lock_guard lock(mutex_);
  ++mistakes_;
  try {
    last_mistake_ = what;
  } catch (const std::bad_alloc&) {
    last_mistake_.clear();  // it is counted
  }
}

template <typename Call, typename... Answer>
void RedisStore::ask(std::function<void(Answer...)> done, std::size_t bytes, Call call) {
  if (!take_room(calls_, options_.waiting_calls, bytes)) return refuse(done, StoreError::overloaded);
  const std::function<void(Answer...)> answer = [this, bytes, done](Answer... result) {
    give_room_back(calls_, bytes);
    guard([&] { done(result...); });
  };
  if (post([call = std::move(call), answer](Parts& parts) { call(parts, answer); })) return;
  give_room_back(calls_, bytes);
  refuse(done, StoreError::closed);
}

// ---- the log

void RedisStore::append(std::string_view channel, std::shared_ptr<Entry> entry, const AppendOptions& options,
                        std::function<void(const AppendResult&)> done) {
  RedisAppend append;
  append.cost_bytes = entry->cost_bytes();
  const std::size_t bytes = append.cost_bytes;
  if (!take_room(appends_, options_.waiting_appends, bytes)) return done({.error = StoreError::overloaded});
  append.channel = channel;
  encode_entry(*entry, append.bytes);
  append.is_ephemeral = options.is_ephemeral;
  append.idempotency_key = options.idempotency_key;
  append.expected_offset = options.expected_offset;
  append.version = options.version.number;
  append.version_epoch = options.version.epoch;
  append.retention = options.retention;
  append.mode = options.mode;
  append.done = [this, bytes, done](const AppendResult& result) {
    give_room_back(appends_, bytes);
    guard([&] { done(result); });
  };
  const bool is_posted =
      post([append = std::move(append)](Parts& parts) mutable { parts.log.append(std::move(append)); });
  if (is_posted) return;
  give_room_back(appends_, bytes);
  done({.error = StoreError::closed});
}

void RedisStore::follow(std::string_view channel, std::function<void(const TopResult&)> done) {
  ask(std::move(done), 0,
      [name = std::string(channel)](Parts& parts, const auto& answer) { parts.log.follow(name, answer); });
}

void RedisStore::unfollow(std::string_view channel) {
  // As often as there were answers to follow(): it has no room of its own.
  static_cast<void>(post([name = std::string(channel)](Parts& parts) { parts.log.unfollow(name); }));
}

void RedisStore::top(std::string_view channel, std::function<void(const TopResult&)> done) {
  ask(std::move(done), 0,
      [name = std::string(channel)](Parts& parts, const auto& answer) { parts.log.top(name, answer); });
}

void RedisStore::read(std::string_view channel, const ReadRange& range,
                      std::function<void(const Page&)> done) {
  ask(std::move(done), 0, [name = std::string(channel), range](Parts& parts, const auto& answer) {
    parts.log.read(name, range, answer);
  });
}

void RedisStore::remove_history(std::string_view channel, std::function<void(StoreError)> done) {
  ask(std::move(done), 0, [name = std::string(channel)](Parts& parts, const auto& answer) {
    parts.log.remove_history(name, answer);
  });
}

std::string RedisStore::gateway() const { return gateway_; }

void RedisStore::tell(std::string_view to_gateway, std::string_view message,
                      std::function<void(StoreError, std::size_t)> done) {
  ask(std::move(done), message.size(),
      [to = std::string(to_gateway), text = std::string(message)](Parts& parts, const auto& answer) {
        parts.log.told().tell(to, text, answer);
      });
}

std::optional<SharedTime> RedisStore::shared_time() const {
  const std::lock_guard lock(mutex_);
  if (!time_) return std::nullopt;
  const Millis since = clock_.now_ms() - time_ms_;
  return SharedTime{time_->earliest_ms + since, time_->latest_ms + since};
}

void RedisStore::order(std::string_view message, std::function<void(StoreError, std::size_t)> done) {
  ask(std::move(done), message.size(), [text = std::string(message)](Parts& parts, const auto& answer) {
    parts.log.told().order(text, answer);
  });
}

std::vector<GatewayRecord> RedisStore::gateways() const {
  const std::lock_guard lock(mutex_);
  std::vector<GatewayRecord> records = gateways_;
  for (GatewayRecord& each : records) each.heartbeat_age_ms += clock_.now_ms() - gateways_ms_;
  return records;
}

// ---- presence, members, inboxes

// Changes of presence have no answer, and need no room: connections make them, and these are held still with
// the store.

void RedisStore::add_presence(std::string_view channel, const PresenceMember& member) {
  static_cast<void>(
      post([name = std::string(channel), member](Parts& parts) { parts.presence.add(name, member); }));
}

void RedisStore::remove_presence(std::string_view channel, std::string_view client) {
  static_cast<void>(post([name = std::string(channel), id = std::string(client)](Parts& parts) {
    parts.presence.remove(name, id);
  }));
}

void RedisStore::presence(std::string_view channel, const PresencePage& page,
                          std::function<void(const PresenceResult&)> done) {
  ask(std::move(done), 0,
      [name = std::string(channel), after = std::string(page.after), bytes_max = page.bytes_max](
          Parts& parts, const auto& answer) { parts.presence.page(name, after, bytes_max, answer); });
}

void RedisStore::presence_counts(std::string_view channel, std::function<void(const PresenceCounts&)> done) {
  ask(std::move(done), 0, [name = std::string(channel)](Parts& parts, const auto& answer) {
    parts.presence.counts(name, answer);
  });
}

void RedisStore::add_members(std::string_view channel, std::span<const std::string> users,
                             std::function<void(const MembersResult&)> done) {
  change_members(channel, users, true, std::move(done));
}

void RedisStore::remove_members(std::string_view channel, std::span<const std::string> users,
                                std::function<void(const MembersResult&)> done) {
  change_members(channel, users, false, std::move(done));
}

void RedisStore::change_members(std::string_view channel, std::span<const std::string> users, bool is_adding,
                                std::function<void(const MembersResult&)> done) {
  std::size_t bytes = 0;
  for (const std::string& user : users) bytes += user.size();
  ask(std::move(done), bytes,
      [name = std::string(channel), is_adding, all = std::vector<std::string>(users.begin(), users.end())](
          Parts& parts, const auto& answer) { parts.members.change(name, all, is_adding, answer); });
}

void RedisStore::members(std::string_view channel, std::string_view after, std::size_t limit,
                         std::function<void(const MembersResult&)> done) {
  ask(std::move(done), 0,
      [name = std::string(channel), behind = std::string(after), limit](Parts& parts, const auto& answer) {
        parts.members.list(name, behind, limit, answer);
      });
}

void RedisStore::enter(std::string_view channel, std::size_t members_max,
                       std::function<void(const EnterResult&)> done) {
  ask(std::move(done), 0, [name = std::string(channel), members_max](Parts& parts, const auto& answer) {
    parts.members.enter(name, members_max, answer);
  });
}

void RedisStore::unread(std::string_view user, std::string_view channel,
                        std::function<void(const UnreadResult&)> done) {
  ask(std::move(done), 0,
      [who = std::string(user), name = std::string(channel)](Parts& parts, const auto& answer) {
        parts.members.unread(who, name, answer);
      });
}

void RedisStore::inbox(std::string_view user, std::size_t limit,
                       std::function<void(const InboxResult&)> done) {
  ask(std::move(done), 0, [who = std::string(user), limit](Parts& parts, const auto& answer) {
    parts.members.inbox(who, limit, answer);
  });
}

void RedisStore::mark_read(std::string_view user, std::string_view channel, Offset offset,
                           std::function<void(StoreError)> done) {
  ask(std::move(done), 0,
      [who = std::string(user), name = std::string(channel), offset](Parts& parts, const auto& answer) {
        parts.members.mark_read(who, name, offset, answer);
      });
}

}  // namespace carillon
