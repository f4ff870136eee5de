#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "env/clock.hpp"
#include "env/random.hpp"
#include "hub/hub.hpp"
#include "server/api.hpp"
#include "server/config.hpp"
#include "server/connections.hpp"
#include "server/event_log.hpp"
#include "server/hook_access.hpp"
#include "server/memory_trim.hpp"
#include "server/new_epochs_report.hpp"
#include "server/objectives.hpp"
#include "server/reader.hpp"
#include "server/store_trouble_report.hpp"
#include "store/measured_store.hpp"
#include "store/owned_store.hpp"

namespace carillon {

struct TakeoverReport;
class ReloadQueue;

/// A payload is longer than limits.publication_bytes.
class PayloadTooLarge : public std::length_error {
 public:
  using std::length_error::length_error;
};
/// The server has been stopped, and its log with it.
class ServerStopped : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
/// The store could not take or give what was asked.
class StoreFailure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
/// A position belongs to another epoch than the channel has now.
class PositionError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

/// Throws std::invalid_argument, which names `field`, unless `text` is JSON within the limit of its depth.
void check_json_of(std::string_view field, std::string_view text);

/// A whole server: store, hub, gateway, API. Thread-safe after construction; start and stop once.
class Server {
 public:
  /// Throws ConfigError (see parse_config).
  Server(ServerConfig config, std::map<std::string, StaticPage> pages, std::string version);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Throws std::system_error if the address is not available, StoreFailure if the store cannot be opened.
  void start();
  /// In place of start(): takes over the listening socket, the connections and the logs of the running
  /// server, which then ends. Throws HandoverError, std::system_error: the running server goes on, and this
  /// one cannot be used.
  TakeoverReport take_over();
  /// Lets another process of this user take over. Once, after start() or take_over(). Throws HandoverError.
  void offer_takeover();
  /// Locked by a takeover or a reload while all threads are held. Callers on threads of their own take a
  /// shared lock before they call what is marked so, the hub, or the limits: a takeover lets them wait, and a
  /// reload changes what they read.
  [[nodiscard]] std::shared_mutex& gate();
  /// Another process has taken over. Clients that were left here are to be drained; then only stop() remains.
  [[nodiscard]] std::optional<TakeoverReport> given_away() const;
  /// Idempotent. Readers get their last item, connections are closed. stats() and ledger() stay readable.
  void stop();
  /// Asks every client to disconnect, each at a random moment within `pace_ms` (nothing: as configured). The
  /// result says whether all have disconnected within `deadline_ms`. A drain that is under way, or that the
  /// API has begun, is joined instead. Returns at once.
  std::shared_future<bool> begin_drain(Millis deadline_ms, std::optional<Millis> pace_ms);
  /// The same, and waits for the result.
  bool drain(Millis deadline_ms, std::optional<Millis> pace_ms) {
    return begin_drain(deadline_ms, pace_ms).get();
  }
  /// A drain of the whole server has begun.
  [[nodiscard]] bool is_draining() const;

  /// Listens at one more address: its number. Throws std::system_error, ServerStopped.
  std::size_t listen(const std::string& host, std::uint16_t port);
  /// The same for one listener, which is then closed; the other listeners go on. Throws std::out_of_range if
  /// there is no listener of that number.
  std::shared_future<bool> begin_listener_drain(std::size_t number, Millis deadline_ms,
                                                std::optional<Millis> pace_ms);
  /// Number, host and port of the listeners that are open.
  [[nodiscard]] std::vector<std::tuple<std::size_t, std::string, std::uint16_t>> listeners() const;

  /// Puts another configuration in place of this one, all of it or nothing, between two turns of all shards:
  /// what clients and callers do afterwards follows the new one, and what they hold they keep. Returns the
  /// changes, see to_json. `remote_keys`: what jwks_public_endpoint has answered, by table ("token",
  /// "subscription_token"), where it is another one now. Throws ConfigError, ReloadRefused, ServerStopped.
  /// Not from a shard's thread, and without the gate.
  std::string reload(ServerConfig config, const std::map<std::string, std::string>& remote_keys = {});
  /// Answers a reload that the HTTP API has asked for: see ReloadRequests. False: nobody waits for it.
  bool answer_reload(std::uint64_t request, std::string_view changes_json);
  bool refuse_reload(std::uint64_t request, int status, const std::vector<std::string>& reasons);

  /// False also after a thread has died. Then only stop() remains.
  [[nodiscard]] bool is_running() const;
  /// Why a thread has died, or empty. Readable after stop().
  [[nodiscard]] std::string failure() const;
  [[nodiscard]] std::uint16_t port() const;
  [[nodiscard]] Hub& hub() { return *hub_; }
  /// Not while a reload runs: on a shard's thread, or with the gate.
  [[nodiscard]] const ServerConfig& config() const { return config_; }

  // The next ones, readers, resolve() and keys of tokens: with the gate.

  /// Throws std::invalid_argument if this is not the name of a channel.
  void check_channel(std::string_view channel) const;
  /// Throws std::invalid_argument (name of the channel, data that is not valid JSON) or PayloadTooLarge if
  /// the publication is not valid.
  void check(std::string_view channel, const Publication& publication) const;
  /// Publishes without these checks. Throws ServerStopped.
  void publish_checked(std::string_view channel, Publication publication, const PublishOptions& options,
                       Hub::PublishDone done);
  /// Checks, then publishes.
  void publish(std::string_view channel, Publication publication, const PublishOptions& options,
               Hub::PublishDone done);

  /// Opens a subscription without a socket; its items go to `queue` under `subscription`, a number of the
  /// caller's.
  void open_reader(const std::shared_ptr<ReaderQueue>& queue, std::uint64_t subscription, std::string channel,
                   const std::optional<Since>& since);
  void close_reader(const ReaderQueue* queue, std::uint64_t subscription);

  // The next seven ask the shards; not to be called on a shard's thread. A shard whose thread has died has no
  // clients any more. It is missing in the ledger, which says so.

  /// Ids of the connected clients.
  [[nodiscard]] std::vector<std::string> connections();
  /// False: no such client.
  bool disconnect(const std::string& client, std::uint16_t code, const std::string& reason);
  /// Connections that were closed.
  std::size_t disconnect_user(ClientFilter who, std::uint16_t code, std::string reason);
  /// See Connections. Throws std::invalid_argument.
  Connections::Subscribed subscribe_user(ClientFilter who, SubscriptionGrant grant,
                                         const std::optional<Since>& since);
  /// Connections that had the subscription. Throws std::invalid_argument.
  std::size_t unsubscribe_user(ClientFilter who, std::string channel);
  /// Channels with subscribers whose name matches, in all gateways that share the store.
  std::map<std::string, std::uint64_t> channels(const std::string& pattern);
  /// See FleetStrategies.
  [[nodiscard]] Refusal set_fan_out(std::string_view channel, std::string_view strategy,
                                    std::optional<std::int64_t> threshold);
  /// Drops the client's connection without a close frame. False: no such client.
  bool cut(const std::string& client);
  /// JSON; see the Python documentation of `Server.ledger`.
  [[nodiscard]] std::string ledger(const std::string& channel = {}, const std::string& client = {});
  /// Does every thread of the gateway answer within `timeout_ms`? False as well: the server does not run.
  [[nodiscard]] bool answers(Millis timeout_ms);

  /// Sets the queues of log lines, of questions to hooks and of requests for a reload. Before start().
  void set_events(std::shared_ptr<LogQueue> log, std::shared_ptr<HookQueue> hooks,
                  std::shared_ptr<ReloadQueue> reloads = nullptr);
  /// From now on the application decides on `operation` for channels, or methods, that match. Before start().
  void set_hook(Operation operation, std::vector<std::string> patterns, Millis deadline_ms);
  /// The application's answer. False: too late.
  bool resolve(std::uint64_t question, Verdict verdict);

  /// Keys of `jwks_public_endpoint`, for tokens of connections or of subscriptions. Throws KeyError: they
  /// cannot be read, and the earlier ones stay.
  void set_token_keys(bool is_of_subscriptions, std::string_view jwks);
  /// Has their endpoint given none yet, to this process or to the one before it?
  [[nodiscard]] bool awaits_token_keys(bool is_of_subscriptions) const;
  /// Number of tokens that named a key which is not there, since the start.
  [[nodiscard]] std::uint64_t unknown_token_keys() const;

  /// JSON; see the Python documentation of `Server.stats`. Any thread.
  [[nodiscard]] std::string stats();
  /// The page of metrics in the text format of Prometheus (docs/metrics.md). Any thread, also after stop().
  [[nodiscard]] std::string metrics();

 private:
  struct Network;  // gateway and what it shares: keeps sockets out of this header
  using ReaderKey = std::pair<const ReaderQueue*, std::uint64_t>;

  /// Asks the shards, and waits for their answer.
  template <typename Result, typename Act>
  Result act_on_connections(Act act) {
    auto promise = std::make_shared<std::promise<Result>>();
    std::future<Result> future = promise->get_future();
    const std::lock_guard lifecycle(lifecycle_mutex_);  // not while stop() takes the shards away
    if (!is_running_) return Result{};
    act([promise](const Result& result) { promise->set_value(result); });
    return future.get();
  }
  [[nodiscard]] Objectives::Counts objective_counts() const;
  /// Number of connections that are asked; nothing: no listener at that port.
  std::optional<std::size_t> drain_for_api(const DrainRequest& request);
  /// Default pace of a drain that asks this number of connections.
  [[nodiscard]] Millis pace_for(std::size_t connections, Millis deadline_ms) const;
  struct Reload;
  void put_in_place(Reload& next) noexcept;
  void run_house();
  void keep_house();
  void count_descriptors();
  /// `late_ms`: delay with which a thread that only waits woke up.
  void tell_standstill(Millis late_ms);
  /// Where the channels are kept.
  void tell_start() const;
  /// That resumes from before this run fail.
  void tell_new_epochs();
  /// Whether the store takes publications, where that has changed; and what else is new of it.
  void tell_store();
  void tell_store_trouble(const std::string& trouble);
  void close_readers_on(const Shard& shard);
  void close_all_readers();

  ServerConfig config_;  // a reload writes it while everything is held and the gate is locked
  const std::string version_;
  SystemClock clock_;
  SystemRandom random_;
  std::unique_ptr<OwnedStore> store_;
  const std::unique_ptr<MeasuredStore> measured_store_;  // the hub's way to the store; null: it needs none
  std::unique_ptr<Hub> hub_;
  std::unique_ptr<Network> network_;
  const Millis started_ms_;
  std::mutex readers_mutex_;
  std::map<ReaderKey, std::shared_ptr<Reader>> readers_;
  std::size_t next_shard_ = 0;
  std::mutex house_mutex_;
  std::condition_variable house_wake_;
  bool is_house_closed_ = false;
  std::thread house_;
  MemoryTrim memory_trim_;
  Objectives objectives_;
  std::atomic<std::uint64_t> descriptors_{0};  // open, as the upkeep has counted them
  Millis descriptors_counted_ms_ = 0;          // of the house's thread
  // What was told of the store; of the house's thread.
  StoreTroubleReport store_trouble_;
  NewEpochsReport new_epochs_;
  std::size_t store_warnings_ = 0;
  std::uint64_t store_mistakes_ = 0;
  Millis store_mistakes_due_ms_ = 0;  // when the next ones may be logged
  std::mutex reload_mutex_;
  std::atomic<Millis> shutdown_pace_ms_;  // of config_, for threads that may not wait for the gate
  std::mutex lifecycle_mutex_;
  std::mutex api_drain_mutex_;
  std::shared_future<bool> api_drain_;  // of the whole server, if the API has begun one; guarded by the mutex
  std::atomic<bool> is_running_{false};
  std::atomic<bool> has_stopped_{false};
};

}  // namespace carillon
