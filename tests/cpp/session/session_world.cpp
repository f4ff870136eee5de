#include "session/session_world.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "session/session_clients.hpp"

namespace carillon::testing {

WorldLoop::WorldLoop(World& world, std::uint32_t index)
    : sockets(world.network),
      loop(index, world.shared, sockets, world.clock,
           {.deliveries_per_turn = static_cast<std::size_t>(world.options.limits.deliveries_per_turn),
            .deliveries_per_visit = static_cast<std::size_t>(world.options.limits.deliveries_per_visit),
            .batch_bytes = static_cast<std::size_t>(world.options.limits.batch_bytes)},
           world.options.tick_ms, [] {}),
      shard(loop.shard()),
      output(loop.output()),
      counters(loop.counters()) {
  loop.set_flush(sockets);
}

namespace {
std::unique_ptr<TokenVerifier> make_verifier(const TokenOptions& options, const Limits& limits) {
  if (!options.has_keys()) return nullptr;
  return std::make_unique<TokenVerifier>(options, 0, static_cast<std::size_t>(limits.token_bytes));
}
}  // namespace

World::World(WorldOptions world_options)
    : options(std::move(world_options)),
      random(options.seed),
      store(clock, random),
      rules(options.rules),
      hub(clock, random, store, rules, HubLimits{}),
      rules_access(rules, options.is_insecure),
      access(rules_access),
      token_access(access, clock, options.access, make_verifier(options.token, options.limits),
                   make_verifier(options.subscription_token, options.limits)),
      origins(options.allowed_origins, options.is_insecure),
      shared{.hub = hub,
             .access = token_access,
             .origins = origins,
             .handler = handler,
             .http = http,
             .random = random,
             .limits = options.limits,
             .heartbeat = options.heartbeat,
             .version = "1.2.3",
             .token_cookie = options.token_cookie,
             .deflate = options.deflate} {
  shared.loops = options.shards;
  network.below = [this](std::uint64_t bound) { return random.below(bound); };
  make_loops();
}

void World::make_loops() {
  std::vector<Shard*> shards;
  for (std::size_t i = 0; i < options.shards; ++i) {
    loops.push_back(std::make_unique<WorldLoop>(*this, static_cast<std::uint32_t>(i)));
    shards.push_back(&loops.back()->shard);
  }
  hub.set_shards(shards);
}

World::~World() {
  for (const auto& one : loops) {
    one->shard.bind_to_this_thread();
    one->loop.stop();
    one->loop.release();
  }
  Shard::unbind_this_thread();
  EXPECT_EQ(shared.connections, 0U);
  EXPECT_EQ(endpoint.connections, 0U);
  EXPECT_EQ(endpoint.asked, 0U);
  EXPECT_EQ(shared.admission.handshakes(), 0U);
  EXPECT_EQ(shared.unsent.bytes(), 0);
}

std::optional<std::size_t> World::take_over_when(Millis clock_ahead_ms, bool may_leave_behind) {
  for (const auto& one : loops) one->loop.stop_reading();
  const auto is_busy = [](const auto& one) { return one->loop.is_busy(); };
  while (std::any_of(loops.begin(), loops.end(), is_busy)) turn();

  std::vector<ConnectionState> states;
  std::vector<int> descriptors;
  std::vector<std::string> left_behind;
  for (const auto& one : loops) one->loop.save(states, descriptors, left_behind);
  if (!left_behind.empty() && !may_leave_behind) {
    for (const auto& one : loops) {
      one->loop.forget_saved();
      one->loop.read_again();
    }
    return std::nullopt;
  }
  delivered_before_ = delivered();  // what those who stay behind get is in no ledger any more
  const HubState hub_state = hub.save();
  StoreState store_state = store.save();
  std::erase_if(store_state.presence, [&](const StoreState::Member& member) {
    return std::find(left_behind.begin(), left_behind.end(), member.member.client) != left_behind.end();
  });
  for (const int descriptor : descriptors) ++network.sockets.at(descriptor).holders;

  for (const auto& one : loops) {
    one->shard.bind_to_this_thread();
    one->loop.give_away_saved();
    one->loop.read_again();
    one->loop.drain(endpoint, 0);
    Shard::unbind_this_thread();
  }
  store.is_unavailable = true;  // what is written there from now on would be lost: it refuses
  if (!left_behind.empty()) {
    pass(options.tick_ms);
    run();
  }
  for (const auto& one : loops) {
    one->shard.bind_to_this_thread();
    one->loop.stop();
    one->loop.release();
    Shard::unbind_this_thread();
  }
  access.waiting.clear();  // the application's answers end with its process
  store.is_late = false;
  store.answer();
  loops.clear();
  std::destroy_at(&hub);
  std::destroy_at(&store);
  std::construct_at(&store, clock, random);
  std::construct_at(&hub, clock, random, store, rules, HubLimits{});
  clock.advance(clock_ahead_ms);
  make_loops();

  store.restore(store_state);
  hub.restore(hub_state);
  for (std::size_t i = 0; i < states.size(); ++i) {
    FakeSocket& socket = network.sockets.at(descriptors[i]);
    socket.loop = random.below(loops.size());
    WorldLoop& one = *loops[socket.loop];
    one.shard.bind_to_this_thread();
    Connection* connection = one.loop.restore(states[i], descriptors[i], endpoint);
    if (socket.client != nullptr) socket.client->connection = connection;
    Shard::unbind_this_thread();
  }
  return left_behind.size();
}

void World::attach(Client& client, std::size_t index, bool is_over_limit) {
  WorldLoop& one = *loops[index];
  const int descriptor = network.next_descriptor++;
  FakeSocket& socket = network.sockets[descriptor];
  socket.client = &client;
  socket.loop = index;
  client.socket = &socket;
  shared.connections.fetch_add(1);
  endpoint.connections.fetch_add(1);
  shared.admission.begin_refusal();
  one.shard.bind_to_this_thread();
  client.connection = one.loop.add(descriptor, is_over_limit, endpoint);
  Shard::unbind_this_thread();
}

void World::notice(FakeSocket& socket) {
  socket.has_news = true;
  WorldLoop& one = *loops[socket.loop];
  one.shard.bind_to_this_thread();
  one.loop.read_ready();
  Shard::unbind_this_thread();
}

void World::deliver(Client& client, std::string_view bytes, std::size_t piece) {
  while (!bytes.empty() && client.socket != nullptr) {
    client.socket->inbox.append(bytes.substr(0, piece));
    bytes.remove_prefix(std::min(piece, bytes.size()));
    notice(*client.socket);
  }
}

void World::end_input(Client& client) {
  client.socket->has_ended = true;
  notice(*client.socket);
}

void World::turn() {
  for (const auto& one : loops) {
    one->shard.bind_to_this_thread();
    one->loop.turn();
    Shard::unbind_this_thread();
  }
}

void World::run() {
  const auto is_moving = [](const auto& one) { return one->loop.has_work() || one->sockets.has_events(); };
  for (int i = 0; i < 100'000; ++i) {
    turn();
    if (std::none_of(loops.begin(), loops.end(), is_moving)) return;
  }
  ADD_FAILURE() << "the world does not become idle";
}

void World::pass(Millis ms) {
  clock.advance(ms);
  for (const auto& one : loops) {
    one->shard.bind_to_this_thread();
    one->loop.tick();
    Shard::unbind_this_thread();
  }
}

void World::advance(Millis ms) {
  const Millis end = clock.now_ms() + ms;
  run();
  for (int i = 0; i < 100'000; ++i) {
    Millis next = end;
    for (const auto& one : loops) {
      next = std::min(next, one->loop.due_ms().value_or(end));
      for (const auto& connection : one->loop.connections()) next = std::min(next, connection->scheduled_ms);
    }
    pass(std::max<Millis>(0, next - clock.now_ms()));
    run();
    if (clock.now_ms() >= end) return;
  }
  ADD_FAILURE() << "a deadline is never met";
}

Position World::publish(std::string_view channel, std::string data, PublishOptions publish_options,
                        ContentType content) {
  Publication publication;
  publication.data = std::move(data);
  publication.content = content;
  const auto position = std::make_shared<Position>();  // the answer may come later: once it is in all inboxes
  hub.publish(channel, std::move(publication), publish_options,
              [position](const AppendResult& result) { *position = result.position; });
  return *position;
}

Ledger World::ledger() {
  auto result = std::make_shared<std::optional<Ledger>>();
  hub.ledger([result](Ledger ledger) { *result = std::move(ledger); });
  for (int i = 0; i < 10 && !*result; ++i) turn();
  EXPECT_TRUE(result->has_value());
  return result->value_or(Ledger{});
}

World::Delivered World::delivered() const {
  Delivered sum = delivered_before_;
  for (const auto& one : loops) {
    for (std::size_t i = 0; i < kTransports; ++i)
      sum.deliveries += one->output.deliveries().of(static_cast<Transport>(i)).deliveries.load();
    for (std::size_t i = 0; i < kDropReasons; ++i)
      sum.drops[i] += one->shard.dropped(static_cast<DropReason>(i));
  }
  return sum;
}

std::string World::metrics_unlike(const Ledger& ledger) const {
  const Delivered measured = delivered();
  Account account;
  for (const LedgerRow& row : ledger.rows) account += row.account;
  std::string text;
  const auto compare = [&](std::string_view what, std::uint64_t counted, std::int64_t accounted) {
    if (static_cast<std::int64_t>(counted) == accounted) return;
    text.append(what).append(": the metrics have ").append(std::to_string(counted));
    text.append(", the ledger ").append(std::to_string(accounted)).append("; ");
  };
  compare("deliveries", measured.deliveries, account.delivered);
  for (std::size_t i = 0; i < kDropReasons; ++i)
    compare(kDropReasonNames[i], measured.drops[i], account.dropped[i]);
  return text;
}

LedgerRow World::ledger_of(std::string_view channel) {
  const Ledger all = ledger();
  EXPECT_TRUE(all.is_balanced());
  for (const LedgerRow& row : all.rows) {
    if (row.channel == channel) return row;
  }
  return {};
}

std::size_t World::present(std::string_view channel) {
  std::size_t members = 0;
  hub.presence_counts(channel, [&](const PresenceCounts& found) { members = found.clients; });
  return members;
}

std::vector<std::pair<std::string, std::string>> World::shown_in(std::string_view channel) {
  std::vector<std::pair<std::string, std::string>> shown;
  hub.presence(channel, {}, [&](const PresenceResult& found) {
    for (const PresenceMember& member : found.members)
      shown.emplace_back(member.conn_info_json, member.chan_info_json);
  });
  return shown;
}

}  // namespace carillon::testing
