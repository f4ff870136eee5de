#include "session/session_world.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>

#include "protocol/ws_frame.hpp"
#include "session/http_session.hpp"

namespace carillon::testing {

namespace {

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return result;
}

TestConnection& connection_of(Outlet& outlet) {
  static_assert(offsetof(TestConnection, outlet) == 0);
  return *reinterpret_cast<TestConnection*>(&outlet);
}

/// Header lines up to the empty one.
std::vector<std::pair<std::string, std::string>> read_headers(std::string_view lines) {
  std::vector<std::pair<std::string, std::string>> headers;
  while (!lines.empty()) {
    const std::size_t end = lines.find("\r\n");
    const std::string_view line = lines.substr(0, end);
    lines.remove_prefix(end == std::string_view::npos ? lines.size() : end + 2);
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    std::string_view value = line.substr(colon + 1);
    while (value.starts_with(' ')) value.remove_prefix(1);
    headers.emplace_back(lower(line.substr(0, colon)), value);
  }
  return headers;
}

class PlainReader final : public HttpReader {
 public:
  PlainReader(std::size_t header_bytes_max, std::size_t body_bytes_max)
      : header_bytes_max_(header_bytes_max), body_bytes_max_(body_bytes_max) {}

  Result read(std::span<const char> bytes) override {
    Result result;
    const auto refuse = [&](int status, std::string reason) {
      result.step = Step::refused;
      result.refusal_status = status;
      result.refusal_reason = std::move(reason);
      return result;
    };
    const std::size_t kept = text_.size();
    text_.append(bytes.data(), bytes.size());
    const std::size_t end = text_.find("\r\n\r\n");
    if (std::min(end, text_.size()) > header_bytes_max_) return refuse(431, "head too long");
    result.consumed = bytes.size();
    if (end == std::string::npos) return result;
    request_ = {};
    const std::string line = text_.substr(0, text_.find("\r\n"));
    const std::size_t first = line.find(' ');
    const std::size_t second = line.find(' ', first + 1);
    if (first == std::string::npos || second == std::string::npos) return refuse(400, "no request line");
    request_.method = line.substr(0, first);
    request_.target = line.substr(first + 1, second - first - 1);
    request_.headers = read_headers(std::string_view(text_).substr(line.size() + 2, end - line.size() - 2));
    request_.is_keep_alive = lower(request_.header("connection")) != "close";
    std::size_t body = 0;
    if (const auto length = request_.header("content-length"); !length.empty())
      body = std::stoul(std::string(length));
    if (body > body_bytes_max_) return refuse(413, "body too long");
    if (text_.size() < end + 4 + body) return result;
    request_.body = text_.substr(end + 4, body);
    result.step = Step::request;
    result.consumed = end + 4 + body - kept;
    return result;
  }
  [[nodiscard]] HttpRequest take() override { return std::move(request_); }
  [[nodiscard]] bool has_partial() const override { return !text_.empty(); }

 private:
  const std::size_t header_bytes_max_;
  const std::size_t body_bytes_max_;
  std::string text_;
  HttpRequest request_;
};

}  // namespace

// ---- store and HTTP

void LateStore::answer() {
  std::vector<std::function<void()>> answers;
  answers.swap(held_back_);
  for (auto& each : answers) each();
}

void LateStore::append(std::string_view channel, std::shared_ptr<Entry> entry, const AppendOptions& options,
                       std::function<void(const AppendResult&)> done) {
  if (is_unavailable) {
    AppendResult failed;
    failed.error = StoreError::unavailable;
    return done(failed);
  }
  store_.append(channel, std::move(entry), options,
                [this, done = std::move(done)](const AppendResult& result) {
                  if (!is_late) return done(result);
                  held_back_.push_back([done, result] { done(result); });
                });
}

void LateStore::open(std::string_view channel, std::function<void(const OpenResult&)> done) {
  if (is_unavailable) return done({StoreError::unavailable, {}});
  if (!is_late) return store_.open(channel, std::move(done));
  held_back_.push_back([this, name = std::string(channel), done = std::move(done)] {
    is_unavailable ? done({StoreError::unavailable, {}}) : store_.open(name, done);
  });
}

std::unique_ptr<HttpReader> PlainHttp::make_reader(std::size_t header_bytes_max,
                                                   std::size_t body_bytes_max) const {
  return std::make_unique<PlainReader>(header_bytes_max, body_bytes_max);
}

bool PlainHttp::is_websocket_upgrade(const HttpRequest& request) const {
  return lower(request.header("upgrade")) == "websocket";
}

HttpLibrary::Upgrade PlainHttp::upgrade(const HttpRequest& request, std::string_view subprotocol) const {
  if (request.header("sec-websocket-version") != "13")
    return {false, "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n"};
  std::string response = "HTTP/1.1 101 Switching Protocols\r\n";
  if (!subprotocol.empty()) response.append("Sec-WebSocket-Protocol: ").append(subprotocol).append("\r\n");
  return {true, response + "\r\n"};
}

void TestHandler::handle(const HttpRequest& request, std::string_view path, Respond respond) {
  HttpResponse response;
  response.body = "{}";
  if (path == "/later") {
    waiting.emplace_back(request.target, std::move(respond));
    return;
  }
  if (path == "/echo") response.body = request.body;
  if (path == "/big") response.body.assign(big_bytes, 'x');
  if (path == "/now") response.body = Json(request.target).dump();
  if (path == "/nowhere") response.status = 404;
  respond(std::move(response));
}

// ---- world

Lane::Lane(World& world, std::uint32_t index)
    : shard(index,
            {.deliveries_per_turn = static_cast<std::size_t>(world.options.limits.deliveries_per_turn),
             .batch_bytes = static_cast<std::size_t>(world.options.limits.batch_bytes)},
            [] {}),
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
    outlet.progress_ms = clock.now;
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
  for (int round = 0; round < 2 && !lane.output.outlets().empty(); ++round) {
    std::vector<Outlet*> emptied;
    std::vector<TestConnection*> broken;
    for (Outlet* outlet : lane.output.outlets()) {
      TestConnection& connection = connection_of(*outlet);
      std::string bytes;
      std::size_t total = 0;
      std::vector<std::pair<std::size_t, std::size_t>> losses;
      for (std::int32_t i = outlet->first_slice; i >= 0; i = lane.output.slice(i).next) {
        const Slice& slice = lane.output.slice(i);
        if (loses && slice.cursor != nullptr && loses(slice)) losses.emplace_back(total, slice.bytes);
        bytes.append(slice.data, slice.bytes);
        total += slice.bytes;
      }
      if (connection.kernel.is_broken) {
        lane.output.account_part(*outlet, 0, clock.now);
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
        lane.output.account_all(*outlet);
        if (outlet->wants_empty_notice) emptied.push_back(outlet);
      } else {
        lane.output.account_part(*outlet, taken, clock.now);
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
    const bool is_empty = !connection.outlet.is_clogged && connection.outlet.first_slice < 0;
    if (!connection.is_close_wanted || !is_empty) continue;
    if (connection.client != nullptr) connection.client->is_ended = true;
    drop(connection);
  }
  lane.replaced.clear();
  if (lane.output.outlets().empty()) lane.graveyard.clear();
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
  has_moved |= !lane.output.outlets().empty() || !finishing.empty();
  flush(lane);
  settle(lane);
  has_moved |= lane.shard.has_work() || !lane.output.finishing().empty() || !lane.output.outlets().empty();
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
  const Millis end = clock.now + ms;
  run();
  for (int i = 0; i < 100'000; ++i) {
    Millis next = end;
    for (const auto& lane : lanes) {
      for (const auto& connection : lane->connections) next = std::min(next, deadline_of(*connection));
    }
    clock.now = std::max(clock.now, next);
    bool is_any_due = false;
    for (const auto& lane : lanes) {
      lane->shard.bind_to_this_thread();
      for (std::size_t c = lane->connections.size(); c > 0; --c) {
        TestConnection& connection = *lane->connections[c - 1];
        if (deadline_of(connection) > clock.now) continue;
        is_any_due = true;
        const bool is_stalled = connection.outlet.is_clogged &&
                                connection.outlet.progress_ms + options.limits.stall_timeout_ms <= clock.now;
        is_stalled ? drop(connection) : connection.outlet.session->on_deadline(clock.now);
      }
      Shard::unbind_this_thread();
    }
    run();
    if (!is_any_due && clock.now >= end) return;
  }
  ADD_FAILURE() << "a deadline is never met";
}

Position World::publish(std::string_view channel, std::string data, PublishOptions publish_options,
                        ContentType content) {
  Publication publication;
  publication.data = std::move(data);
  publication.content = content;
  Position position;
  hub.publish(channel, std::move(publication), publish_options,
              [&](const AppendResult& result) { position = result.position; });
  return position;
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

// ---- clients

Client::Client(World& its_world, std::size_t lane, bool is_over_limit) : world(its_world) {
  world.attach(*this, lane, is_over_limit);
}

Client::~Client() {
  if (connection == nullptr) return;
  connection->client = nullptr;
  world.cut(*connection);
}

void Client::write(std::string_view bytes, std::size_t piece) {
  if (connection != nullptr) world.deliver(*connection, bytes, piece);
}

void Client::cut() {
  if (connection != nullptr) world.cut(*connection);
}

std::optional<Response> take_head(std::string& bytes) {
  const std::size_t end = bytes.find("\r\n\r\n");
  if (end == std::string::npos) return std::nullopt;
  Response response;
  const std::size_t line = bytes.find("\r\n");
  EXPECT_EQ(bytes.substr(0, 9), "HTTP/1.1 ");
  response.status = std::stoi(bytes.substr(9, 3));
  if (line < end) {
    for (auto& [name, value] : read_headers(std::string_view(bytes).substr(line + 2, end - line - 2))) {
      EXPECT_TRUE(response.headers.emplace(name, value).second) << "twice: " << name;
    }
  }
  bytes.erase(0, end + 4);
  return response;
}

void HttpClient::request(std::string_view method, std::string_view target, std::string_view headers) {
  is_head_.push_back(method == "HEAD");
  std::string text;
  text.append(method)
      .append(" ")
      .append(target)
      .append(" HTTP/1.1\r\nHost: localhost:8000\r\n")
      .append(headers)
      .append("\r\n");
  write(text);
}

Response HttpClient::exchange(std::string_view method, std::string_view target, std::string_view headers) {
  request(method, target, headers);
  world.run();
  return responses.empty() ? Response{} : responses.back();
}

Response HttpClient::get(std::string_view target, std::string_view headers) {
  return exchange("GET", target, headers);
}

void HttpClient::on_bytes(std::string_view bytes) {
  pending_.append(bytes);
  while (true) {
    std::string rest = pending_;
    std::optional<Response> response = take_head(rest);
    if (!response) return;
    const bool is_head = !is_head_.empty() && is_head_.front();
    const std::string length = response->header("content-length");
    const std::size_t body = is_head || length.empty() ? 0 : std::stoul(length);
    if (rest.size() < body) return;
    response->body = rest.substr(0, body);
    pending_ = rest.substr(body);
    if (!is_head_.empty()) is_head_.pop_front();
    responses.push_back(std::move(*response));
  }
}

void SseClient::open(std::string_view query, std::string_view headers) {
  std::string text = "GET /sse?";
  text.append(query).append(" HTTP/1.1\r\nHost: localhost:8000\r\n").append(headers).append("\r\n");
  write(text);
}

void SseClient::on_bytes(std::string_view bytes) {
  pending_.append(bytes);
  if (!head) head = take_head(pending_);
  if (!head) return;
  for (std::size_t end = 0; (end = pending_.find("\n\n")) != std::string::npos;) {
    const std::string text = pending_.substr(0, end + 1);
    pending_.erase(0, end + 2);
    take_block(text);
  }
}

void SseClient::take_block(std::string_view text) {
  SseBlock block;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(line.size() + 1);
    const std::size_t colon = line.find(':');
    const std::string_view field = line.substr(0, colon);
    std::string_view value = colon == std::string_view::npos ? std::string_view() : line.substr(colon + 1);
    if (value.starts_with(' ')) value.remove_prefix(1);
    if (colon == 0) {
      block.is_comment = true;
    } else if (field == "event") {
      block.event = value;
    } else if (field == "id") {
      block.id = value;
    } else if (field == "retry") {
      block.retry = std::stoull(std::string(value));
    } else if (field == "data") {
      EXPECT_FALSE(block.data.has_value()) << "two data lines";
      block.data = Json::parse(value);
    } else {
      ADD_FAILURE() << "unknown line: " << line;
    }
  }
  if (block.id) last_id = *block.id;
  blocks.push_back(block);
  if (on_block) on_block(block);
}

std::vector<SseBlock> SseClient::events(std::string_view event) const {
  std::vector<SseBlock> found;
  for (const SseBlock& block : blocks) {
    if (block.data && block.event == event) found.push_back(block);
  }
  return found;
}

void WsClient::open(std::string_view query) {
  std::string text = "GET /connection/websocket";
  text.append(query).append(
      " HTTP/1.1\r\nHost: localhost:8000\r\nConnection: Upgrade\r\nUpgrade: "
      "websocket\r\nSec-WebSocket-Version: 13\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
  write(text);
}

void WsClient::connect(std::string_view query) {
  open(query);
  command("connect", Json::object());
}

void WsClient::send(std::string_view text) { send_frame(1, text); }

void WsClient::send_frame(std::uint8_t opcode, std::string_view payload) {
  std::string frame;
  append_ws_client_frame(frame, WsOpcode{opcode}, true, 0x12345678, payload);
  write(frame);
}

Json WsClient::command(std::string_view name, Json body) {
  const std::uint32_t id = next_id++;
  send(Json{{"id", id}, {name, std::move(body)}}.dump());
  world.run();
  for (const Json& reply : replies) {
    if (reply["id"] == id) return reply;
  }
  return nullptr;
}

Json WsClient::subscribe(const std::string& channel, Json body) {
  body["channel"] = channel;
  return command("subscribe", std::move(body));
}

void WsClient::on_bytes(std::string_view bytes) {
  pending_.append(bytes);
  if (!head) head = take_head(pending_);
  if (!head) return;
  while (pending_.size() >= 2) {
    const auto first = static_cast<std::uint8_t>(pending_[0]);
    std::size_t length = static_cast<std::uint8_t>(pending_[1]);
    std::size_t header = 2;
    EXPECT_EQ(length & 0x80U, 0U) << "masked by the server";
    if (length >= 126) {
      const std::size_t width = length == 126 ? 2 : 8;
      header += width;
      if (pending_.size() < header) return;
      length = 0;
      for (std::size_t i = 2; i < header; ++i) length = length << 8U | static_cast<std::uint8_t>(pending_[i]);
    }
    if (pending_.size() < header + length) return;
    const std::string payload = pending_.substr(header, length);
    pending_.erase(0, header + length);
    EXPECT_FALSE(close_code.has_value()) << "a frame behind the close";
    EXPECT_EQ(first & 0xF0U, 0x80U) << "not final, or reserved bits";
    switch (first & 0x0FU) {
      case 1: {
        const Json reply = Json::parse(payload);
        if (reply.empty()) {
          ++heartbeats;
          EXPECT_EQ(payload, "{}");
          if (answers_heartbeats && connection != nullptr) {  // the far end answers when it gets to it
            std::string frame;
            append_ws_client_frame(frame, WsOpcode::text, true, 7, "{}");
            connection->unread.append(frame);
          }
        } else if (reply.contains("push")) {
          pushes.push_back(reply["push"]);
        } else {
          replies.push_back(reply);
        }
        if (on_reply) on_reply(reply);
        break;
      }
      case 8:
        close_code = 0;
        if (payload.size() >= 2) {
          close_code = static_cast<std::uint16_t>(static_cast<std::uint8_t>(payload[0]) << 8 |
                                                  static_cast<std::uint8_t>(payload[1]));
          close_reason = payload.substr(2);
        }
        break;
      case 9:
        pings.push_back(payload);
        break;
      case 10:
        pongs.push_back(payload);
        break;
      default:
        ADD_FAILURE() << "opcode " << (first & 0x0FU);
    }
  }
}

std::vector<Json> WsClient::pushes_of(std::string_view channel, std::string_view kind) const {
  std::vector<Json> found;
  for (const Json& push : pushes) {
    if (push.value("channel", "") == channel && push.contains(kind)) found.push_back(push[std::string(kind)]);
  }
  return found;
}

}  // namespace carillon::testing
