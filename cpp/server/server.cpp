#include "server/server.hpp"

#include <algorithm>
#include <chrono>
#include <future>
#include <nlohmann/json.hpp>
#include <set>
#include <shared_mutex>
#include <thread>
#include <utility>

#include "gateway/beast_http.hpp"
#include "gateway/gateway.hpp"
#include "gateway/thread_name.hpp"
#include "protocol/json_span.hpp"
#include "protocol/utf8.hpp"
#include "proxy/proxy_access.hpp"
#include "requests/checks.hpp"
#include "server/config_options.hpp"
#include "server/ledger_document.hpp"
#include "server/live_connections.hpp"
#include "server/reload.hpp"
#include "server/takeover.hpp"
#include "session/access.hpp"
#include "session/origin.hpp"
#include "token/token_access.hpp"

namespace carillon {

using nlohmann::json;

namespace {

constexpr auto kHouseInterval = std::chrono::milliseconds(250);
constexpr Millis kStandstillMs = 500;

std::size_t threads_of(const ServerConfig& config) {
  if (config.threads > 0) return static_cast<std::size_t>(config.threads);
  return std::clamp<std::size_t>(std::thread::hardware_concurrency(), 1, 4);
}

FlushChoice flush_of(const ServerConfig& config) {
  if (config.flush == "io_uring") return FlushChoice::io_uring;
  return config.flush == "send" ? FlushChoice::send : FlushChoice::automatic;
}

MemoryStoreLimits store_limits(const Limits& limits) {
  return {
      static_cast<std::size_t>(limits.dormant_channels), limits.channel_lifetime_ms,
      static_cast<std::size_t>(limits.idempotency_keys), limits.idempotency_window_ms,
      static_cast<std::size_t>(limits.inbox_entries),    static_cast<std::size_t>(limits.inbox_bytes_total)};
}

std::unique_ptr<TokenVerifier> make_verifier(const ServerConfig& config, const TokenOptions& options) {
  if (!options.has_keys()) return nullptr;
  return std::make_unique<TokenVerifier>(options, config.token_leeway_ms,
                                         static_cast<std::size_t>(config.limits.token_bytes));
}

TokenAccess::Options token_access_of(const ServerConfig& config) {
  return {.allows_anonymous = config.allows_anonymous_connect || config.insecure,
          .refuses_anonymous = config.refuses_anonymous_tokens,
          .ignores_expiry = config.insecure};
}

PersonalChannel personal_channel_of(const ServerConfig& config) {
  return {config.has_personal_channel, config.personal_channel_namespace, config.has_single_connection};
}

HubLimits hub_limits(const Limits& limits) {
  return {limits.history_bytes_total, static_cast<std::size_t>(limits.early_entries),
          static_cast<std::size_t>(limits.inbox_members_per_turn),
          static_cast<std::size_t>(limits.fanout_overrides)};
}

TransportSet switched_off(const ServerConfig& config) {
  TransportSet off;
  if (!config.has_http_stream) off.add(Transport::http_stream);
  if (!config.has_emulated_sse) off.add(Transport::emulated_sse);
  if (!config.has_uni_websocket) off.add(Transport::uni_websocket);
  if (!config.has_uni_sse) off.add(Transport::uni_sse);
  if (!config.has_uni_http_stream) off.add(Transport::uni_http_stream);
  return off;
}

}  // namespace

/// What a reload puts in place. It is made beforehand: once the threads are held nothing can fail any more.
struct Server::Reload {
  ServerConfig config;
  ConfigDifference difference;
  ChannelRules rules_of_hub;
  ChannelRules rules_of_access;
  OriginPolicy origins;
  PersonalChannel personal_channel;
  std::string token_cookie;
  std::string api_key;
  std::unique_ptr<TokenVerifier> connections;  // those that were there, once it is in place
  std::unique_ptr<TokenVerifier> subscriptions;

  explicit Reload(ServerConfig next, ConfigDifference what_differs)
      : config(std::move(next)),
        difference(std::move(what_differs)),
        rules_of_hub(config.channels),
        rules_of_access(config.channels),
        origins(config.allowed_origins, config.insecure || config.api_insecure),
        personal_channel(personal_channel_of(config)),
        token_cookie(config.token_cookie),
        api_key(config.api_key),
        connections(make_verifier(config, config.token)),
        subscriptions(config.has_subscription_token ? make_verifier(config, config.subscription_token)
                                                    : nullptr) {}
};

struct Server::Network {
  Network(const ServerConfig& config, MemoryStore& store, Hub& hub, const Clock& clock, RandomSource& random,
          const std::string& version, std::map<std::string, StaticPage> pages)
      : rules(config.channels),
        rules_access(rules, config.insecure),
        access(rules_access, clock, config.limits),
        proxy_access({.next = access,
                      .rules = rules,
                      .options = config.proxies,
                      .clock = clock,
                      .limits = config.limits,
                      .allows_anonymous = config.allows_anonymous_connect || config.insecure,
                      .tell =
                          [this](std::string message, std::int64_t count) {
                            log.tell({LogLevel::warning, "proxy", std::move(message), {{"count", count}}});
                          }}),
        token_access(
            proxy_access, clock, token_access_of(config), make_verifier(config, config.token),
            config.has_subscription_token ? make_verifier(config, config.subscription_token) : nullptr),
        origins(config.allowed_origins, config.insecure || config.api_insecure),
        api(hub, config.limits, clock,
            {config.api_key, config.insecure || config.api_insecure, version,
             config.api_error_mode == "transport"},
            std::move(pages)),
        shared{{.hub = hub,
                .access = token_access,
                .origins = origins,
                .handler = api,
                .http = http,
                .random = random,
                .limits = config.limits,
                .heartbeat = config.heartbeat,
                .version = version,
                .log = &log,
                .token_cookie = config.token_cookie,
                .switched_off = switched_off(config),
                .tells_time = config.tells_time,
                .deflate = {.is_offered = config.has_compression,
                            .min_bytes = static_cast<std::size_t>(config.compression_min_bytes),
                            .level = static_cast<int>(config.compression_level)},
                .personal_channel = personal_channel_of(config)},
               &log},
        gateway(shared,
                {config.host, static_cast<std::uint16_t>(config.port), threads_of(config), flush_of(config)}),
        takeover({.store = store,
                  .hub = hub,
                  .gateway = gateway,
                  .gate = gate,
                  .clock = clock,
                  .config = config,
                  .version = version,
                  .tell = [this](OperatorNote note) { log.tell(std::move(note)); }}) {}

  ChannelRules rules;
  RulesAccess rules_access;
  HookAccess access;
  ProxyAccess proxy_access;
  TokenAccess token_access;
  EventLog log;
  ReloadRequests reloads;
  OriginPolicy origins;
  BeastHttp http;
  Api api;
  GatewayShared shared;
  Gateway gateway;
  LiveConnections connections{gateway};
  std::shared_mutex gate;
  Takeover takeover;
};

Server::Server(ServerConfig config, std::map<std::string, StaticPage> pages, std::string version)
    : config_(std::move(config)),
      version_(std::move(version)),
      store_(std::make_unique<MemoryStore>(clock_, random_, store_limits(config_.limits))),
      hub_(std::make_unique<Hub>(clock_, random_, *store_, ChannelRules(config_.channels),
                                 hub_limits(config_.limits))),
      network_(
          std::make_unique<Network>(config_, *store_, *hub_, clock_, random_, version_, std::move(pages))),
      started_ms_(clock_.now_ms()),
      shutdown_pace_ms_(config_.shutdown_pace_ms) {
  network_->shared.on_shard_failed = [this](const Shard& shard) { close_readers_on(shard); };
  network_->shared.companion = [this](boost::asio::io_context& io, std::function<void()> wake) {
    return network_->proxy_access.attach(io, std::move(wake));
  };
  network_->api.set_stats([this] { return stats(); });
  network_->api.set_begin_drain([this](const DrainRequest& request) { return drain_for_api(request); });
  network_->api.set_begin_reload(
      [this](HttpHandler::Respond respond) { network_->reloads.begin(std::move(respond)); });
  network_->api.set_collect_node([this](std::function<void(NodeState)> done) {
    static constexpr std::size_t kUsersPerTurn = 1'024;
    struct Collection {
      std::mutex mutex;
      std::uint64_t clients = 0;
      std::set<std::string> users;
    };
    const std::shared_ptr<Collection> collection(
        new Collection, [this, done = std::move(done)](Collection* made) {  // nobody adds to it any more
          std::shared_ptr<Collection> all(made);
          done({all->clients, all->users.size(), network_->shared.node});
          Shard::in_pieces([all] {  // to forget a million names takes long, too
            std::set<std::string>& users = all->users;
            for (std::size_t left = kUsersPerTurn; left > 0 && !users.empty(); --left)
              users.erase(users.begin());
            return !users.empty();
          });
        });
    network_->connections.for_each([collection](Session& session) {
      const std::lock_guard lock(collection->mutex);
      ++collection->clients;
      collection->users.emplace(session.user());
    });
  });
  network_->api.set_connections(network_->connections);
}

Server::~Server() { stop(); }

void Server::start() {
  const std::lock_guard lifecycle(lifecycle_mutex_);
  if (is_running_ || has_stopped_) return;
  network_->gateway.start();
  run_house();
}

TakeoverReport Server::take_over() {
  const std::lock_guard lifecycle(lifecycle_mutex_);
  const TakeoverReport report = network_->takeover.take();
  run_house();
  return report;
}

void Server::offer_takeover() { network_->takeover.offer(); }
std::shared_mutex& Server::gate() { return network_->gate; }
std::optional<TakeoverReport> Server::given_away() const { return network_->takeover.given_away(); }

void Server::run_house() {
  house_ = std::thread([this] { keep_house(); });
  is_running_ = true;
}

void Server::keep_house() {
  name_this_thread("carillon-house");
  std::unique_lock lock(house_mutex_);
  Millis asleep_ms = clock_.now_ms();
  while (!house_wake_.wait_for(lock, kHouseInterval, [this] { return is_house_closed_; })) {
    lock.unlock();
    try {
      tell_standstill(clock_.now_ms() - asleep_ms - Millis{kHouseInterval.count()});
      {
        const std::shared_lock entered(network_->gate);
        hub_->keep_house();
        network_->access.expire();
        network_->gateway.keep_house(clock_.now_ms());
      }
      memory_trim_.keep_house(clock_.now_ms());
    } catch (const std::exception& error) {
      if (!network_->gateway.has_failed()) network_->gateway.fail("the upkeep", error.what(), 0);
    }
    lock.lock();
    asleep_ms = clock_.now_ms();
  }
}

void Server::tell_standstill(Millis late_ms) {
  if (late_ms < kStandstillMs) return;
  network_->log.tell({LogLevel::warning,
                      "stood_still",
                      "this process did not run for about " + std::to_string(late_ms) +
                          " ms: it was stopped or swapped out, or the machine is overloaded",
                      {{"pause_ms", late_ms}}});
}

void Server::stop() {
  network_->takeover.withdraw();
  const std::lock_guard lifecycle(lifecycle_mutex_);
  if (!is_running_) return;
  close_all_readers();
  {
    const std::lock_guard lock(house_mutex_);
    is_house_closed_ = true;
  }
  house_wake_.notify_all();
  house_.join();
  network_->gateway.stop();
  network_->access.clear();
  network_->reloads.clear();
  hub_->close();  // the accounts are closed: the ledger needs no thread any more
  has_stopped_ = true;
  is_running_ = false;
}

std::shared_future<bool> Server::begin_drain(Millis deadline_ms, std::optional<Millis> pace_ms) {
  {
    const std::lock_guard lock(api_drain_mutex_);
    if (api_drain_.valid()) return api_drain_;
  }
  Gateway& gateway = network_->gateway;
  return gateway.begin_drain({}, deadline_ms, pace_ms.value_or(pace_for(gateway.connections(), deadline_ms)));
}

Millis Server::pace_for(std::size_t connections, Millis deadline_ms) const {
  if (const Millis pace_ms = shutdown_pace_ms_; pace_ms > 0) return std::min(deadline_ms, pace_ms);
  // One client per ms: a few clients need not wait for one another.
  return std::min(deadline_ms / 2, static_cast<Millis>(connections));
}

bool Server::is_draining() const { return network_->shared.is_draining; }

std::optional<std::size_t> Server::drain_for_api(const DrainRequest& request) {
  // Called on a shard's thread, which must not block: the drain needs it.
  const Millis deadline_ms = request.deadline_ms.value_or(config_.shutdown_timeout_ms);
  std::size_t connections = 0;
  std::optional<std::size_t> number;
  for (const ListenerInfo& each : network_->gateway.listeners()) {
    if (request.port && each.port != *request.port) continue;
    number = each.number;
    connections += each.connections;
  }
  if (request.port && !number) return std::nullopt;
  const Millis pace_ms = request.pace_ms.value_or(pace_for(connections, deadline_ms));
  try {
    const std::lock_guard lock(api_drain_mutex_);
    if (request.port) {
      network_->gateway.begin_drain(number, deadline_ms, pace_ms);
    } else if (!api_drain_.valid()) {
      api_drain_ = network_->gateway.begin_drain({}, deadline_ms, pace_ms);
    }
  } catch (const std::out_of_range&) {
    return std::nullopt;  // closed just now
  }
  return connections;
}

std::size_t Server::listen(const std::string& host, std::uint16_t port) {
  if (!is_running_ || has_stopped_) throw ServerStopped("listen: the server does not run: start it first");
  bool is_insecure = false;  // no reload makes it so
  {
    const std::shared_lock entered(network_->gate);
    is_insecure = config_.insecure || config_.api_insecure;
  }
  if (is_insecure && !is_loopback_host(host)) {
    throw ConfigError("host: '" + host +
                      "' can be reached by others, and this server accepts any client (client.insecure, "
                      "http_api.insecure): "
                      "give a loopback address, or a configuration without these options");
  }
  return network_->gateway.listen(host, port);
}

std::shared_future<bool> Server::begin_listener_drain(std::size_t number, Millis deadline_ms,
                                                      std::optional<Millis> pace_ms) {
  Gateway& gateway = network_->gateway;
  std::size_t connections = 0;
  for (const ListenerInfo& each : gateway.listeners()) {
    if (each.number == number) connections = each.connections;
  }
  return gateway.begin_drain(number, deadline_ms, pace_ms.value_or(pace_for(connections, deadline_ms)));
}

std::vector<std::tuple<std::size_t, std::string, std::uint16_t>> Server::listeners() const {
  std::vector<std::tuple<std::size_t, std::string, std::uint16_t>> list;
  for (const ListenerInfo& each : network_->gateway.listeners())
    list.emplace_back(each.number, each.host, each.port);
  return list;
}

bool Server::is_running() const { return is_running_ && !network_->gateway.has_failed(); }
std::string Server::failure() const { return network_->gateway.failure(); }
std::uint16_t Server::port() const { return network_->gateway.port(); }

// ---- reload

namespace {

/// The keys of the endpoint, where it is another one now.
void set_keys(TokenVerifier* verifier, const std::map<std::string, std::string>& keys,
              const std::string& table) {
  const auto found = keys.find(table);
  if (verifier == nullptr || found == keys.end()) return;
  try {
    verifier->set_remote_keys(found->second);
  } catch (const KeyError& error) {
    throw ConfigError("client." + table + ".jwks_public_endpoint: it gives no keys: " + error.what());
  }
}

void note_other_file(const TokenVerifier* before, const TokenVerifier* after, const std::string& table,
                     const std::string& path, std::vector<ConfigChange>& changes) {
  if (before == nullptr || after == nullptr || !after->has_other_file_than(*before)) return;
  changes.push_back(
      {"client." + table + ".jwks_file", json(path).dump(), json(path + " (its keys have changed)").dump()});
}

}  // namespace

std::string Server::reload(ServerConfig config, const std::map<std::string, std::string>& remote_keys) {
  const std::lock_guard one_at_a_time(reload_mutex_);
  const std::lock_guard lifecycle(lifecycle_mutex_);  // not while stop() takes the shards away
  if (!is_running_) throw ServerStopped("reload: the server does not run");
  if (given_away()) throw ReloadRefused({"another process has taken over; reload that one"});
  Gateway& gateway = network_->gateway;
  if (std::string why_not = gateway.why_not_still(); !why_not.empty())
    throw ReloadRefused({std::move(why_not)});
  ConfigDifference difference = difference_of(config_, config);
  if (!difference.refusals.empty()) throw ReloadRefused(difference.refusals);
  const auto next = [&] {
    try {
      return std::make_unique<Reload>(std::move(config), std::move(difference));
    } catch (const KeyError& error) {  // the file has been read once more, and is another one now
      throw ConfigError("client.token, client.subscription_token: " + std::string(error.what()));
    }
  }();
  set_keys(next->connections.get(), remote_keys, "token");
  set_keys(next->subscriptions.get(), remote_keys, "subscription_token");
  std::vector<ConfigChange>& changes = next->difference.changes;
  const TokenAccess& tokens = network_->token_access;
  note_other_file(tokens.connections(), next->connections.get(), "token", next->config.token.jwks_file,
                  changes);
  note_other_file(tokens.subscriptions(), next->subscriptions.get(), "subscription_token",
                  next->config.subscription_token.jwks_file, changes);
  std::string told = to_json(changes);
  if (changes.empty()) return told;
  const auto until = HoldPoint::Clock::now() + std::chrono::milliseconds(config_.takeover_timeout_ms);
  // Before the threads stop: callers that are inside may wait for one of them, and whoever calls in a loop
  // keeps readers in front.
  std::unique_lock shut(network_->gate, std::defer_lock);
  while (!shut.try_lock()) {
    if (HoldPoint::Clock::now() >= until)
      throw ReloadRefused(
          {"calls from other threads left no moment for it (takeover.timeout_ms); try again"});
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  if (std::string why_not = gateway.while_still(until, [&] { put_in_place(*next); }); !why_not.empty())
    throw ReloadRefused({std::move(why_not)});
  return told;
}

void Server::put_in_place(Reload& next) noexcept {
  for (const ConfigOption* option : next.difference.options) {
    visit_place(config_, option->place, [&]<typename T>(T& value) {
      visit_place(next.config, option->place, [&]<typename U>(U& other) {
        if constexpr (std::is_same_v<T, U>) value = std::move(other);
      });
    });
  }
  if (next.difference.has_other_channels) {
    config_.channels.swap(next.config.channels);
    network_->rules = std::move(next.rules_of_access);
    hub_->set_rules(std::move(next.rules_of_hub));
  }
  hub_->set_limits(hub_limits(config_.limits));
  store_->set_limits(store_limits(config_.limits));
  network_->gateway.reload_limits();
  shutdown_pace_ms_ = config_.shutdown_pace_ms;
  const bool is_api_insecure = config_.insecure || config_.api_insecure;
  network_->rules_access.reload(config_.insecure);
  network_->proxy_access.reload(config_.allows_anonymous_connect || config_.insecure);
  network_->origins = std::move(next.origins);
  TokenAccess& tokens = network_->token_access;
  const auto go_on = [](TokenVerifier* after, const TokenVerifier* before) {
    if (after != nullptr && before != nullptr) after->continue_from(*before);
  };
  go_on(next.connections.get(), tokens.connections());
  go_on(next.subscriptions.get(), tokens.subscriptions());
  tokens.reload(token_access_of(config_), next.connections, next.subscriptions);
  network_->shared.token_cookie = std::move(next.token_cookie);
  network_->shared.personal_channel = std::move(next.personal_channel);
  network_->api.reload(std::move(next.api_key), is_api_insecure, config_.api_error_mode == "transport");
}

bool Server::answer_reload(std::uint64_t request, std::string_view changes_json) {
  return network_->reloads.succeed(request, changes_json);
}

bool Server::refuse_reload(std::uint64_t request, int status, const std::vector<std::string>& reasons) {
  return network_->reloads.fail(request, status, reasons);
}

// ---- publish

void Server::check_channel(std::string_view channel) const {
  if (is_channel_name(channel, config_.limits)) return;
  throw std::invalid_argument(channel_name_error(channel, config_.limits));
}

void check_json_of(std::string_view field, std::string_view text) {
  switch (check_json(text)) {
    case JsonCheck::ok:
      return;
    case JsonCheck::malformed:
      throw std::invalid_argument(
          std::string(field) + ": is not valid JSON; pass bytes without json=True to send them as they are");
    case JsonCheck::too_deep:
      throw std::invalid_argument(std::string(field) + ": is nested deeper than " +
                                  std::to_string(kJsonDepthMax) + " arrays and objects; flatten it");
  }
}

void Server::check(std::string_view channel, const Publication& publication) const {
  check_channel(channel);
  if (publication.data.size() > static_cast<std::size_t>(config_.limits.publication_bytes)) {
    throw PayloadTooLarge("data: " + std::to_string(publication.data.size()) +
                          " bytes are more than limits.publication_bytes (" +
                          std::to_string(config_.limits.publication_bytes) +
                          "); raise it or send a reference instead");
  }
  if (publication.content == ContentType::json) check_json_of("data", publication.data);
  const std::string_view error =
      format_error(hub_->options_for(channel).publication_format, publication.data, publication.content);
  if (!error.empty()) throw std::invalid_argument(std::string(error));
}

void Server::publish(std::string_view channel, Publication publication, const PublishOptions& options,
                     Hub::PublishDone done) {
  check(channel, publication);
  if (std::string text = idempotency_key_error(options.idempotency_key, config_.limits); !text.empty())
    throw std::invalid_argument(std::move(text));
  if (std::string text = version_epoch_error(options.version.epoch, config_.limits); !text.empty())
    throw std::invalid_argument(std::move(text));
  publish_checked(channel, std::move(publication), options, std::move(done));
}

void Server::publish_checked(std::string_view channel, Publication publication, const PublishOptions& options,
                             Hub::PublishDone done) {
  if (has_stopped_) throw ServerStopped("the server was stopped: make a new Server");
  hub_->publish(channel, std::move(publication), options, std::move(done));
}

// ---- readers

void Server::open_reader(const std::shared_ptr<ReaderQueue>& queue, std::uint64_t subscription,
                         std::string channel, const std::optional<Since>& since) {
  std::shared_ptr<Reader> reader;
  {
    const std::lock_guard lock(readers_mutex_);
    const std::vector<Shard*>& shards = hub_->shards();
    if (shards.empty() || has_stopped_ || network_->gateway.has_failed()) {
      ReaderItem closed;
      closed.kind = ReaderItem::Kind::closed;
      closed.subscription = subscription;
      queue->push(std::move(closed));
      return;
    }
    Shard& shard = *shards[next_shard_++ % shards.size()];
    reader = std::make_shared<Reader>(
        *hub_, shard, queue, subscription, std::move(channel),
        [this, key = queue.get(), subscription] { close_reader(key, subscription); });
    readers_[{queue.get(), subscription}] = reader;
  }
  reader->open(since);
}

void Server::close_reader(const ReaderQueue* queue, std::uint64_t subscription) {
  std::shared_ptr<Reader> reader;
  {
    const std::lock_guard lock(readers_mutex_);
    const auto found = readers_.find({queue, subscription});
    if (found == readers_.end()) return;
    reader = std::move(found->second);
    readers_.erase(found);
  }
  reader->close();
}

void Server::close_readers_on(const Shard& shard) {
  std::vector<std::shared_ptr<Reader>> readers;
  {
    const std::lock_guard lock(readers_mutex_);
    for (auto it = readers_.begin(); it != readers_.end();) {
      if (&it->second->shard() != &shard) {
        ++it;
        continue;
      }
      readers.push_back(std::move(it->second));
      it = readers_.erase(it);
    }
  }
  for (const auto& reader : readers) {
    try {
      reader->close();
    } catch (const std::exception&) {
      continue;  // the other readers are closed all the same
    }
  }
}

void Server::close_all_readers() {
  std::map<ReaderKey, std::shared_ptr<Reader>> readers;
  {
    const std::lock_guard lock(readers_mutex_);
    readers.swap(readers_);
    has_stopped_ = true;
  }
  for (const auto& [key, reader] : readers) reader->close();
}

// ---- what can be asked

std::vector<std::string> Server::connections() {
  std::vector<std::string> ids;
  const std::lock_guard lifecycle(lifecycle_mutex_);
  if (!is_running_) return ids;
  std::mutex mutex;
  network_->gateway.for_each_session([&](Session& session) {
    const std::lock_guard lock(mutex);
    if (!session.client_id().empty()) ids.emplace_back(session.client_id());
  });
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());  // one may have been visited twice
  return ids;
}

bool Server::disconnect(const std::string& client, std::uint16_t code, const std::string& reason) {
  const std::lock_guard lifecycle(lifecycle_mutex_);
  if (!is_running_) return false;
  if (client.empty()) return false;  // the id of connections that have none
  std::atomic<bool> is_found{false};
  network_->gateway.for_each_session([&](Session& session) {
    if (session.client_id() != client) return;
    is_found = true;
    session.disconnect(code, reason);
  });
  return is_found;
}

std::size_t Server::disconnect_user(ClientFilter who, std::uint16_t code, std::string reason) {
  return act_on_connections<std::size_t>([&](auto done) {
    network_->connections.disconnect(std::move(who), code, std::move(reason), std::move(done));
  });
}

std::size_t Server::unsubscribe_user(ClientFilter who, std::string channel) {
  {
    const std::shared_lock entered(network_->gate);
    check_channel(channel);
  }
  return act_on_connections<std::size_t>([&](auto done) {
    network_->connections.unsubscribe(std::move(who), std::move(channel), std::move(done));
  });
}

Connections::Subscribed Server::subscribe_user(ClientFilter who, SubscriptionGrant grant,
                                               const std::optional<Since>& since) {
  {
    const std::shared_lock entered(network_->gate);
    check_channel(grant.channel);
  }
  if (!grant.info_json.empty()) check_json_of("info", grant.info_json);
  if (!grant.data_json.empty()) check_json_of("data", grant.data_json);
  return act_on_connections<Connections::Subscribed>([&](auto done) {
    network_->connections.subscribe(std::move(who), std::move(grant), since, std::move(done));
  });
}

bool Server::cut(const std::string& client) {
  const std::lock_guard lifecycle(lifecycle_mutex_);
  return is_running_ && network_->gateway.cut(client);
}

void Server::set_events(std::shared_ptr<LogQueue> log, std::shared_ptr<HookQueue> hooks,
                        std::shared_ptr<ReloadQueue> reloads) {
  network_->reloads.set_queue(std::move(reloads));
  network_->log.set_queue(std::move(log));
  network_->access.set_queue(std::move(hooks));
}

void Server::set_hook(Operation operation, std::vector<std::string> patterns, Millis deadline_ms) {
  if (network_->proxy_access.is_used(operation)) {
    throw ConfigError("on_" + std::string(name_of(operation)) + ": " +
                      std::string(ProxyOptions::table_of(operation)) +
                      " asks a backend about the same; switch off that proxy, or take the hook away");
  }
  network_->access.set_hook(operation, std::move(patterns), deadline_ms);
}

bool Server::resolve(std::uint64_t question, Verdict verdict) {
  if (verdict.is_allowed && verdict.data && !verdict.is_data_binary) check_json_of("data", *verdict.data);
  if (!verdict.identity.info_json.empty()) check_json_of("info", verdict.identity.info_json);
  const SubscriptionGrant& subscription = verdict.subscription;
  if (!subscription.info_json.empty()) check_json_of("info", subscription.info_json);
  if (!subscription.data_json.empty()) check_json_of("data", subscription.data_json);
  for (const SubscriptionGrant& grant : verdict.identity.subscriptions) {
    check_channel(grant.channel);
    if (!grant.info_json.empty()) check_json_of("info", grant.info_json);
    if (!grant.data_json.empty()) check_json_of("data", grant.data_json);
  }
  return network_->access.resolve(question, std::move(verdict));
}

void Server::set_token_keys(bool is_of_subscriptions, std::string_view jwks) {
  const TokenAccess& access = network_->token_access;
  TokenVerifier* const verifier = is_of_subscriptions ? access.subscriptions() : access.connections();
  if (verifier != nullptr) verifier->set_remote_keys(jwks);
}

std::uint64_t Server::unknown_token_keys() const {
  std::uint64_t count = 0;
  for (const TokenVerifier* verifier :
       {network_->token_access.connections(), network_->token_access.subscriptions()})
    count += verifier != nullptr ? verifier->unknown_keys() : 0;
  return count;
}

std::string Server::stats() {
  std::uint64_t websocket = 0;
  std::uint64_t sse = 0;
  std::uint64_t polls = 0;
  std::uint64_t emulated = 0;
  std::uint64_t unidirectional = 0;
  std::uint64_t requests = 0;
  std::uint64_t commands = 0;
  std::uint64_t commands_under_way = 0;
  std::uint64_t command_pauses = 0;
  std::uint64_t refused = 0;
  std::uint64_t slow = 0;
  std::uint64_t no_pong = 0;
  std::uint64_t no_ack = 0;
  std::uint64_t clogged = 0;
  std::uint64_t kernel_bytes = 0;
  std::uint64_t lagging = 0;
  std::uint64_t gaps_told = 0;
  std::uint64_t sweeps = 0;
  std::uint64_t handshake_timeouts = 0;
  std::uint64_t bad_requests = 0;
  for (const auto& shard : network_->gateway.shards()) {
    const SessionCounters& counters = shard->counters();
    websocket += counters.websocket;
    sse += counters.sse;
    polls += counters.polls;
    emulated += counters.emulated;
    unidirectional += counters.unidirectional;
    requests += counters.requests;
    commands += counters.commands;
    commands_under_way += counters.commands_under_way;
    command_pauses += counters.command_pauses;
    refused += counters.refused;
    slow += counters.slow;
    no_pong += counters.no_pong;
    no_ack += counters.no_ack;
    clogged += counters.clogged;
    kernel_bytes += counters.kernel_bytes;
    lagging += shard->shard().lagging();
    gaps_told += shard->shard().gaps_told();
    sweeps += shard->shard().sweeps();
    handshake_timeouts += counters.handshake_timeouts;
    bad_requests += counters.bad_requests;
  }
  const AdaptiveThreshold& adaptive = hub_->adaptive_threshold();
  std::uint64_t backlog = 0;
  json listeners = json::array();
  for (const ListenerInfo& each : network_->gateway.listeners()) {
    backlog += each.backlog;
    listeners.push_back({{"host", each.host},
                         {"port", each.port},
                         {"connections", each.connections},
                         {"is_draining", each.is_draining}});
  }
  const json document = {
      {"version", version_},
      {"uptime_ms", clock_.now_ms() - started_ms_},
      {"threads", network_->gateway.shards().size()},
      {"is_running", is_running()},
      {"is_draining", network_->shared.is_draining.load()},
      {"connections", network_->gateway.connections()},
      {"listeners", std::move(listeners)},
      {"backlog", backlog},
      {"handshakes", network_->shared.admission.handshakes()},
      {"websocket", websocket},
      {"sse", sse},
      {"polls", polls},
      {"emulated", emulated},
      {"unidirectional", unidirectional},
      {"subscriptions", hub_->subscriptions()},
      {"channels", hub_->channels_followed()},
      {"channels_in_memory", hub_->channels_in_use()},
      {"channels_known", store_->channels_known()},
      {"clogged", clogged},
      {"kernel_bytes", kernel_bytes},
      {"resident_bytes", resident_bytes()},
      {"memory_trims", memory_trim_.trims()},
      {"lagging", lagging},
      {"published", hub_->published()},
      {"recovered", hub_->recovered()},
      {"not_recovered", hub_->not_recovered()},
      {"gaps_told", gaps_told},
      {"inbox_bytes", store_->inbox_bytes()},
      {"inbox_users", store_->inbox_users()},
      {"inbox_entries", hub_->inbox_entries()},
      {"inbox_reads", hub_->inbox_reads()},
      {"inbox_merges", hub_->inbox_merges()},
      {"sweeps", sweeps},
      {"fanout_write_ns", adaptive.write_ns()},
      {"fanout_read_ns", adaptive.read_ns()},
      {"adaptive_factor", adaptive.factor()},
      {"history_bytes", hub_->history_bytes() + static_cast<std::int64_t>(store_->dormant_bytes())},
      {"body_bytes", network_->shared.bodies.bytes()},
      {"unsent_bytes", network_->shared.unsent.bytes()},
      {"requests", requests},
      {"commands", commands},
      {"commands_under_way", commands_under_way},
      {"command_pauses", command_pauses},
      {"connections_max", network_->gateway.connections_max()},
      {"accepted", network_->shared.accepted.load()},
      {"accept_pauses", network_->shared.admission.pauses()},
      {"refused", refused},
      {"turned_away", network_->shared.turned_away.load()},
      {"without_descriptor", network_->shared.without_descriptor.load()},
      {"slow", slow},
      {"no_pong", no_pong},
      {"no_ack", no_ack},
      {"handshake_timeouts", handshake_timeouts},
      {"bad_requests", bad_requests},
      {"deflated", network_->shared.deflation.deflated()},
      {"inflated", network_->shared.deflation.inflated()},
      {"bodies_refused", network_->shared.bodies.refused()},
      {"unsent_closed", network_->shared.unsent.closed()},
      {"log_lines_lost", network_->log.lost()},
      {"hook_questions", network_->access.open()},
      {"hooks_undecided", network_->access.undecided()},
      {"hooks_refused", network_->access.refused()},
      {"disconnects_lost", network_->access.lost_notices()},
      {"proxy_requests", network_->proxy_access.counters().open.load()},
      {"proxies_undecided", network_->proxy_access.counters().undecided.load()},
      {"proxies_refused", network_->proxy_access.counters().refused.load()},
      {"proxy_connections", network_->proxy_access.counters().connections.load()},
      {"flush", network_->gateway.flush_name()},
      {"last_error", network_->gateway.failure()},
  };
  return document.dump();
}

std::string Server::ledger() {
  auto promise = std::make_shared<std::promise<Ledger>>();
  std::future<Ledger> future = promise->get_future();
  Ledger ledger;
  {
    // Not while stop() takes the shards away.
    const std::lock_guard lifecycle(lifecycle_mutex_);
    hub_->ledger([promise](Ledger result) { promise->set_value(std::move(result)); });
    if (is_running_ || has_stopped_) ledger = future.get();
  }
  return ledger_document(std::move(ledger));
}

}  // namespace carillon
