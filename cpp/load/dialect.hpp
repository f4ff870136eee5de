#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "load/line.hpp"
#include "load/settings.hpp"

namespace carillon::load {

/// How subscribers, or the publisher, talk with one kind of server: bytes in, bytes and events out, no
/// sockets. What belongs to a connection stands in its Line.
class Dialect {
 public:
  Dialect(const Settings& settings, LineEvents& events) : settings_(settings), events_(events) {}
  Dialect(const Dialect&) = delete;
  Dialect& operator=(const Dialect&) = delete;
  virtual ~Dialect() = default;

  /// The line is connected: says what comes first.
  virtual void open(Line& line) = 0;
  /// Handles one frame, event or answer at the start of `bytes`; returns its size, 0 while it is incomplete.
  virtual std::size_t hear(Line& line, char* bytes, std::size_t size) = 0;
  /// Appends the publication of `data`; `number` is unlike those of all others. Only of a publisher's
  /// dialect.
  virtual void append_publish(std::string& out, std::string_view channel, std::string_view data,
                              std::uint64_t number);

 protected:
  /// Are positions needed, to come back with?
  [[nodiscard]] bool keeps_positions() const { return settings_.has_returns(); }
  [[nodiscard]] std::vector<std::string> channels_of(const Line& line) const;
  /// The channels of a subscriber, each between `before` and `after`.
  [[nodiscard]] std::string list_channels(const Line& line, std::string_view before,
                                          std::string_view after) const;
  /// The query parameter that says who a subscriber is, behind `before`; empty where nobody is named.
  [[nodiscard]] std::string user_of(const Line& line, std::string_view before) const;
  [[nodiscard]] std::string host_header() const {
    return "Host: " + settings_.host + ":" + std::to_string(settings_.port) + "\r\n";
  }

  const Settings& settings_;
  LineEvents& events_;
};

std::unique_ptr<Dialect> make_subscriber_dialect(const Settings& settings, LineEvents& events);
std::unique_ptr<Dialect> make_publisher_dialect(const Settings& settings, LineEvents& events);

}  // namespace carillon::load
