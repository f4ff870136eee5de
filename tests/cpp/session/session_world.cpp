#include "session/session_world.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "session/http_session.hpp"
#include "session/session_clients.hpp"

namespace carillon::testing {

namespace {

TestConnection& connection_of(Outlet& outlet) {
  static_assert(offsetof(TestConnection, outlet) == 0);
  return *reinterpret_cast<TestConnection*>(&outlet);
}

}  // namespace

// ---- world

Lane::Lane(World& world, std::uint32_t index)
    : shard(index,
            {.deliveries_per_turn = static_cast<std::size_t>(world.options.limits.deliveries_per_turn),
             .deliveries_per_visit = static_cast<std::size_t>(world.options.limits.deliveries_per_visit),
             .batch_bytes = static_cast<std::size_t>(world.options.limits.batch_bytes)},
            world.clock, [] {}),
      output(shard),
      context(std::make_unique<SessionContext>(
          SessionContext{world.hub, shard, output, world, world.access, world.origins, world.handler,
                         world.http, world.clock, world.random, world.options.limits, world.options.heartbeat,
                         counters, world.is_draining, "1.2.3"})) {}

World::World(WorldOptions world_options)
    : options(std::move(world_options)),
      random(options.seed),
      store(clock, random),
      rules(options.rules),
      hub(clock, store, rules, HubLimits{}),
      rules_access(rules, options.is_insecure),
      access(rules_access),
      origins(options.allowed_origins, options.is_insecure) {
  make_lanes();
}

void World::make_lanes() {
  std::vector<Shard*> shards;
  for (std::size_t i = 0; i < options.shards; ++i) {
    lanes.push_back(std::make_unique<Lane>(*this, static_cast<std::uint32_t>(i)));
    shards.push_back(&lanes.back()->shard);
  }
  hub.set_shards(shards);
}

World::~World() {
  for (const auto& lane : lanes) {
    lane->shard.bind_to_this_thread();
    while (!lane->connections.empty()) drop(*lane->connections.back());
    lane->graveyard.clear();
    lane->replaced.clear();
  }
  Shard::unbind_this_thread();
}

bool World::take_over(Millis clock_ahead_ms) {
  const auto is_at_rest = [](const auto& lane) {
    return !lane->shard.is_under_way() && lane->output.is_empty();
  };
  while (!std::all_of(lanes.begin(), lanes.end(), is_at_rest)) turn();

  struct Moving {
    std::unique_ptr<TestConnection> connection;
    SessionState session;
  };
  std::vector<Moving> moving;
  for (const auto& lane : lanes) {
    for (const auto& connection : lane->connections) {
      std::optional<SessionState> state = connection->session->save();
      if (!state) return false;
      moving.push_back({nullptr, std::move(*state)});
    }
  }
  const HubState hub_state = hub.save();
  const MemoryStoreState store_state = store.save();

  auto next = moving.begin();
  for (const auto& lane : lanes) {
    lane->shard.bind_to_this_thread();
    for (auto& connection : lane->connections) {
      connection->session->give_away();
      connection->session.reset();
      (next++)->connection = std::move(connection);
    }
    lane->connections.clear();
    lane->graveyard.clear();
    lane->replaced.clear();
    Shard::unbind_this_thread();
  }
  lanes.clear();
  std::destroy_at(&hub);
  std::destroy_at(&store);
  std::construct_at(&store, clock, random);
  std::construct_at(&hub, clock, store, rules, HubLimits{});
  make_lanes();
  clock.advance(clock_ahead_ms);

  store.restore(store_state);
  hub.restore(hub_state);
  for (Moving& each : moving) {
    Lane& lane = *lanes[random.below(lanes.size())];
    lane.shard.bind_to_this_thread();
    TestConnection& place = *each.connection;
    place.lane = &lane;
    place.outlet.progress_ms += clock_ahead_ms;
    place.session = restore_session(*lane.context, place.outlet, each.session);
    place.outlet.session = place.session.get();
    lane.connections.push_back(std::move(each.connection));
    Shard::unbind_this_thread();
  }
  return true;
}

void World::attach(Client& client, std::size_t index, bool is_over_limit) {
  Lane& lane = *lanes[index];
  lane.shard.bind_to_this_thread();
  auto connection = std::make_unique<TestConnection>();
  connection->lane = &lane;
  connection->client = &client;
  client.connection = connection.get();
  connection->session = std::make_unique<HttpSession>(*lane.context, connection->outlet, is_over_limit);
  connection->outlet.session = connection->session.get();
  lane.connections.push_back(std::move(connection));
  Shard::unbind_this_thread();
}

void World::deliver(TestConnection& connection, std::string_view bytes, std::size_t piece) {
  connection.lane->shard.bind_to_this_thread();
  while (!bytes.empty()) {
    if (connection.is_reading_paused || connection.is_close_wanted) {
      if (connection.is_reading_paused) connection.unread.append(bytes);
      break;
    }
    std::string part(bytes.substr(0, piece));
    bytes.remove_prefix(part.size());
    connection.outlet.session->on_bytes(part);
  }
  Shard::unbind_this_thread();
}

void World::cut(TestConnection& connection) {
  connection.lane->shard.bind_to_this_thread();
  drop(connection);  // the session lives on until the end of the next turn, as it does in a gateway
  Shard::unbind_this_thread();
}

void World::close(Outlet& outlet) { connection_of(outlet).is_close_wanted = true; }

void World::replace(Outlet& outlet, std::unique_ptr<Session> successor) {
  TestConnection& connection = connection_of(outlet);
  outlet.session = successor.get();
  connection.lane->replaced.push_back(std::move(connection.session));
  connection.session = std::move(successor);
}

void World::pause_reading(Outlet& outlet, bool is_paused) {
  connection_of(outlet).is_reading_paused = is_paused;
}

void World::reschedule(Outlet& /*outlet*/) {}  // deadlines are asked, not kept

void World::drop(TestConnection& connection) {
  if (connection.is_gone) return;
  connection.is_gone = true;
  connection.session->let_go();
  if (connection.client != nullptr) connection.client->connection = nullptr;
  Lane& lane = *connection.lane;
  const auto place = std::find_if(lane.connections.begin(), lane.connections.end(),
                                  [&](const auto& each) { return each.get() == &connection; });
  lane.graveyard.push_back(std::move(*place));
  lane.connections.erase(place);
}

std::size_t World::take(TestConnection& connection, std::size_t offered) {
  Kernel& kernel = connection.kernel;
  std::size_t taken = std::min(offered, kernel.room);
  if (kernel.most != Kernel::kAll)
    taken = std::min(taken, static_cast<std::size_t>(random.below(kernel.most + 1)));
  if (kernel.room != Kernel::kAll) kernel.room -= taken;
  return taken;
}

bool World::flush_rest(TestConnection& connection) {
  Outlet& outlet = connection.outlet;
  const std::string rest(outlet.rest_view());
  const std::size_t taken = take(connection, rest.size());
  if (taken > 0) {
    outlet.progress_ms = clock.now_ms();
    outlet.rest_sent += static_cast<std::uint32_t>(taken);
    if (connection.client != nullptr) connection.client->on_bytes(std::string_view(rest).substr(0, taken));
  }
  if (taken < rest.size() || (rest.empty() && connection.kernel.room == 0)) return taken > 0;
  outlet.rest.reset();
  outlet.rest_sent = 0;
  outlet.is_clogged = outlet.wants_empty_notice = false;
  outlet.session->on_outlet_empty();
  return true;
}

void World::flush(Lane& lane) {
  for (int round = 0; round < 2 && !lane.output.is_empty(); ++round) {
    std::vector<Outlet*> emptied;
    std::vector<TestConnection*> broken;
    for (const Slice& first : lane.output.slices()) {
      Outlet* const outlet = first.outlet;
      if (outlet == nullptr) continue;
      TestConnection& connection = connection_of(*outlet);
      std::string bytes;
      std::size_t total = 0;
      std::vector<std::pair<std::size_t, std::size_t>> losses;
      for (const Slice* slice = &first; slice != nullptr; slice = slice->next) {
        const std::size_t length = slice->bytes().size();
        if (loses && slice->cursor != nullptr && loses(*slice)) losses.emplace_back(total, length);
        bytes.append(slice->bytes());
        total += length;
      }
      if (connection.kernel.is_broken) {
        lane.output.account_part(first, 0, clock.now_ms());
        broken.push_back(&connection);
        continue;
      }
      const std::size_t taken = take(connection, total);
      std::string arrived = bytes.substr(0, taken);
      for (auto it = losses.rbegin(); it != losses.rend(); ++it) {
        if (it->first + it->second > taken) continue;
        arrived.erase(it->first, it->second);
        ++lost;
      }
      if (connection.client != nullptr && !connection.is_gone) connection.client->on_bytes(arrived);
      if (taken == total) {
        TurnOutput::account_all(first);
        if (outlet->wants_empty_notice) emptied.push_back(outlet);
      } else {
        lane.output.account_part(first, taken, clock.now_ms());
      }
    }
    lane.output.clear();
    for (TestConnection* connection : broken) drop(*connection);
    for (Outlet* outlet : emptied) {
      if (connection_of(*outlet).is_gone) continue;
      outlet->wants_empty_notice = false;
      outlet->session->on_outlet_empty();
    }
  }
}

void World::settle(Lane& lane) {
  for (std::size_t i = lane.connections.size(); i > 0; --i) {
    TestConnection& connection = *lane.connections[i - 1];
    const bool is_empty = !connection.outlet.is_clogged && connection.outlet.last_slice == nullptr;
    if (!connection.is_close_wanted || !is_empty) continue;
    if (connection.client != nullptr) connection.client->is_ended = true;
    drop(connection);
  }
  lane.replaced.clear();
  if (lane.output.is_empty()) lane.graveyard.clear();
}

bool World::turn(Lane& lane) {
  lane.shard.bind_to_this_thread();
  bool has_moved = false;
  for (std::size_t i = 0; i < lane.connections.size(); ++i) {
    TestConnection& connection = *lane.connections[i];
    if (connection.outlet.is_clogged) {
      // A kernel that took nothing by chance may take something next time.
      has_moved |=
          flush_rest(connection) || (connection.kernel.most != Kernel::kAll && connection.kernel.room > 0);
    }
    if (!connection.is_reading_paused && !connection.unread.empty()) {
      std::string unread;
      unread.swap(connection.unread);
      if (!connection.is_close_wanted) connection.outlet.session->on_bytes(unread);
      has_moved = true;
    }
  }
  lane.shard.turn();
  std::vector<Session*> finishing;
  finishing.swap(lane.output.finishing());
  for (Session* session : finishing) {
    if (session != nullptr) session->finish_turn();
  }
  has_moved |= !lane.output.is_empty() || !finishing.empty();
  flush(lane);
  settle(lane);
  has_moved |= lane.shard.has_work() || !lane.output.finishing().empty() || !lane.output.is_empty();
  Shard::unbind_this_thread();
  return has_moved;
}

void World::turn() {
  for (const auto& lane : lanes) turn(*lane);
}

void World::run() {
  for (int i = 0; i < 100'000; ++i) {
    bool has_moved = false;
    for (const auto& lane : lanes) has_moved |= turn(*lane);
    if (!has_moved) return;
  }
  ADD_FAILURE() << "the world does not come to rest";
}

Millis World::deadline_of(const TestConnection& connection) const {
  Millis deadline = connection.outlet.session->deadline();
  if (connection.outlet.is_clogged) {
    deadline = std::min(deadline, connection.outlet.progress_ms + options.limits.stall_timeout_ms);
  }
  return deadline;
}

void World::advance(Millis ms) {
  const Millis end = clock.now_ms() + ms;
  run();
  for (int i = 0; i < 100'000; ++i) {
    Millis next = end;
    for (const auto& lane : lanes) {
      for (const auto& connection : lane->connections) next = std::min(next, deadline_of(*connection));
    }
    clock.advance_to(next);
    bool is_any_due = false;
    for (const auto& lane : lanes) {
      lane->shard.bind_to_this_thread();
      for (std::size_t c = lane->connections.size(); c > 0; --c) {
        TestConnection& connection = *lane->connections[c - 1];
        if (deadline_of(connection) > clock.now_ms()) continue;
        is_any_due = true;
        const bool is_stalled =
            connection.outlet.is_clogged &&
            connection.outlet.progress_ms + options.limits.stall_timeout_ms <= clock.now_ms();
        is_stalled ? drop(connection) : connection.outlet.session->on_deadline(clock.now_ms());
      }
      Shard::unbind_this_thread();
    }
    run();
    if (!is_any_due && clock.now_ms() >= end) return;
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
  hub.presence(channel, [&](const PresenceResult& found) { members = found.members.size(); });
  return members;
}

}  // namespace carillon::testing
