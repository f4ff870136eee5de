#include <nlohmann/json.hpp>
#include <utility>

#include "sim/subscriber.hpp"

namespace carillon::sim {

namespace {

using Json = nlohmann::json;

/// What `/sse` and `/poll` have in common: positions in the URL, statuses, and publications
/// (docs/plain-http.md).
class PlainSubscriber : public Subscriber {
 public:
  using Subscriber::Subscriber;

 protected:
  /// `channel=…&since=…`
  [[nodiscard]] std::string query() {
    std::string text;
    std::string since;
    bool has_any = false;
    for (const std::string& channel : channels()) {
      text.append(text.empty() ? "channel=" : "&channel=").append(channel);
      const Position* const position = position_of(channel);
      has_any = has_any || position != nullptr;
      since.append(since.empty() ? "" : ",");
      since.append(position == nullptr ? "-" : position->epoch + ':' + std::to_string(position->offset));
    }
    return has_any ? text + "&since=" + since : text;
  }
  /// A status says where delivery starts.
  void status(const Json& status) {
    Judge::Start start;
    if (!status.at("recovered").is_null()) start.recovered = status.at("recovered").get<bool>();
    start.epoch = status.value("epoch", "");
    start.offset = status.value("offset", std::uint64_t{0});
    start_in(status.value("channel", ""), start);
  }
  void publication(const Json& publication) {
    take(publication.value("channel", ""), publication.value("offset", std::uint64_t{0}),
         publication.at("data").dump());
  }
};

class SseSubscriber final : public PlainSubscriber {
 public:
  using PlainSubscriber::PlainSubscriber;

 private:
  void on_connected() override {
    has_head_ = false;
    send("GET /sse?" + query() + " HTTP/1.1\r\nHost: localhost:8000\r\n\r\n");
  }
  void on_text(std::string& pending) override {
    if (!has_head_) {
      const std::size_t end = pending.find("\r\n\r\n");
      if (end == std::string::npos) return;
      if (!pending.starts_with("HTTP/1.1 200 ")) return reconnect(0);
      pending.erase(0, end + 4);
      has_head_ = true;
    }
    for (std::size_t end = 0; (end = pending.find("\n\n")) != std::string::npos;) {
      const std::string block = pending.substr(0, end + 1);
      pending.erase(0, end + 2);
      take_block(block);
    }
  }
  void take_block(std::string_view block) {
    bool is_status = false;
    std::string_view data;
    while (!block.empty()) {
      const std::string_view line = block.substr(0, block.find('\n'));
      block.remove_prefix(line.size() + 1);
      if (line == "event: status") is_status = true;
      if (line.starts_with("data: ")) data = line.substr(6);
    }
    if (data.empty()) return;
    const Json json = Json::parse(data);
    is_status ? status(json) : publication(json);
  }

  bool has_head_ = false;
};

class PollSubscriber final : public PlainSubscriber {
 public:
  using PlainSubscriber::PlainSubscriber;
  [[nodiscard]] bool has_presence() const override { return false; }

 private:
  void on_connected() override { ask(); }
  void ask() { send("GET /poll?" + query() + "&timeout=2 HTTP/1.1\r\nHost: localhost:8000\r\n\r\n"); }
  void on_text(std::string& pending) override {
    const std::size_t end = pending.find("\r\n\r\n");
    if (end == std::string::npos) return;
    if (!pending.starts_with("HTTP/1.1 200 ")) return reconnect(chance_.between(50'000, 400'000));
    constexpr std::string_view kLength = "Content-Length: ";
    const std::size_t at = pending.find(kLength);
    const std::size_t length = std::stoul(pending.substr(at + kLength.size(), 20));
    if (pending.size() < end + 4 + length) return;
    const bool is_last = pending.substr(0, end).find("Connection: close") != std::string::npos;
    const Json answer = Json::parse(std::string_view(pending).substr(end + 4, length));
    pending.erase(0, end + 4 + length);
    for (const Json& each : answer.at("status")) status(each);
    for (const Json& each : answer.at("publications")) publication(each);
    is_last ? reconnect(0) : ask();
  }
};

}  // namespace

std::unique_ptr<Subscriber> make_sse_subscriber(Surroundings& surroundings, Judge& judge,
                                                std::vector<std::unique_ptr<Gateway>>& gateways,
                                                std::string name, std::vector<std::string> channels) {
  return std::make_unique<SseSubscriber>(surroundings, judge, gateways, std::move(name), std::move(channels));
}

std::unique_ptr<Subscriber> make_poll_subscriber(Surroundings& surroundings, Judge& judge,
                                                 std::vector<std::unique_ptr<Gateway>>& gateways,
                                                 std::string name, std::vector<std::string> channels) {
  return std::make_unique<PollSubscriber>(surroundings, judge, gateways, std::move(name),
                                          std::move(channels));
}

}  // namespace carillon::sim
