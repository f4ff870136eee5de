#include "server/takeover.hpp"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <set>
#include <shared_mutex>
#include <thread>
#include <utility>
#include <vector>

#include "gateway/thread_name.hpp"

namespace carillon {

namespace {

/// Messages, in the order in which they are sent. The bodies of the first two are texts.
enum Message : std::uint32_t {
  kAsk = 1,      ///< of the new process: "<oldest format> <newest format> <version>"
  kRefusal = 2,  ///< of the running process: the reason
  kEntries = 5,  ///< entries of the logs, in several messages
  /// With the descriptors: of both listening sockets, then of the connections, then of further listeners.
  kSnapshot = 3,
  kTaken = 4,  ///< of the new process: it has everything
};

/// Both processes wait for each other: a message that has not come by then will not come.
constexpr auto kAskTime = std::chrono::seconds(2);

/// Of entries that go ahead.
constexpr std::size_t kMessageBytes = 4 * 1024 * 1024;

HandoverChannel::Time in(Millis ms) {
  return std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
}

/// Callers that come in a loop keep readers in front: no wait for them is without an end.
std::unique_lock<std::shared_mutex> lock_gate(std::shared_mutex& gate, HandoverChannel::Time until) {
  std::unique_lock shut(gate, std::defer_lock);
  while (!shut.try_lock()) {
    if (std::chrono::steady_clock::now() >= until)
      throw HandoverRefused(
          "calls from other threads left no moment for it (takeover.timeout_ms); try again");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return shut;
}

/// The part of the text up to the next space.
std::string_view next_word(std::string_view& text) {
  const std::string_view word = text.substr(0, text.find(' '));
  text.remove_prefix(std::min(text.size(), word.size() + 1));
  return word;
}

std::uint32_t number_of(std::string_view word) {
  std::uint32_t number = 0;
  std::from_chars(word.data(), word.data() + word.size(), number);
  return number;
}

}  // namespace

std::string Takeover::path() const {
  if (!parts_.config.takeover_socket.empty()) return parts_.config.takeover_socket;
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  const std::string directory = runtime != nullptr && *runtime != '\0' ? runtime : "/tmp";
  const std::uint16_t port =
      parts_.gateway.port() != 0 ? parts_.gateway.port() : static_cast<std::uint16_t>(parts_.config.port);
  return directory + "/carillon-" + std::to_string(::geteuid()) + "-" + std::to_string(port) + ".sock";
}

void Takeover::tell(LogLevel level, std::string_view event, std::string message) const {
  parts_.tell({level, event, std::move(message)});
}

// ---- the running process

void Takeover::offer() {
  if (!listener_) listener_ = std::make_unique<HandoverListener>(path());
  thread_ = std::thread([this] {
    name_this_thread("carillon-hand");
    serve();
  });
}

void Takeover::withdraw() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    is_withdrawn_ = true;
    if (channel_ != nullptr) channel_->abort();
  }
  listener_->stop();
  thread_.join();
  if (!given_away()) listener_->remove_path();  // else it belongs to the other process
}

std::optional<TakeoverReport> Takeover::given_away() const {
  const std::lock_guard lock(mutex_);
  return given_away_;
}

void Takeover::serve() {
  while (!given_away()) {
    std::optional<HandoverChannel> channel = listener_->accept();
    if (!channel) return;
    {
      const std::lock_guard lock(mutex_);
      if (is_withdrawn_) return;
      channel_ = &*channel;
    }
    try {
      hand_over(*channel);
    } catch (const std::exception& error) {
      tell(LogLevel::warning, "takeover_failed",
           std::string("a takeover has failed, and this server continues: ") + error.what());
    }
    const std::lock_guard lock(mutex_);
    channel_ = nullptr;
  }
}

void Takeover::hand_over(HandoverChannel& channel) {
  const HandoverMessage ask = channel.receive(std::chrono::steady_clock::now() + kAskTime);
  std::string_view words = ask.body;
  const std::uint32_t oldest = number_of(next_word(words));
  const std::uint32_t newest = number_of(next_word(words));
  const std::string version(next_word(words));
  std::string refusal;
  if (ask.kind != kAsk || kSnapshotFormat < oldest || kSnapshotFormat > newest) {
    refusal = "it writes format " + std::to_string(kSnapshotFormat) + " of the hand-over, and version " +
              version + " reads " + std::to_string(oldest) + " to " + std::to_string(newest) +
              ": let its clients leave (SIGTERM) and start the new version then";
  } else {
    refusal = parts_.gateway.why_not_given_away();
  }
  if (!refusal.empty()) return refuse(channel, refusal);
  TakeoverReport report;
  report.process = channel.peer_process();
  SentEntries sent;
  send_ahead(channel, sent);
  bool is_taken = false;
  try {
    is_taken = try_hand_over(channel, sent, report);
  } catch (const HandoverRefused& refused) {
    return refuse(channel, refused.what());
  }
  if (!is_taken) {
    const std::string who = "process " + std::to_string(report.process) + " (version " + version + ")";
    const bool is_late = report.pause_ms >= parts_.config.takeover_timeout_ms;
    throw HandoverError(who +
                        (is_late ? " has not taken over within takeover.timeout_ms"
                                 : " gave up or died, and its own log says why") +
                        "; nobody was served for " + std::to_string(report.pause_ms) + " ms");
  }
  const std::string text = "handed over to process " + std::to_string(report.process) + " (version " +
                           version + "): " + std::to_string(report.connections) +
                           " connections, which paused for " + std::to_string(report.pause_ms) + " ms";
  const std::string rest =
      report.left_behind == 0 ? "" : "; asked to reconnect: " + std::to_string(report.left_behind);
  parts_.tell({LogLevel::info,
               "handed_over",
               text + rest,
               {{"other_process", report.process},
                {"connections", static_cast<std::int64_t>(report.connections)},
                {"left_behind", static_cast<std::int64_t>(report.left_behind)},
                {"pause_ms", report.pause_ms}}});
  const std::lock_guard lock(mutex_);
  given_away_ = report;
}

void Takeover::refuse(HandoverChannel& channel, const std::string& why) const {
  tell(LogLevel::warning, "takeover_refused",
       "process " + std::to_string(channel.peer_process()) + " may not take over: " + why);
  channel.send(kRefusal, why, {}, std::chrono::steady_clock::now() + kAskTime);
}

void Takeover::send_ahead(HandoverChannel& channel, SentEntries& sent) const {
  std::string message;
  const auto send = [&] {
    channel.send(kEntries, message, {}, in(parts_.config.takeover_timeout_ms));
    message.clear();
  };
  for (EntryRef& entry : parts_.hub.entries()) {
    encode_entry(message, *entry);
    sent.add(std::move(entry));
    if (message.size() >= kMessageBytes) send();
  }
  if (!message.empty()) send();
}

std::unique_ptr<HeldStore> Takeover::hold_store(HandoverChannel::Time until) const {
  try {
    return parts_.store.hold_still(until);
  } catch (const StoreRefused& refused) {
    throw HandoverRefused(refused.what());
  }
}

bool Takeover::try_hand_over(HandoverChannel& channel, const SentEntries& sent, TakeoverReport& report) {
  const Millis timeout_ms = parts_.config.takeover_timeout_ms;
  const HandoverChannel::Time until = in(timeout_ms);
  const Millis begin_ms = parts_.clock.now_ms();
  parts_.gateway.hold(std::min(parts_.config.takeover_answer_timeout_ms, timeout_ms / 2), until);
  bool is_taken = false;
  try {
    // Publishers on other threads block from here on. Then their publication is stored, or refused.
    const std::unique_lock shut = lock_gate(parts_.gate, until);
    const std::unique_ptr<HeldStore> still = hold_store(until);
    Snapshot snapshot;
    snapshot.process = ::getpid();
    snapshot.held_since_ms = begin_ms;
    std::vector<int> descriptors{listener_->descriptor()};
    std::vector<std::string> left_behind;
    snapshot.gateway = parts_.gateway.save(descriptors, left_behind);
    snapshot.hub = parts_.hub.save();
    snapshot.store = still->save();
    snapshot.keys = parts_.tokens.endpoint_keys();
    const std::set<std::string_view> absent(left_behind.begin(), left_behind.end());
    std::erase_if(snapshot.store.presence,
                  [&](const StoreState::Member& member) { return absent.contains(member.member.client); });
    report.connections = snapshot.gateway.connections.size();
    report.left_behind = left_behind.size();
    snapshot.store.has_descriptor = still->descriptor() >= 0;
    if (snapshot.store.has_descriptor) descriptors.push_back(still->descriptor());
    channel.send(kSnapshot, encode_snapshot(snapshot, sent), descriptors, until);
    is_taken = channel.decide(kTaken, until);
    if (is_taken) still->give_away();
  } catch (...) {
    parts_.gateway.resume();
    throw;
  }
  report.pause_ms = parts_.clock.now_ms() - begin_ms;
  is_taken ? parts_.gateway.give_away() : parts_.gateway.resume();
  return is_taken;
}

// ---- the new process

TakeoverReport Takeover::take() {
  HandoverChannel channel = HandoverChannel::connect(path());
  const std::string ask =
      std::to_string(kOldestSnapshotFormat) + " " + std::to_string(kSnapshotFormat) + " " + parts_.version;
  channel.send(kAsk, ask, {}, std::chrono::steady_clock::now() + kAskTime);
  HandoverMessage message = channel.receive(in(2 * parts_.config.takeover_timeout_ms));
  std::vector<EntryRef> sent;
  while (message.kind == kEntries) {
    decode_entries(message.body, sent);
    message = channel.receive(in(2 * parts_.config.takeover_timeout_ms));
  }
  if (message.kind == kRefusal) throw HandoverError("the running server does not hand over: " + message.body);
  if (message.kind != kSnapshot)
    throw HandoverError("the running server sent something else than a snapshot");

  const Snapshot snapshot = decode_snapshot(message.body, sent);
  const GatewayState& gateway = snapshot.gateway;
  if (gateway.host != parts_.config.host || (parts_.config.port != 0 && gateway.port != parts_.config.port)) {
    throw HandoverError("http_server.address: the running server listens on " + gateway.host + ":" +
                        std::to_string(gateway.port) + ", and the socket moves as it is, not to " +
                        parts_.config.host + ":" + std::to_string(parts_.config.port) +
                        "; give the same address and port");
  }
  const std::size_t of_store = snapshot.store.has_descriptor ? 1 : 0;
  if (message.descriptors.size() != gateway.connections.size() + gateway.further.size() + 2 + of_store) {
    throw HandoverError("the running server sent " + std::to_string(message.descriptors.size()) +
                        " descriptors for " + std::to_string(gateway.connections.size()) + " connections");
  }
  Descriptor listening = std::move(message.descriptors.front());
  message.descriptors.erase(message.descriptors.begin());
  Descriptor of_lock;
  if (of_store > 0) {
    of_lock = std::move(message.descriptors.back());
    message.descriptors.pop_back();
  }
  parts_.store.set_node(gateway.node);
  try {
    parts_.store.restore(snapshot.store, std::move(of_lock));
  } catch (const StoreRefused& refused) {
    throw HandoverError(refused.what());
  }
  parts_.hub.restore(snapshot.hub);
  parts_.gateway.restore(gateway, std::move(message.descriptors));
  const std::size_t endpoints = parts_.tokens.use_until_fetched(snapshot.keys);
  listener_ = std::make_unique<HandoverListener>(std::move(listening));

  // If this throws, the other process goes on, and nothing has been read from or written to a connection
  // here.
  channel.send(kTaken, {}, {}, in(parts_.config.takeover_timeout_ms));
  parts_.store.begin();
  parts_.gateway.run();
  const TakeoverReport report{.process = snapshot.process,
                              .connections = gateway.connections.size(),
                              .pause_ms = parts_.clock.now_ms() - snapshot.held_since_ms};
  const auto connections = static_cast<std::int64_t>(report.connections);
  parts_.tell(
      {LogLevel::info,
       "taken_over",
       "took over from process " + std::to_string(report.process) + ": " + std::to_string(connections) +
           " connections, which paused for " + std::to_string(report.pause_ms) + " ms",
       {{"other_process", report.process}, {"connections", connections}, {"pause_ms", report.pause_ms}}});
  if (endpoints > 0) {
    tell(LogLevel::info, "token_keys",
         "the keys of jwks_public_endpoint have come from process " + std::to_string(report.process) +
             ", and are used until the endpoint answers");
  }
  return report;
}

}  // namespace carillon
