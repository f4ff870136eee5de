#include <nlohmann/json.hpp>
#include <utility>

#include "protocol/ws_frame.hpp"
#include "sim/subscriber.hpp"

namespace carillon::sim {

namespace {

using Json = nlohmann::json;

/// The Centrifuge protocol in JSON over a WebSocket, as SDKs speak it (protocol.md sections 2 to 8).
class WebSocketSubscriber final : public Subscriber {
 public:
  /// `user`: whose inbox it reads; empty: it has none.
  WebSocketSubscriber(Surroundings& surroundings, Judge& judge,
                      std::vector<std::unique_ptr<Gateway>>& gateways, std::string name,
                      std::vector<std::string> channels, std::string user)
      : Subscriber(surroundings, judge, gateways, std::move(name), std::move(channels)),
        user_(std::move(user)) {}

  bool read_inbox(std::size_t limit, const InboxShown& done) override {
    if (user_.empty() || !is_connected_) return false;
    const std::uint32_t id = next_id_++;
    called_[id] = done;
    command(Json{{"id", id}, {"rpc", {{"method", "carillon.inbox"}, {"data", {{"limit", limit}}}}}});
    return true;
  }

 private:
  static constexpr std::uint32_t kConnectId = 1;

  void on_connected() override {
    is_upgraded_ = false;
    next_id_ = kConnectId + 1;
    asked_.clear();
    called_.clear();
    send("GET /connection/websocket" + (user_.empty() ? user_ : "?user=" + user_) +
         " HTTP/1.1\r\nHost: localhost:8000\r\nConnection: Upgrade\r\n"
         "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
         "dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    command(Json{{"id", kConnectId}, {"connect", Json::object()}});
    later(5'000'000, [this] {
      if (!is_connected_) reconnect(0);
    });
    is_connected_ = false;
  }

  void command(const Json& json) {
    std::string frame;
    append_ws_client_frame(frame, WsOpcode::text, true, static_cast<std::uint32_t>(chance_.next()),
                           json.dump());
    send(frame);
  }

  void subscribe(const std::string& channel) {
    Json request{{"channel", channel}};
    if (const Position* position = position_of(channel))
      request.update({{"recover", true}, {"epoch", position->epoch}, {"offset", position->offset}});
    const std::uint32_t id = next_id_++;
    asked_[id] = channel;
    command(Json{{"id", id}, {"subscribe", std::move(request)}});
  }

  void on_text(std::string& pending) override {
    if (!is_upgraded_) {
      const std::size_t end = pending.find("\r\n\r\n");
      if (end == std::string::npos) return;
      if (!pending.starts_with("HTTP/1.1 101 ")) return reconnect(0);
      pending.erase(0, end + 4);
      is_upgraded_ = true;
    }
    while (pending.size() >= 2) {
      const auto opcode = static_cast<unsigned>(static_cast<unsigned char>(pending[0]) & 0x0FU);
      std::size_t length = static_cast<unsigned char>(pending[1]);
      std::size_t header = 2;
      if (length >= 126) {
        const std::size_t width = length == 126 ? 2 : 8;
        header += width;
        if (pending.size() < header) return;
        length = 0;
        for (std::size_t i = 2; i < header; ++i)
          length = length << 8U | static_cast<unsigned char>(pending[i]);
      }
      if (pending.size() < header + length) return;
      const std::string payload = pending.substr(header, length);
      pending.erase(0, header + length);
      if (opcode == 8) return reconnect(0);
      if (opcode != 1) continue;
      if (!on_message(payload)) return;  // it has reconnected
    }
  }

  bool on_message(std::string_view payload) {
    while (!payload.empty()) {
      const std::size_t end = std::min(payload.find('\n'), payload.size());
      const Json reply = Json::parse(payload.substr(0, end));
      payload.remove_prefix(std::min(end + 1, payload.size()));
      if (!on_reply(reply)) return false;
    }
    return true;
  }

  bool on_reply(const Json& reply) {
    if (reply.empty()) {
      command(Json::object());
      return true;
    }
    if (const auto push = reply.find("push"); push != reply.end()) return on_push(*push);
    const std::uint32_t id = reply.value("id", 0U);
    if (id == kConnectId) {
      if (!reply.contains("connect")) {
        reconnect(0);
        return false;
      }
      is_connected_ = true;
      for (const std::string& channel : channels()) subscribe(channel);
      return true;
    }
    if (const auto called = called_.find(id); called != called_.end()) {
      const InboxShown done = std::move(called->second);
      called_.erase(called);
      if (const auto answer = reply.find("rpc"); answer != reply.end()) done(shown(answer->at("data")));
      return true;
    }
    const auto asked = asked_.find(id);
    if (asked == asked_.end()) return true;
    const std::string channel = asked->second;
    asked_.erase(asked);
    const auto subscribed = reply.find("subscribe");
    if (subscribed == reply.end()) {
      later(chance_.between(100'000, 600'000), [this, channel] { subscribe(channel); });
      return true;
    }
    Judge::Start start;
    start.epoch = subscribed->value("epoch", "");
    start.offset = subscribed->value("offset", std::uint64_t{0});
    if (subscribed->value("was_recovering", false)) start.recovered = subscribed->value("recovered", false);
    start_in(channel, start);
    if (const auto missed = subscribed->find("publications"); missed != subscribed->end()) {
      for (const Json& each : *missed) publication(channel, each);
    }
    return true;
  }

  bool on_push(const Json& push) {
    if (push.contains("disconnect")) {
      reconnect(0);
      return false;
    }
    const std::string channel = push.value("channel", "");
    if (const auto published = push.find("pub"); published != push.end()) publication(channel, *published);
    if (push.contains("unsubscribe")) {
      leave_channel(channel);
      later(chance_.between(1'000, 200'000), [this, channel] { subscribe(channel); });
    }
    return true;
  }

  [[nodiscard]] static ShownInbox shown(const Json& answer) {
    ShownInbox inbox;
    inbox.has_more = answer.value("has_more", false);
    for (const Json& each : answer.at("items")) {
      ShownInbox::Item item{each.value("channel", ""), each.value("epoch", "")};
      if (const auto gap = each.find("gap"); gap != each.end()) {
        item.first = gap->value("from", std::uint64_t{0});
        item.last = gap->value("to", std::uint64_t{0});
      } else {
        item.first = item.last = each.value("offset", std::uint64_t{0});
        item.data = each.at("data").dump();
      }
      inbox.items.push_back(std::move(item));
    }
    return inbox;
  }

  void publication(const std::string& channel, const Json& publication) {
    take(channel, publication.value("offset", std::uint64_t{0}), publication.at("data").dump());
  }

  const std::string user_;
  bool is_upgraded_ = false;
  bool is_connected_ = false;
  std::uint32_t next_id_ = kConnectId + 1;
  std::map<std::uint32_t, std::string> asked_;  // subscribes by their ids
  std::map<std::uint32_t, InboxShown> called_;  // the same of reads of the inbox
};

}  // namespace

std::unique_ptr<Subscriber> make_websocket_subscriber(Surroundings& surroundings, Judge& judge,
                                                      std::vector<std::unique_ptr<Gateway>>& gateways,
                                                      std::string name, std::vector<std::string> channels,
                                                      std::string user) {
  return std::make_unique<WebSocketSubscriber>(surroundings, judge, gateways, std::move(name),
                                               std::move(channels), std::move(user));
}

}  // namespace carillon::sim
