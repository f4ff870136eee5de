#include "server/server.hpp"

#include <algorithm>
#include <chrono>
#include <future>
#include <set>
#include <shared_mutex>
#include <thread>
#include <utility>

#include "gateway/thread_name.hpp"
#include "protocol/json_span.hpp"
#include "requests/checks.hpp"
#include "server/config_parts.hpp"
#include "server/network.hpp"
#include "server/process_figures.hpp"

namespace carillon {

namespace {

constexpr auto kHouseInterval = std::chrono::milliseconds(250);
constexpr Millis kStandstillMs = 500;

}  // namespace

namespace {

std::unique_ptr<OwnedStore> store_of(const ServerConfig& config, const Clock& clock, RandomSource& random) {
  try {
    return make_store(config, clock, random);
  } catch (const StoreRefused& refused) {
    throw StoreFailure(refused.what());
  }
}

}  // namespace

Server::Server(ServerConfig config, std::map<std::string, StaticPage> pages, std::string version)
    : config_(std::move(config)),
      version_(std::move(version)),
      store_(store_of(config_, clock_, random_)),
      measured_store_(config_.store_url == "memory" ? nullptr
                                                    : std::make_unique<MeasuredStore>(*store_, clock_)),
      hub_(std::make_unique<Hub>(clock_, random_,
                                 measured_store_ ? static_cast<Store&>(*measured_store_) : *store_,
                                 ChannelRules(config_.channels), hub_limits(config_.limits))),
      network_(
          std::make_unique<Network>(config_, *store_, *hub_, clock_, random_, version_, std::move(pages))),
      started_ms_(clock_.now_ms()),
      objectives_{ErrorBudget(parse_share(config_.availability_objective).value()),
                  ErrorBudget(parse_share(config_.latency_share_objective).value()),
                  config_.latency_objective_ms},
      shutdown_pace_ms_(config_.shutdown_pace_ms) {
  network_->shared.on_shard_failed = [this](const Shard& shard) { close_readers_on(shard); };
  network_->shared.companion = [this](boost::asio::io_context& io, std::function<void()> wake) {
    return network_->proxy_access.attach(io, std::move(wake));
  };
  network_->api.set_stats([this] { return stats(); });
  network_->api.set_metrics([this] { return metrics(); });
  network_->api.set_begin_drain([this](const DrainRequest& request) { return drain_for_api(request); });
  network_->api.set_begin_reload(
      [this](HttpHandler::Respond respond) { network_->reloads.begin(std::move(respond)); });
  network_->describe = [this](std::function<void(NodeInfo)> done) {
    static constexpr std::size_t kUsersPerTurn = 1'024;
    struct Collection {
      std::mutex mutex;
      std::uint64_t clients = 0;
      std::set<std::string> users;
    };
    const std::shared_ptr<Collection> collection(
        new Collection, [this, done = std::move(done)](Collection* made) {  // nobody adds to it any more
          std::shared_ptr<Collection> all(made);
          done({.uid = network_->shared.node,
                .name = "carillon",
                .version = version_,
                .address = network_->address(),
                .clients = all->clients,
                .users = all->users.size(),
                .subscriptions = hub_->subscriptions(),
                .channels = hub_->channels_followed(),
                .uptime_s = static_cast<std::uint64_t>((clock_.now_ms() - started_ms_) / 1000),
                .is_draining = network_->shared.is_draining});
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
  };
  network_->api.set_connections(network_->all_connections);
  network_->api.set_channels(network_->all_channels);
  network_->api.set_strategies(network_->strategies);
  network_->api.set_nodes(network_->nodes);
}

Server::~Server() { stop(); }

void Server::start() {
  const std::lock_guard lifecycle(lifecycle_mutex_);
  if (is_running_ || has_stopped_) return;
  store_->set_node(network_->shared.node);
  try {
    store_->open();
  } catch (const StoreRefused& refused) {
    throw StoreFailure(refused.what());
  }
  try {
    network_->gateway.start();
  } catch (...) {
    store_->close();
    throw;
  }
  tell_new_epochs();
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
  tell_start();
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
        network_->fleet.keep_house();
        network_->proxy_access.keep_house();
        network_->gateway.keep_house(clock_.now_ms());
        tell_store();
      }
      network_->log.report_suppressed();
      memory_trim_.keep_house(clock_.now_ms());
      objectives_.sample(clock_.now_ms(), objective_counts());
      count_descriptors();
    } catch (const std::exception& error) {
      if (!network_->gateway.has_failed()) network_->gateway.fail("the upkeep", error.what(), 0);
    }
    lock.lock();
    asleep_ms = clock_.now_ms();
  }
}

void Server::count_descriptors() {
  constexpr Millis kIntervalMs = 5'000;
  const Millis now = clock_.now_ms();
  if (descriptors_ != 0 && now - descriptors_counted_ms_ < kIntervalMs) return;
  descriptors_counted_ms_ = now;
  descriptors_ = open_descriptors();
}

void Server::tell_start() const {
  network_->log.tell({LogLevel::info, "store", "channels are kept in " + store_for_people(config_)});
}

void Server::tell_new_epochs() {
  if (!store_->figures().has_new_epochs) return;
  network_->log.tell(
      {LogLevel::warning, "store_new_epochs",
       "the file is a copy, or the last run did not end cleanly and may have lost publications that it had "
       "acknowledged (store.durability): all channels have new epochs, and clients that resume "
       "are told"});
}

void Server::tell_store() {
  StoreFigures figures = store_->figures();
  constexpr Millis kMistakesMs = 10'000;
  if (figures.mistakes != store_mistakes_ && clock_.now_ms() >= store_mistakes_due_ms_) {
    store_mistakes_due_ms_ = clock_.now_ms() + kMistakesMs;
    const std::uint64_t before = std::exchange(store_mistakes_, figures.mistakes);
    network_->log.tell({LogLevel::error,
                        "store_mistake",
                        "the store goes on after an exception: " + figures.last_mistake,
                        {{"count", static_cast<std::int64_t>(figures.mistakes - before)}}});
  }
  for (; store_warnings_ < figures.warnings.size(); ++store_warnings_)
    network_->log.tell({LogLevel::warning, "store_settings", figures.warnings[store_warnings_]});
  if (const auto channels = new_epochs_.look(figures.new_epochs, clock_.now_ms()))
    network_->log.tell(
        {LogLevel::warning,
         "store_new_epochs",
         "channels with subscribers here that have begun new epochs: " + std::to_string(*channels) + "; " +
             std::string(figures.new_epochs.why) + ". Subscribers and clients that resume are told",
         {{"channels", static_cast<std::int64_t>(*channels)}}});
  hub_->set_has_store(figures.trouble.empty());
  tell_store_trouble(figures.trouble);
}

void Server::tell_store_trouble(const std::string& trouble) {
  using Kind = StoreTroubleReport::News::Kind;
  const auto [kind, changes] = store_trouble_.look(trouble, clock_.now_ms());
  if (kind == Kind::none) return;
  const bool is_over = kind == Kind::over;
  OperatorNote note{is_over ? LogLevel::info : LogLevel::error,
                    is_over ? "store_recovered" : "store_unavailable",
                    is_over                        ? "the store takes publications again"
                    : kind == Kind::another_reason ? "the store still takes no publications: " + trouble
                                                   : "the store takes no publications: " + trouble};
  if (changes > 1) {
    note.message += "; since the last such line it came and went: " + std::to_string(changes) + " changes";
    note.numbers.emplace_back("changes", static_cast<std::int64_t>(changes));
  }
  network_->log.tell(std::move(note));
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
  network_->fleet.close();  // nobody looks after the questions any more, and a drain waits for them
  network_->gateway.stop();
  network_->log.report_suppressed(true);
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

bool Server::answers(Millis timeout_ms) {
  {
    const std::lock_guard lifecycle(lifecycle_mutex_);
    if (!is_running_) return false;
    std::vector<Shard*> shards;
    for (const auto& shard : network_->gateway.shards()) shards.push_back(&shard->shard());
    network_->probe.ask(shards);
  }
  return network_->probe.is_answered(timeout_ms);
}

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
  if (client.empty()) return false;  // the id of connections that have none
  return disconnect_user({.user = {}, .client = client, .session = {}, .whitelist = {}}, code, reason) > 0;
}

std::size_t Server::disconnect_user(ClientFilter who, std::uint16_t code, std::string reason) {
  return act_on_connections<std::size_t>([&](auto done) {
    network_->all_connections.disconnect(std::move(who), code, std::move(reason), std::move(done));
  });
}

std::size_t Server::unsubscribe_user(ClientFilter who, std::string channel) {
  {
    const std::shared_lock entered(network_->gate);
    check_channel(channel);
  }
  return act_on_connections<std::size_t>([&](auto done) {
    network_->all_connections.unsubscribe(std::move(who), std::move(channel), std::move(done));
  });
}

std::map<std::string, std::uint64_t> Server::channels(const std::string& pattern) {
  return act_on_connections<ChannelsPage>([&](auto done) {
           const std::shared_lock entered(network_->gate);
           network_->all_channels.list({.pattern = pattern, .after = {}}, std::move(done));
         })
      .subscribers;
}

Refusal Server::set_fan_out(std::string_view channel, std::string_view strategy,
                            std::optional<std::int64_t> threshold) {
  return network_->strategies.set_fan_out(channel, strategy, threshold);
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
    network_->all_connections.subscribe(std::move(who), std::move(grant), since, std::move(done));
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

bool Server::awaits_token_keys(bool is_of_subscriptions) const {
  const TokenAccess& access = network_->token_access;
  const TokenVerifier* const verifier = is_of_subscriptions ? access.subscriptions() : access.connections();
  return verifier != nullptr && verifier->awaits_keys();
}

std::uint64_t Server::unknown_token_keys() const {
  std::uint64_t count = 0;
  for (const TokenVerifier* verifier :
       {network_->token_access.connections(), network_->token_access.subscriptions()})
    count += verifier != nullptr ? verifier->unknown_keys() : 0;
  return count;
}

}  // namespace carillon
