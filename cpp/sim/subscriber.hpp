#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/gateway.hpp"
#include "sim/judge.hpp"
#include "sim/network.hpp"

namespace carillon::sim {

/// A client that stays: whenever it loses its connection it comes back, to any gateway, with its positions.
/// It is written from the protocol, and shares only the framing of what it sends with the server. The
/// transports are its subclasses.
class Subscriber : private Peer {
 public:
  Subscriber(Surroundings& surroundings, Judge& judge, std::vector<std::unique_ptr<Gateway>>& gateways,
             std::string name, std::vector<std::string> channels);
  ~Subscriber() override;
  Subscriber(const Subscriber&) = delete;
  Subscriber& operator=(const Subscriber&) = delete;

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const std::vector<std::string>& channels() const { return channels_; }
  /// Its connection counts in the presence of its channels.
  [[nodiscard]] virtual bool has_presence() const { return true; }
  /// Reads the inbox of the user that it is; false: it cannot now. Without an answer it has lost its
  /// connection, or was refused.
  using InboxShown = std::function<void(const ShownInbox& shown)>;
  virtual bool read_inbox(std::size_t /*limit*/, const InboxShown& /*done*/) { return false; }
  void begin() { connect_in(chance_.between(0, 50'000)); }
  /// It leaves, and comes back after a while.
  void leave_for(Micros us);
  /// Its connection breaks.
  void cut();
  /// Nothing arrives for so long, in either direction.
  void cut_off(Micros us);
  /// It reads nothing for so long.
  void stop_reading_for(Micros us);
  /// Its last connection ends without a word.
  void vanish();

 protected:
  struct Position {
    std::string epoch;
    std::uint64_t offset = 0;
  };
  [[nodiscard]] Position* position_of(const std::string& channel);
  void set_position(const std::string& channel, Position position) {
    positions_[channel] = std::move(position);
  }

  // What a transport does.
  virtual void on_connected() = 0;
  virtual void on_text(std::string& pending) = 0;  ///< takes what is whole off its front
  void send(std::string_view bytes);
  /// It goes elsewhere, or tries again; 0: after the usual pause.
  void reconnect(Micros delay_us);
  void start_in(const std::string& channel, const Judge::Start& start);
  void take(const std::string& channel, std::uint64_t offset, const std::string& data);
  void leave_channel(const std::string& channel) { judge_.on_away(name_, channel); }
  /// Runs `task` later, if the connection is still the same.
  void later(Micros delay_us, std::function<void()> task);

  Surroundings& around_;
  Judge& judge_;
  Chance chance_;

 private:
  static constexpr Micros kSilenceUs = 6'000'000;  // without any byte it gives the connection up

  void on_bytes(std::string_view bytes) override;
  void on_end() override;
  void connect_in(Micros delay_us);
  void connect();
  void hang_up();
  void watch_silence();

  std::vector<std::unique_ptr<Gateway>>& gateways_;
  const std::string name_;
  const std::vector<std::string> channels_;
  std::map<std::string, Position> positions_;
  WireRef wire_;  // null: it is away
  std::string pending_;
  std::uint64_t connection_ = 0;  // number of the current one, or of the pause
  Micros heard_us_ = 0;
  std::uint64_t failures_ = 0;
};

[[nodiscard]] std::unique_ptr<Subscriber> make_websocket_subscriber(
    Surroundings& surroundings, Judge& judge, std::vector<std::unique_ptr<Gateway>>& gateways,
    std::string name, std::vector<std::string> channels, std::string user = {});
[[nodiscard]] std::unique_ptr<Subscriber> make_sse_subscriber(Surroundings& surroundings, Judge& judge,
                                                              std::vector<std::unique_ptr<Gateway>>& gateways,
                                                              std::string name,
                                                              std::vector<std::string> channels);
[[nodiscard]] std::unique_ptr<Subscriber> make_poll_subscriber(
    Surroundings& surroundings, Judge& judge, std::vector<std::unique_ptr<Gateway>>& gateways,
    std::string name, std::vector<std::string> channels);

}  // namespace carillon::sim
