#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "doubles/seeds.hpp"
#include "doubles/token_signer.hpp"
#include "protocol/fossil_oracle.hpp"
#include "session/peer_link.hpp"

// The client machine in a random world: peers over every transport and in both encodings, with random
// commands, cuts, tokens that end, hooks and a store that answer late or never, takeovers in between, over
// kernels that take what they like. Each peer keeps a journal of what it was told and compares all that comes
// with it. A failure prints its seed; CARILLON_SEED=<n> replays that one, CARILLON_SEED_PERCENT=1000 plays
// ten times as many, and CARILLON_COUNTS=1 tells what has happened in them.

namespace carillon::testing {
namespace {

constexpr std::int64_t kDelayMs = 2'000;     // in which an expired client or subscription may be renewed
constexpr std::int64_t kLatenessMs = 1'500;  // of deadlines: time passes in steps

/// What a world is like; all of it by chance, but for what a test fixes.
struct ClientSetting {
  std::uint64_t seed = 1;
  bool has_small_history = false;  ///< gaps happen, and must be told
  bool has_tokens = false;
  bool is_late = false;  ///< hooks and the store answer when they like, or never
  bool is_taken_over = false;
  bool is_tight = false;  ///< kernels take what they like
};

class ClientStory;

/// What one peer knows of one channel.
struct PeerPlace {
  bool is_live = false;
  std::uint64_t subscribed = 0;  ///< how often it has been
  bool is_by_server = false;
  bool has_position = false;
  std::string epoch;
  Offset offset = 0;               ///< it has got everything up to it
  Offset from = 0;                 ///< where its unbroken run begins
  std::vector<Offset> received{};  ///< since then
  bool has_delta = false;
  bool has_filter = false;
  std::string base;              ///< the newest publication, for a delta
  std::int64_t end_ms = 0;       ///< wall time at which the subscription expires; 0: it does not
  bool is_about_to_end = false;  ///< it was told the least that a server tells: its end may be now
};

struct PeerQuestion {
  std::string kind;
  std::string channel;
  Json body;
  bool is_cancelled = false;     ///< a reply need not come
  std::uint64_t subscribed = 0;  ///< how often the channel had been
};

/// A client with all that it believes. What contradicts that is a problem of the story.
class Peer {
 public:
  Peer(ClientStory& story, std::string user) : story_(story), user_(std::move(user)) {}

  void step();
  /// Reads again, and answers; nothing new is begun.
  void settle();
  /// Comes back if it has gone, and wants what it has had.
  void finish();
  void stop();
  /// What must hold once all is idle.
  void check_idle();

  [[nodiscard]] PeerLink* link() const { return link_.get(); }
  [[nodiscard]] const std::map<std::string, PeerPlace>& places() const { return places_; }
  [[nodiscard]] const std::string& client() const { return client_; }
  [[nodiscard]] bool is_connected() const { return link_ && !link_->is_over() && !client_.empty(); }
  [[nodiscard]] bool is_live(const std::string& channel) const {
    const auto place = places_.find(channel);
    return is_connected() && place != places_.end() && place->second.is_live;
  }
  void expect_goodbye(int code) { expected_codes_.insert(code); }
  /// The server has moved its end in a way that it does not see.
  void forget_end() { is_end_known_ = false; }

 private:
  void begin(bool is_final);
  [[nodiscard]] Json connect_request();
  [[nodiscard]] std::string new_token();
  void ask(const std::string& kind, const std::string& channel, Json body);
  [[nodiscard]] Json command(const std::string& kind, const std::string& channel, Json body);
  [[nodiscard]] Json subscribe_command(const std::string& channel);
  void act();
  [[nodiscard]] Pace pace();
  [[nodiscard]] bool has_pending(const std::string& channel, std::string_view kind = {}) const;

  void on_message(const Json& message);
  void on_reply(std::uint32_t id, const Json& reply);
  void on_connected(const Json& result);
  void on_subscribed(const std::string& channel, const Json& request, const Json& result, bool is_by_server);
  void on_push(const Json& push);
  void on_history(const std::string& channel, const Json& request, const Json& result);
  void take(const std::string& channel, PeerPlace& place, const Json& publication);
  [[nodiscard]] std::string text_of(PeerPlace& place, const Json& publication);
  void set_end(const Json& result);
  void set_end(PeerPlace& place, const Json& result);
  void check_goodbye();
  void complain(const std::string& what);

  ClientStory& story_;
  const std::string user_;
  std::unique_ptr<PeerLink> link_;
  std::string client_;
  std::map<std::string, PeerPlace> places_;
  std::map<std::uint32_t, PeerQuestion> asked_;
  std::set<int> expected_codes_;
  std::vector<std::string> history_;  // of this connection, for complaints
  Json request_;                      // of the connect
  bool has_been_tight_ = false;       // on this connection: something may be late, or lost with it
  bool is_mute_ = false;              // answers no pings
  bool is_refused_ = false;           // its connect got an error
  std::size_t answered_pings_ = 0;
  std::int64_t end_ms_ = 0;  // wall time at which the connection expires; 0: it does not
  bool is_end_known_ = true;
  bool is_renewable_ = false;
};

class ClientStory {
 public:
  explicit ClientStory(const ClientSetting& its_setting);
  /// What is wrong; empty if nothing.
  std::vector<std::string> play();

  void complain(const std::string& what) {
    if (problems.size() < 5) problems.push_back(what);
  }
  [[nodiscard]] std::int64_t wall_s() const { return world.clock.wall_ms() / 1'000; }
  /// All who have got this publication have got the same.
  void compare(const std::string& channel, Offset offset, const std::string& text);
  /// A payload that there is once.
  [[nodiscard]] Json new_payload(const std::string& channel);

  struct Published {
    std::string channel;
    enum class Fate : std::uint8_t { unknown, done, failed } fate = Fate::unknown;
    bool is_stored = true;
  };

  const ClientSetting setting;
  SeededRandom chance;
  World world;
  std::vector<std::string> problems;
  std::map<std::pair<std::string, Offset>, std::string> truth;  ///< by channel, in its first epoch
  std::map<std::int64_t, Published> published;                  ///< by its number
  std::map<std::string, std::uint64_t> counts;                  ///< of what has happened

 private:
  static WorldOptions options_for(const ClientSetting& setting);
  void publish();
  void answer_some();
  void act_as_server();
  void take_over();
  void answer_all();
  void check_streams();
  void check_places();
  struct Waiting {
    Operation operation;
    std::string user;
    std::string channel;
    std::string data;
  };
  Verdict verdict_for(const Waiting& asked);

  std::deque<Waiting> waiting_;  // beside those of the access
  std::vector<std::unique_ptr<Peer>> peers_;
};

// "$p" needs a token, "live" has no history, "dl" has deltas, "tags" may be filtered, "room" tells who comes.
const std::vector<std::string> kChannels{"a", "room", "dl", "tags", "live", "$p"};

// ---- the world

WorldOptions ClientStory::options_for(const ClientSetting& setting) {
  SeededRandom chance(setting.seed * 13 + 5);
  WorldOptions options;
  options.seed = setting.seed;
  options.shards = 1 + chance.below(2);
  options.is_insecure = false;
  options.access.allows_anonymous = true;
  if (setting.has_tokens) options.token.hmac_secret_key = "secret";
  options.limits.expired_close_delay_ms = kDelayMs;
  options.limits.expired_sub_close_delay_ms = kDelayMs;
  options.limits.concurrency = static_cast<std::int64_t>(chance.below(4));
  options.limits.commands_under_way = 2 + static_cast<std::int64_t>(chance.below(20));
  options.limits.history_publications = 1 + static_cast<std::int64_t>(chance.below(8));
  options.limits.recovery_bytes = chance.one_in(2) ? 500 : 65'536;
  options.limits.deliveries_per_turn = 1 + static_cast<std::int64_t>(chance.below(8));
  options.limits.read_ms_per_turn = 1 + static_cast<std::int64_t>(chance.below(3));
  if (setting.is_tight) {
    options.limits.backlog_bytes = 2'048;
    options.limits.batch_bytes = 1'024;
  }
  options.heartbeat.ping_interval_ms = 4'000;
  options.heartbeat.pong_timeout_ms = 2'500;
  ChannelOptions open;
  open.allow_subscribe = open.allow_subscribe_for_anonymous = true;
  open.allow_publish = open.allow_publish_for_anonymous = true;
  open.allow_presence = open.allow_presence_for_anonymous = true;
  open.allow_history = open.allow_history_for_anonymous = true;
  open.presence = true;
  if (setting.has_small_history) open.history_size = open.live_window_entries = 6;
  const auto with = [&open](std::string pattern, const std::function<void(ChannelOptions&)>& change) {
    ChannelOptions changed = open;
    change(changed);
    return ChannelRules::Rule{std::move(pattern), changed};
  };
  options.rules = {{"*", open},
                   with("room", [](ChannelOptions& o) { o.join_leave = o.force_push_join_leave = true; }),
                   with("dl",
                        [](ChannelOptions& o) {
                          o.allowed_delta_types = 1;
                          o.delta_publish = true;
                        }),
                   with("tags", [](ChannelOptions& o) { o.allow_tags_filter = true; }),
                   with("live", [](ChannelOptions& o) {
                     o.history_size = 0;
                     o.live_window_entries = 1'000;
                   })};
  return options;
}

ClientStory::ClientStory(const ClientSetting& its_setting)
    : setting(its_setting), chance(its_setting.seed), world(options_for(its_setting)) {}

Json ClientStory::new_payload(const std::string& channel) {
  const auto number = static_cast<std::int64_t>(published.size());
  published[number].channel = channel;
  return {{"n", number},
          {"pad", std::string(chance.one_in(6) ? chance.below(1'200) : chance.below(50), 'x')},
          {"same", channel == "dl" ? std::string(150, 'y') : ""}};
}

void ClientStory::compare(const std::string& channel, Offset offset, const std::string& text) {
  const auto [known, is_new] = truth.try_emplace({channel, offset}, text);
  if (!is_new && known->second != text)
    complain(channel + ":" + std::to_string(offset) + " is " + text + " here and " + known->second +
             " there");
}

void ClientStory::publish() {
  const std::string& channel = kChannels[chance.below(kChannels.size())];
  for (std::uint64_t i = chance.one_in(8) ? chance.below(10) : 0; i < 10; i += 10) {
    const Json payload = new_payload(channel);
    Published& one = published[payload["n"]];
    PublishOptions publish_options;
    publish_options.skip_history = chance.one_in(15);
    one.is_stored = channel != "live" && !publish_options.skip_history;
    Publication publication;
    publication.data = payload.dump();
    if (channel == "tags") publication.tags = {{"k", chance.one_in(2) ? "1" : "0"}};
    world.hub.publish(channel, std::move(publication), publish_options, [&one](const AppendResult& result) {
      one.fate = result.error == StoreError::none ? Published::Fate::done : Published::Fate::failed;
    });
  }
}

Verdict ClientStory::verdict_for(const Waiting& asked) {
  if (chance.one_in(12)) {
    ++counts["undecided"];
    return Verdict::undecided("its deadline has passed");
  }
  const auto soon = [this] { return wall_s() + 1 + static_cast<std::int64_t>(chance.below(8)); };
  const auto no = [this](std::uint32_t code) { return denied(chance.one_in(4) ? code : 0, "no"); };
  Verdict verdict = allowed();
  switch (asked.operation) {
    case Operation::connect:
      if (chance.one_in(12)) return denied(chance.one_in(2) ? 1'000 : 4'501, "no");
      verdict.identity.user = asked.user;
      if (chance.one_in(3)) verdict.identity.subscriptions.push_back({.channel = "srv"});
      verdict.identity.names_subscriptions = setting.has_tokens && chance.one_in(3);
      if (chance.one_in(8)) verdict.identity.expiry.at_s = soon();
      break;
    case Operation::subscribe:
      if (chance.one_in(10)) return no(4'003);
      if (chance.one_in(3)) verdict.subscription.data_json = Json{{"for", asked.channel}}.dump();
      if (chance.one_in(8)) verdict.subscription.expiry.at_s = soon();
      break;
    case Operation::publish:
      if (chance.one_in(10)) return no(4'004);
      break;
    case Operation::rpc:
      if (chance.one_in(10)) return no(4'005);
      verdict.data = asked.data;
      break;
    case Operation::refresh:
      ++counts["renewals"];
      if (chance.one_in(6)) return no(4'006);
      if (!chance.one_in(4)) verdict.identity.expiry.at_s = soon();
      break;
    case Operation::sub_refresh:
      if (chance.one_in(6)) return no(4'007);
      if (!chance.one_in(4)) verdict.subscription.expiry.at_s = soon();
      break;
    default:
      break;
  }
  return verdict;
}

void ClientStory::answer_some() {
  if (chance.one_in(8)) world.store.is_late = !world.store.is_late;
  if (chance.one_in(4)) world.store.answer();
  if (waiting_.empty() || chance.one_in(3)) return;
  const std::size_t index = chance.below(waiting_.size());
  const Waiting one = waiting_[index];
  waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(index));
  ++counts["late answers"];
  world.access.decide(verdict_for(one), index);
}

/// The application subscribes, unsubscribes, renews and disconnects clients.
void ClientStory::act_as_server() {
  Peer& peer = *peers_[chance.below(peers_.size())];
  if (!peer.is_connected()) return;
  PeerLink& link = *peer.link();
  world.loops[link.socket->loop]->shard.bind_to_this_thread();
  Session& session = *link.connection->session;
  switch (chance.below(8)) {
    case 0:
    case 1:
    case 2:
      session.subscribe({.channel = chance.one_in(2) ? "api" : "a"}, {}, [](SubscribeAnswer) {});
      break;
    case 3:
    case 4:
      session.unsubscribe(chance.one_in(2) ? "api" : "a", kUnsubscribeByServer);
      break;
    case 5:
      if (session.refresh({wall_s() + 1 + static_cast<std::int64_t>(chance.below(10)), ""}))
        peer.forget_end();
      break;
    case 6:
      peer.expect_goodbye(4'009);
      session.disconnect(4'009, "of the application");
      break;
    default:
      break;
  }
  Shard::unbind_this_thread();
}

void ClientStory::take_over() {
  if (!setting.is_late) {
    counts["takeovers"] += world.take_over(static_cast<Millis>(chance.below(50))) ? 1 : 0;
    return;
  }
  for (const auto& peer : peers_) peer->expect_goodbye(3'001);  // who waits for an answer stays behind
  counts["left behind"] += world.take_over_without_askers();
  waiting_.clear();
  ++counts["takeovers"];
}

void ClientStory::answer_all() {
  world.access.slow.clear();
  while (!waiting_.empty()) {  // who was never answered has reached the deadline
    waiting_.pop_front();
    world.access.decide(Verdict::undecided("its deadline has passed"));
    world.run();
  }
  world.store.is_late = false;
  world.store.answer();
  world.run();
}

std::vector<std::string> ClientStory::play() {
  if (setting.is_late) {
    for (const Operation operation : {Operation::connect, Operation::subscribe, Operation::publish,
                                      Operation::rpc, Operation::refresh, Operation::sub_refresh}) {
      if (chance.one_in(2)) world.access.slow.insert(operation);
    }
    world.access.on_asked = [this](const Question& question) {
      std::string user(question.proved != nullptr ? question.proved->user : std::string());
      waiting_.push_back({question.operation, user.empty() ? "hooked" : user, std::string(question.channel),
                          std::string(question.data)});
    };
  }
  const std::size_t count = 2 + chance.below(6);
  for (std::size_t i = 0; i < count; ++i)
    peers_.push_back(std::make_unique<Peer>(*this, "u" + std::to_string(chance.below(3))));
  const std::uint64_t steps = 60 + chance.below(100);
  for (std::uint64_t i = 0; i < steps && problems.empty(); ++i) {
    if (chance.one_in(2)) publish();
    peers_[chance.below(count)]->step();
    if (!chance.one_in(3)) world.turn();
    if (chance.one_in(3)) {
      world.pass(static_cast<Millis>(chance.below(400)));
      world.turn();
      for (const auto& peer : peers_) peer->settle();
    }
    if (chance.one_in(12)) act_as_server();
    if (setting.is_late) answer_some();
    if (setting.is_taken_over && chance.one_in(15)) take_over();
  }
  if (problems.empty()) {
    answer_all();
    for (int round = 0; round < 3; ++round) {
      for (const auto& peer : peers_) peer->finish();
      world.run();
      for (const auto& peer : peers_) peer->settle();
      world.run();
    }
    check_places();
    check_streams();
  }
  for (const auto& peer : peers_) peer->stop();
  world.run();
  if (!problems.empty()) return problems;
  const Ledger after = world.ledger();
  if (!after.is_balanced()) complain("the ledger does not balance");
  // Accounts of clients that stayed behind ended with the process that had them.
  if (const std::string unlike = world.metrics_unlike(after); !unlike.empty() && counts["left behind"] == 0)
    complain(unlike);
  for (const LedgerRow& row : after.rows) {
    if (row.subscriptions != 0) complain(row.channel + ": a subscription is left");
    if (row.account.pending != 0) complain(row.channel + ": something is pending");
    if (const std::size_t left = world.present(row.channel))
      complain(row.channel + ": present: " + std::to_string(left));
  }
  for (const auto& one : world.loops) {
    const SessionCounters& counters = one->counters;
    if (counters.commands_under_way + counters.websocket + counters.emulated() + counters.unidirectional() !=
        0)
      complain("the counters are not zero once all have gone");
  }
  return problems;
}

/// While all is idle: what the server has is what its clients believe.
void ClientStory::check_places() {
  const Ledger ledger = world.ledger();
  if (!ledger.is_balanced()) complain("the ledger does not balance while clients are there");
  for (const LedgerRow& row : ledger.rows) {
    std::set<std::string> believed;
    for (const auto& peer : peers_) {
      if (peer->is_live(row.channel)) believed.insert(peer->client());
    }
    if (row.subscriptions != believed.size())
      complain(row.channel + ": the server has " + std::to_string(row.subscriptions) +
               " subscriptions, its clients believe " + std::to_string(believed.size()));
    if (row.account.pending != 0) complain(row.channel + ": pending when idle");
    std::set<std::string> present;
    world.hub.presence(row.channel, {"", 1'000'000}, [&](const PresenceResult& found) {
      for (const PresenceMember& member : found.members) present.insert(member.client);
    });
    if (present != believed)
      complain(row.channel + ": " + std::to_string(present.size()) + " are present, " +
               std::to_string(believed.size()) + " are subscribed");
  }
  for (const auto& peer : peers_) peer->check_idle();
}

/// The streams have what was published, once; and the peers have what stands in the streams.
void ClientStory::check_streams() {
  std::map<std::int64_t, int> stored;
  for (const std::string channel : {"a", "room", "dl", "tags", "$p", "srv", "api"}) {
    HistoryResult stream;
    HistoryQuery query;
    query.limit = -1;
    world.hub.history(channel, query, [&](const HistoryResult& found) { stream = found; });
    for (const EntryRef& entry : stream.entries) {
      compare(channel, entry->offset, Json::parse(entry->publication.data).dump());
      ++stored[Json::parse(entry->publication.data)["n"]];
    }
    for (const auto& peer : peers_) {
      const auto found = peer->places().find(channel);
      if (found == peer->places().end() || !peer->is_live(channel) || !found->second.has_position) continue;
      const PeerPlace& place = found->second;
      std::vector<Offset> expected;
      for (const EntryRef& entry : stream.entries) {
        const auto& tags = entry->publication.tags;
        const bool is_wanted = !place.has_filter || (!tags.empty() && tags.front().second == "1");
        if (entry->offset > place.from && is_wanted) expected.push_back(entry->offset);
      }
      std::vector<Offset> got = place.received;
      if (!stream.entries.empty()) {  // what is no longer kept is not compared
        const Offset oldest = stream.entries.front()->offset;
        std::erase_if(got, [&](Offset each) { return each < oldest; });
      }
      if (got != expected)
        complain(channel + ": a client behind " + std::to_string(place.from) + " has got " +
                 std::to_string(got.size()) + " publications, the stream has " +
                 std::to_string(expected.size()));
    }
  }
  if (setting.has_small_history) return;
  for (const auto& [number, one] : published) {
    const int times = stored[number];
    const bool is_wrong = times > 1 || (times == 0 && one.is_stored && one.fate == Published::Fate::done) ||
                          (times == 1 && one.fate == Published::Fate::failed);
    if (is_wrong)
      complain(one.channel + ": publication " + std::to_string(number) + " is there " +
               std::to_string(times) + " times, and its publisher was told " +
               (one.fate == Published::Fate::done     ? "that it is"
                : one.fate == Published::Fate::failed ? "that it is not"
                                                      : "nothing"));
  }
}

// ---- a peer: what it does

void Peer::complain(const std::string& what) {
  std::string text =
      "peer " + user_ + " (wire " + std::to_string(link_ ? static_cast<int>(link_->wire) : -1) + "): " + what;
  const std::size_t shown = std::min<std::size_t>(history_.size(), 12);
  for (std::size_t i = history_.size() - shown; i < history_.size(); ++i) text += "\n      " + history_[i];
  story_.complain(text);
}

std::string Peer::new_token() {
  Json claims{{"sub", user_}};
  if (!story_.chance.one_in(4))
    claims["exp"] = story_.wall_s() + 1 + static_cast<std::int64_t>(story_.chance.below(9));
  if (story_.chance.one_in(4)) claims["channels"] = {"srv"};
  return signed_token("secret", claims.dump());
}

Json Peer::connect_request() {
  Json request = Json::object();
  if (story_.setting.has_tokens) {
    request["token"] = new_token();
    if (story_.chance.one_in(20)) {
      request["token"] = signed_token("another", Json{{"sub", user_}}.dump());
      expected_codes_.insert(3'500);
    }
  }
  for (const auto& [channel, place] : places_) {
    if (!place.has_position || (!place.is_by_server && !is_unidirectional(link_->wire))) continue;
    request["subs"][channel] = {{"recover", true}, {"offset", place.offset}, {"epoch", place.epoch}};
  }
  if (is_unidirectional(link_->wire)) {
    for (const std::string& channel : kChannels) {
      const bool is_wanted = story_.chance.one_in(2) && channel != "$p" && !places_.contains(channel);
      if (is_wanted) request["subs"][channel] = Json::object();
    }
  }
  return request;
}

Json Peer::command(const std::string& kind, const std::string& channel, Json body) {
  const std::uint32_t id = link_->next_id++;
  if (!channel.empty()) body["channel"] = channel;
  asked_[id] = {kind, channel, body};
  if (!channel.empty()) asked_[id].subscribed = places_[channel].subscribed;
  Json whole{{"id", id}, {kind, body}};
  history_.push_back("> " + whole.dump().substr(0, 160));
  return whole;
}

void Peer::ask(const std::string& kind, const std::string& channel, Json body) {
  link_->say({command(kind, channel, std::move(body))}, pace());
}

Pace Peer::pace() { return static_cast<Pace>(story_.chance.below(3)); }

bool Peer::has_pending(const std::string& channel, std::string_view kind) const {
  return std::any_of(asked_.begin(), asked_.end(), [&](const auto& each) {
    return each.second.channel == channel && (kind.empty() || each.second.kind == kind);
  });
}

Json Peer::subscribe_command(const std::string& channel) {
  Json body = Json::object();
  PeerPlace& place = places_[channel];
  if (channel == "$p") {
    Json claims{{"sub", story_.setting.has_tokens ? user_ : ""}, {"channel", "$p"}};
    if (!story_.chance.one_in(3))
      claims["exp"] = story_.wall_s() + 1 + static_cast<std::int64_t>(story_.chance.below(8));
    body["token"] = signed_token("secret", claims.dump());
  }
  if (channel == "dl" && story_.chance.one_in(2)) body["delta"] = "fossil";
  if (channel == "tags" && (place.has_position ? place.has_filter : story_.chance.one_in(2)))
    body["tf"] = {{"key", "k"}, {"cmp", "eq"}, {"val", "1"}};
  if (place.has_position) {
    body.update({{"recover", true}, {"offset", place.offset}, {"epoch", place.epoch}});
  } else {
    body["recoverable"] = body["positioned"] = true;
  }
  return command("subscribe", channel, std::move(body));
}

void Peer::begin(bool is_final) {
  SeededRandom& chance = story_.chance;
  const auto wire = static_cast<Wire>(chance.below(kWires));
  link_ = std::make_unique<PeerLink>(story_.world, wire, chance.below(story_.world.loops.size()));
  ++story_.counts["wire " + std::to_string(static_cast<int>(wire))];
  history_.clear();
  asked_.clear();
  expected_codes_ = {3'001};  // a takeover that it has met while it was connecting
  client_.clear();
  answered_pings_ = 0;
  end_ms_ = 0;
  is_end_known_ = true;
  is_renewable_ = false;
  is_refused_ = false;
  is_mute_ = !is_final && chance.one_in(15);
  has_been_tight_ = false;
  for (auto& [channel, place] : places_) {
    place.is_live = false;
    place.base.clear();
    place.end_ms = 0;
  }
  link_->on_message = [this](const Json& message) { on_message(message); };
  if (story_.setting.is_tight && !is_final && chance.one_in(2)) {
    link_->kernel().most = 1 + chance.below(400);
    has_been_tight_ = true;
  }
  request_ = connect_request();
  asked_[link_->next_id] = {"connect", "", request_};
  if (is_unidirectional(wire)) asked_.clear();
  history_.push_back("> connect " + request_.dump().substr(0, 200));
  std::vector<Json> behind;
  if (!is_unidirectional(wire)) {
    ++link_->next_id;  // of the connect
    for (const std::string& channel : kChannels) {
      if (chance.one_in(3) && !(channel == "$p" && !story_.setting.has_tokens))
        behind.push_back(subscribe_command(channel));
    }
    link_->next_id = 1;
  }
  const std::uint32_t next = 2 + static_cast<std::uint32_t>(behind.size());
  link_->open(request_, behind);
  link_->next_id = next;
}

void Peer::settle() {
  if (!link_) return;
  link_->send_rest();
  if (!is_mute_ && link_->pings_seen > answered_pings_) {
    answered_pings_ = link_->pings_seen;
    link_->answer_ping();
    ++story_.counts["pings"];
  }
  for (const std::string& fault : std::exchange(link_->faults, {})) complain(fault);
}

void Peer::step() {
  SeededRandom& chance = story_.chance;
  settle();
  if (!link_ || link_->is_over() || is_refused_) {
    stop();
    return begin(false);
  }
  if (chance.one_in(14)) return stop();
  if (story_.setting.is_tight && chance.one_in(8)) {
    has_been_tight_ = true;
    link_->kernel().room = chance.one_in(2) ? Kernel::kAll : chance.below(300);
  }
  if (is_unidirectional(link_->wire)) return;
  for (std::uint64_t i = 1 + chance.below(3); i > 0; --i) act();
}

void Peer::act() {
  SeededRandom& chance = story_.chance;
  const std::string& channel = kChannels[chance.below(kChannels.size())];
  if (channel == "$p" && !story_.setting.has_tokens) return;
  PeerPlace& place = places_[channel];
  switch (chance.below(12)) {
    case 0:
    case 1:
    case 2:
    case 3:
      if (!place.is_live && !has_pending(channel)) {
        link_->say({subscribe_command(channel)}, pace());
      } else if (place.is_live && !place.is_by_server && !has_pending(channel, "unsubscribe") &&
                 chance.one_in(2)) {
        ask("unsubscribe", channel, {});
      } else if (has_pending(channel, "subscribe") && chance.one_in(2)) {
        for (auto& [id, each] : asked_) {
          if (each.channel != channel || each.kind != "subscribe") continue;
          each.is_cancelled = true;
          ++story_.counts["cancelled"];
        }
        ask("unsubscribe", channel, {});
      }
      break;
    case 4:
    case 5: {
      const Json payload = story_.new_payload(channel);
      story_.published[payload["n"]].is_stored = channel != "live";
      ask("publish", channel, {{"data", payload}});
      break;
    }
    case 6:
      ask("presence", channel, {});
      break;
    case 7:
      ask("presence_stats", channel, {});
      break;
    case 8:
      ask("history", channel, {{"limit", 1 + chance.below(20)}, {"reverse", chance.one_in(2)}});
      break;
    case 9:
      ask("rpc", "",
          {{"method", chance.one_in(3) ? "carillon.inbox" : "unknown"},
           {"data", {{"q", chance.below(1'000'000)}}}});
      break;
    case 10:
      if (is_renewable_ && !has_pending("", "connect")) ask("refresh", "", {{"token", new_token()}});
      break;
    case 11: {
      if (channel != "$p" || !place.is_live || place.end_ms == 0) break;
      const Json claims{{"sub", user_},
                        {"channel", "$p"},
                        {"exp", story_.wall_s() + 1 + static_cast<std::int64_t>(chance.below(8))}};
      ask("sub_refresh", channel, {{"token", signed_token("secret", claims.dump())}});
      break;
    }
    default:
      break;
  }
}

void Peer::finish() {
  if (link_) {
    if (std::exchange(is_mute_, false)) expected_codes_.insert(3'012);
    if (link_->socket != nullptr) link_->kernel() = {};
    story_.world.run();
    settle();
  }
  if (link_ && !link_->is_over() && !is_refused_) return;
  stop();
  begin(true);
}

void Peer::stop() {
  if (!link_) return;
  check_goodbye();
  link_->hang_up();
  link_.reset();
  client_.clear();
  for (auto& [channel, place] : places_) place.is_live = false;
}

void Peer::check_goodbye() {
  if (!link_->is_over()) return;
  const std::optional<int> code = link_->goodbye();
  if (!code) {
    if (!has_been_tight_) complain("the connection ended without a word");
    return;
  }
  ++story_.counts["code " + std::to_string(*code)];
  const std::int64_t now_ms = story_.world.clock.wall_ms();
  switch (*code) {
    case 3'005:
      if (has_pending("", "refresh")) return;  // its new token was late
      if (is_end_known_ && !client_.empty() && !has_been_tight_ &&
          (end_ms_ == 0 || now_ms < end_ms_ + kDelayMs - kLatenessMs))
        complain("expired before its time");
      return;
    case 3'004:  // of a connect: nobody has decided, or the store has not answered; or 1000 of a hook
      if (!story_.setting.is_late) complain("closed with 3004");
      return;
    case 3'008:  // its commands waited for answers
      if (!story_.setting.is_late && !story_.setting.is_tight) complain("closed with 3008");
      return;
    case 3'010:
      if (!story_.setting.has_small_history && !story_.setting.has_tokens) complain("closed with 3010");
      return;
    case 3'012:
      if (!is_mute_ && !has_been_tight_ && !expected_codes_.contains(3'012))
        complain("closed with 3012 although it answers");
      return;
    case 3'006:
    case 4'003:
    case 4'004:
    case 4'005:
    case 4'006:
    case 4'007:
    case 4'501:
      if (!story_.setting.is_late) complain("closed by nobody");
      return;
    case 3'501:  // it has sent commands before it heard that its connect is refused
      if (!is_refused_) complain("closed with 3501");
      return;
    case 3'507:
      if (!story_.setting.is_late) complain("closed with 3507");
      return;
    default:
      if (!expected_codes_.contains(*code)) complain("closed with " + std::to_string(*code));
  }
}

void Peer::check_idle() {
  if (!link_ || link_->is_over() || is_refused_) return;
  for (const auto& [id, each] : asked_) {
    if (!each.is_cancelled) complain("never answered: " + each.kind + " " + std::to_string(id));
  }
  const std::int64_t now_ms = story_.world.clock.wall_ms();
  if (is_end_known_ && end_ms_ > 0 && now_ms > end_ms_ + kDelayMs + kLatenessMs)
    complain("it outlives its end");
  for (const auto& [channel, place] : places_) {
    if (place.is_live && place.end_ms > 0 && now_ms > place.end_ms + kDelayMs + kLatenessMs)
      complain(channel + " outlives its end");
  }
}

// ---- a peer: what it is told

void Peer::on_message(const Json& message) {
  history_.push_back("< " + message.dump().substr(0, 200));
  if (message.contains("id")) return on_reply(message["id"], message);
  if (!message.contains("push")) return complain("neither a reply nor a push");
  on_push(message["push"]);
}

void Peer::on_reply(std::uint32_t id, const Json& reply) {
  const auto found = asked_.find(id);
  if (found == asked_.end()) return complain("a reply that was not asked for, or comes twice");
  for (auto before = asked_.begin(); before != found; ++before) {
    const PeerQuestion& each = before->second;
    const bool is_of_lane = each.kind != "refresh" && found->second.kind != "refresh";
    if (each.kind == "connect" || (is_of_lane && each.channel == found->second.channel && !each.is_cancelled))
      complain("the answer to " + found->second.kind + " " + std::to_string(id) + " comes before that to " +
               each.kind);
  }
  const PeerQuestion asked = found->second;
  asked_.erase(found);
  if (asked.kind == "unsubscribe") {  // and what it has cancelled is over
    std::erase_if(asked_, [&](const auto& each) {
      return each.first < id && each.second.is_cancelled && each.second.channel == asked.channel;
    });
  }
  ++story_.counts["replies"];
  if (reply.contains("error")) {
    const int code = reply["error"].value("code", 0);
    ++story_.counts["error " + std::to_string(code)];
    static const std::map<std::string, std::set<int>> kErrors{{"connect", {103, 109, 110, 1'000}},
                                                              {"subscribe", {103, 105, 109, 110}},
                                                              {"publish", {103}},
                                                              {"rpc", {103, 104, 108}},
                                                              {"refresh", {108, 109, 110}},
                                                              {"sub_refresh", {103, 109, 110}},
                                                              {"history", {108}}};
    const auto allowed = kErrors.find(asked.kind);
    const bool is_undecided = code == 100 && story_.setting.is_late;
    if (!is_undecided && (allowed == kErrors.end() || !allowed->second.contains(code)))
      complain("error " + std::to_string(code) + " to " + asked.kind);
    if (asked.kind == "publish") {
      auto& one = story_.published[asked.body["data"]["n"]];
      if (code != 100 || !story_.setting.is_late) one.fate = ClientStory::Published::Fate::failed;
    }
    if (asked.kind == "connect") is_refused_ = true;  // nothing more of its message is read
    return;
  }
  if (!reply.contains(asked.kind)) return complain("another kind of reply than to " + asked.kind);
  const Json& result = reply[asked.kind];
  if (asked.kind == "connect") {
    on_connected(result);
  } else if (asked.kind == "subscribe") {
    PeerPlace& place = places_[asked.channel];
    if (place.subscribed != asked.subscribed && asked.body.value("recover", false)) {
      place.offset = place.from =
          asked.body["offset"];  // the server had subscribed it meanwhile, for a moment
      place.received.clear();
    }
    on_subscribed(asked.channel, asked.body, result, false);
  } else if (asked.kind == "unsubscribe") {
    places_[asked.channel].is_live = false;
  } else if (asked.kind == "publish") {
    story_.published[asked.body["data"]["n"]].fate = ClientStory::Published::Fate::done;
  } else if (asked.kind == "history") {
    on_history(asked.channel, asked.body, result);
  } else if (asked.kind == "rpc") {
    const Json& data = result["data"];
    const Json answer = data.is_string() ? Json::parse(data.get<std::string>()) : data;
    if (asked.body["method"] == "unknown" && answer != asked.body["data"])
      complain("the answer to another call");
  } else if (asked.kind == "presence" || asked.kind == "presence_stats") {
    const bool is_there = asked.kind == "presence"
                              ? result.value("presence", Json::object()).contains(client_)
                              : result.value("num_clients", 0) > 0;
    if (is_live(asked.channel) && !is_there)
      complain("it is subscribed to " + asked.channel + ", and not present");
  } else if (asked.kind == "refresh") {
    set_end(result);
    ++story_.counts["refreshes"];
  } else if (asked.kind == "sub_refresh") {
    set_end(places_[asked.channel], result);
    ++story_.counts["sub_refreshes"];
  }
}

/// `ttl` is rounded down, but never to 0.
void Peer::set_end(PeerPlace& place, const Json& result) {
  const auto ttl_s = result.value("ttl", std::int64_t{0});
  place.is_about_to_end = ttl_s == 1;
  place.end_ms = ttl_s > 0 ? story_.world.clock.wall_ms() + ttl_s * 1'000 + 1'000 : 0;
}

void Peer::set_end(const Json& result) {
  is_renewable_ = result.contains("ttl");
  is_end_known_ = result.value("ttl", 0) > 1;
  end_ms_ = is_renewable_ ? story_.world.clock.wall_ms() + result["ttl"].get<std::int64_t>() * 1'000 : 0;
}

void Peer::on_connected(const Json& result) {
  if (!client_.empty()) complain("connected twice");
  client_ = result.value("client", "");
  if (client_.empty()) complain("it has no id");
  set_end(result);
  std::set<std::string> there;
  const Json subs = result.value("subs", Json::object());
  for (const auto& [channel, each] : subs.items()) {
    there.insert(channel);
    const Json wish = request_.value("subs", Json::object()).value(channel, Json::object());
    on_subscribed(channel, wish, each, true);
  }
  for (auto& [channel, place] : places_) {  // those of the server that are not there are over
    if (!there.contains(channel)) place.is_by_server = false;
  }
  ++story_.counts["connects"];
}

void Peer::on_subscribed(const std::string& channel, const Json& request, const Json& result,
                         bool is_by_server) {
  PeerPlace& place = places_[channel];
  if (place.is_live) return complain(channel + ": subscribed twice");
  place.is_live = true;
  ++place.subscribed;
  place.is_by_server = is_by_server;
  place.has_delta = result.value("delta", false);
  const bool had_filter = std::exchange(place.has_filter, request.contains("tf"));
  place.base.clear();
  set_end(place, result);
  if (result.contains("data")) {
    const Json& data = result["data"];
    const Json told = data.is_string() ? Json::parse(data.get<std::string>()) : data;
    if (told.value("for", "") != channel) complain(channel + " has the data of another one");
  }
  const bool has_recovered = result.value("recovered", false);
  const bool is_recovering = request.value("recover", false);
  if (is_recovering != result.value("was_recovering", false)) complain(channel + ": was_recovering is wrong");
  if (!result.value("positioned", false)) {
    place.has_position = false;
    if (channel != "live") complain(channel + " has no position");
    return;
  }
  const Offset offset = result.value("offset", Offset{0});
  if (has_recovered) {
    ++story_.counts["recoveries"];
    if (offset != request["offset"].get<Offset>()) complain(channel + ": recovered from elsewhere");
    if (offset != place.offset) complain(channel + ": recovered behind what it asked for");
    if (had_filter != place.has_filter) {  // from here on it wants others
      place.from = offset;
      place.received.clear();
    }
  } else {
    if (is_recovering && !story_.setting.has_small_history) complain(channel + ": lost although all is kept");
    if (is_recovering) ++story_.counts["losses"];
    place.offset = place.from = offset;
    place.received.clear();
  }
  place.has_position = true;
  place.epoch = result.value("epoch", "");
  for (const Json& each : result.value("publications", Json::array())) take(channel, place, each);
}

void Peer::on_push(const Json& push) {
  if (push.contains("connect")) return on_connected(push["connect"]);
  if (push.contains("disconnect")) return;
  if (client_.empty()) return complain("a push before the connect is answered");
  if (push.contains("refresh")) {
    set_end(push["refresh"]);
    return;
  }
  const std::string channel = push.value("channel", "");
  if (push.contains("subscribe")) return on_subscribed(channel, Json::object(), push["subscribe"], true);
  const auto found = places_.find(channel);
  if (found == places_.end() || !found->second.is_live)
    return complain("a push of " + channel + " without a subscription");
  PeerPlace& place = found->second;
  if (push.contains("unsubscribe")) {
    const int code = push["unsubscribe"].value("code", 0);
    ++story_.counts["unsubscribe " + std::to_string(code)];
    place.is_live = false;
    const bool is_right = code == 2'000 || (code == 2'500 && story_.setting.has_small_history) ||
                          (code == 2'501 && (place.end_ms > 0 || story_.setting.is_late));
    if (!is_right) complain(channel + ": unsubscribed with " + std::to_string(code));
    if (code == 2'501 && place.end_ms > 0 && !place.is_about_to_end && !has_been_tight_ &&
        story_.world.clock.wall_ms() < place.end_ms - 1'000 + kDelayMs - kLatenessMs)
      complain(channel + ": expired before its time");
    place.is_by_server = false;
    return;
  }
  if (push.contains("pub")) return take(channel, place, push["pub"]);
  if (push.contains("join") || push.contains("leave")) {
    if (channel != "room") complain("a notice of " + channel);
    ++story_.counts["notices"];
    return;
  }
  complain("an unknown push");
}

std::string Peer::text_of(PeerPlace& place, const Json& publication) {
  // With deltas the data is a text in JSON as well; in Protobuf it always is.
  const Json& data = publication["data"];
  if (!place.has_delta && !has_protobuf(link_->wire)) return data.dump();
  std::string text = data.get<std::string>();
  if (publication.value("delta", false)) {
    const std::optional<std::string> made = apply_fossil(place.base, text);
    if (!made) {
      complain("a delta to something else");
      return R"({"n":-1})";
    }
    text = *made;
    ++story_.counts["deltas"];
  }
  if (place.has_delta) place.base = text;
  return text;
}

void Peer::take(const std::string& channel, PeerPlace& place, const Json& publication) {
  ++story_.counts["publications"];
  const std::string text = text_of(place, publication);
  if (!Json::accept(text)) return complain(channel + ": not what was published: " + text);
  const Offset offset = publication.value("offset", Offset{0});
  const std::int64_t now_ms = story_.world.clock.wall_ms();
  if (!has_been_tight_ && is_end_known_ && end_ms_ > 0 && now_ms > end_ms_ + kDelayMs + 1'000 + kLatenessMs)
    complain("served beyond its end");
  if (!has_been_tight_ && place.end_ms > 0 && now_ms > place.end_ms + kDelayMs + kLatenessMs)
    complain(channel + ": served beyond its end");
  if (offset == 0) return;  // it is not stored
  if (!place.has_position) return complain(channel + ": a position that was not announced");
  const bool is_next = offset == place.offset + 1 || (place.has_filter && offset > place.offset);
  if (!is_next)
    complain(channel + ": " + std::to_string(offset) + " comes behind " + std::to_string(place.offset));
  story_.compare(channel, offset, text);
  place.offset = offset;
  place.received.push_back(offset);
}

void Peer::on_history(const std::string& channel, const Json& request, const Json& result) {
  std::optional<Offset> last;
  for (const Json& each : result.value("publications", Json::array())) {
    const std::string text =
        has_protobuf(link_->wire) ? each["data"].get<std::string>() : each["data"].dump();
    const Offset offset = each.value("offset", Offset{0});
    const bool is_reverse = request.value("reverse", false);
    if (last && offset != (is_reverse ? *last - 1 : *last + 1)) complain(channel + ": the history has a gap");
    last = offset;
    story_.compare(channel, offset, text);
  }
}

// ---- the tests

struct ClientTotals {
  bool is_replay = false;
  std::map<std::string, std::uint64_t> counts;
};

ClientTotals play_clients(std::uint64_t offset, std::uint64_t stories, ClientSetting setting) {
  const auto [first, count, is_replay] = seeds_to_play(stories, offset);
  ClientTotals totals{.is_replay = is_replay};
  std::uint64_t failed = 0;
  for (std::uint64_t seed = first; seed < first + count && failed < 3; ++seed) {
    SCOPED_TRACE("CARILLON_SEED=" + std::to_string(seed));  // for what the world itself complains of
    setting.seed = seed;
    ClientStory story(setting);
    const std::vector<std::string> problems = story.play();
    for (const auto& [what, times] : story.counts) totals.counts[what] += times;
    if (problems.empty()) continue;
    ++failed;
    std::string text;
    for (const std::string& problem : problems) text += "\n  " + problem;
    ADD_FAILURE() << "CARILLON_SEED=" << seed << text;
  }
  if (is_replay || std::getenv("CARILLON_COUNTS") != nullptr) {
    for (const auto& [what, times] : totals.counts)
      std::printf("  %s: %llu\n", what.c_str(), static_cast<unsigned long long>(times));
  }
  return totals;
}

/// Each of these has happened so often, counted for the usual number of stories: the tests are not idle.
void expect_some(const ClientTotals& totals, const std::vector<std::string>& what, std::uint64_t least) {
  if (totals.is_replay || share_of_seeds(100) < 100) return;  // a few stories say nothing
  for (const std::string& each : what) {
    const auto found = totals.counts.find(each);
    EXPECT_GE(found == totals.counts.end() ? 0 : found->second, share_of_seeds(least)) << each;
  }
}

TEST(ClientMachine, KeepsItsWordInEveryEncodingOverEveryTransport) {
  expect_some(play_clients(300'000, 100, {}),
              {"wire 0", "wire 1", "wire 2", "wire 3", "wire 4", "wire 5", "wire 6", "wire 7", "connects",
               "replies", "publications", "deltas", "recoveries", "notices", "pings", "unsubscribe 2000"},
              50);
  expect_some(play_clients(310'000, 100, {.has_tokens = true}),
              {"code 3005", "unsubscribe 2501", "sub_refreshes", "refreshes", "code 3500"}, 1);
}

TEST(ClientMachine, KeepsItsWordToClientsWhoseKernelsTakeWhatTheyLike) {
  play_clients(320'000, 50, {.is_tight = true});
  expect_some(play_clients(330'000, 50, {.has_small_history = true, .has_tokens = true, .is_tight = true}),
              {"unsubscribe 2500", "losses", "code 3010"}, 1);
}

TEST(ClientMachine, KeepsItsWordWhenAnswersComeLateOrNever) {
  expect_some(play_clients(340'000, 100, {.is_late = true}),
              {"late answers", "undecided", "error 1000", "error 103", "cancelled", "renewals"}, 1);
  play_clients(350'000, 50, {.has_tokens = true, .is_late = true, .is_tight = true});
}

TEST(ClientMachine, KeepsItsWordOverTakeovers) {
  expect_some(play_clients(360'000, 50, {.is_taken_over = true}), {"takeovers"}, 100);
  play_clients(370'000, 50, {.has_tokens = true, .is_taken_over = true, .is_tight = true});
  expect_some(play_clients(380'000, 50, {.has_tokens = true, .is_late = true, .is_taken_over = true}),
              {"takeovers", "left behind"}, 50);
  play_clients(390'000, 50,
               {.has_small_history = true,
                .has_tokens = true,
                .is_late = true,
                .is_taken_over = true,
                .is_tight = true});
}

}  // namespace
}  // namespace carillon::testing
