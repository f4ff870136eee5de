#pragma once

#include "load/dialect.hpp"

namespace carillon::load {

/// WebSockets: the handshake, frames of one message each, pings. What the messages mean is the derived
/// class's.
class WebDialect : public Dialect {
 public:
  using Dialect::Dialect;
  void open(Line& line) override;
  std::size_t hear(Line& line, char* bytes, std::size_t size) override;

 protected:
  [[nodiscard]] virtual std::string target(const Line& line) const = 0;
  virtual void on_upgraded(Line& line) = 0;
  virtual void on_text(Line& line, std::string_view text) = 0;

  void send_text(Line& line, std::string_view text);
  void append_text(std::string& out, std::string_view text);

 private:
  std::size_t hear_upgrade(Line& line, std::string_view bytes);
  std::uint32_t next_mask() { return mask_ = mask_ * 1664525U + 1013904223U; }

  std::uint32_t mask_ = 0x9E3779B9;
};

/// The Centrifuge JSON protocol: Carillon, Centrifugo, and the bare loop of bench/.
class CentrifugeDialect final : public WebDialect {
 public:
  using WebDialect::WebDialect;
  void append_publish(std::string& out, std::string_view channel, std::string_view data,
                      std::uint64_t number) override;

 private:
  [[nodiscard]] std::string target(const Line& line) const override;
  void on_upgraded(Line& line) override;
  void on_text(Line& line, std::string_view text) override;
  void on_reply(Line& line, std::string_view reply);
  void on_subscribed(Line& line, std::string_view reply);
};

/// What the small servers of bench/compare speak: `s CHANNEL ...` subscribes, `p CHANNEL DATA` publishes,
/// both are answered with `ok`, and messages are the data alone.
class RawWebDialect final : public WebDialect {
 public:
  using WebDialect::WebDialect;
  void append_publish(std::string& out, std::string_view channel, std::string_view data,
                      std::uint64_t number) override;

 private:
  [[nodiscard]] std::string target(const Line& line) const override;
  void on_upgraded(Line& line) override;
  void on_text(Line& line, std::string_view text) override;
};

/// nchan's WebSocket subscribers: the path names the channels, messages are the data alone.
class NchanWebDialect final : public WebDialect {
 public:
  using WebDialect::WebDialect;

 private:
  [[nodiscard]] std::string target(const Line& line) const override;
  void on_upgraded(Line& line) override;
  void on_text(Line& line, std::string_view text) override;
};

/// Socket.IO 5 over Engine.IO 4, WebSocket only: events `s` (rooms), `p` (room, data), and `m` (data) of the
/// server.
class SocketIoDialect final : public WebDialect {
 public:
  using WebDialect::WebDialect;
  void append_publish(std::string& out, std::string_view channel, std::string_view data,
                      std::uint64_t number) override;

 private:
  [[nodiscard]] std::string target(const Line& line) const override;
  void on_upgraded(Line& line) override;
  void on_text(Line& line, std::string_view text) override;
  // Connection state recovery: the position is the session's private id and, behind a blank, the last offset.
  void open_session(Line& line);
  bool is_same_session(Line& line, std::string_view text);
  void keep_position(Line& line, std::string_view text);
};

}  // namespace carillon::load
