#include "load/settings.hpp"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <stdexcept>

namespace carillon::load {

namespace {

void require(bool is_right, const std::string& complaint) {
  if (!is_right) throw std::invalid_argument(complaint);
}

void require_one_of(const char* field, const std::string& value, std::initializer_list<const char*> choices) {
  std::string list;
  for (const char* choice : choices) {
    if (value == choice) return;
    list += list.empty() ? choice : std::string(", ") + choice;
  }
  throw std::invalid_argument(std::string(field) + ": '" + value + "' is none of " + list);
}

}  // namespace

void check(const Settings& settings) {
  require_one_of("transport", settings.transport, {"ws", "sse", "poll"});
  require_one_of("protocol", settings.protocol, {"centrifuge", "raw", "socketio", "nchan"});
  require_one_of("publish_by", settings.publish_by, {"ws", "post"});
  const bool is_web_only = settings.protocol == "raw" || settings.protocol == "socketio";
  require(!is_web_only || (settings.transport == "ws" && settings.publish_by == "ws"),
          "protocol: '" + settings.protocol + "' has only WebSockets; give transport ws and publish_by ws");
  require(settings.protocol != "nchan" || settings.publish_by == "post",
          "publish_by: '" + settings.publish_by + "' with nchan; it takes post");
  require(!settings.is_deflated || (settings.transport == "ws" && settings.protocol == "centrifuge"),
          "is_deflated: true with transport '" + settings.transport + "', protocol '" + settings.protocol +
              "'; give transport ws and protocol centrifuge");
  require(settings.connections > 0 || settings.awaits_replies,
          "connections: 0; give at least 1, or awaits_replies: else no message is ever complete");
  require(!settings.awaits_replies || (settings.protocol == "centrifuge" && !settings.is_idle),
          "awaits_replies: there is no publisher that gets any; give protocol centrifuge, not is_idle");
  require(settings.slice_s == 0 || (settings.slice_s > 0 &&
                                    settings.seconds <= settings.slice_s * static_cast<double>(kSlicesMax)),
          "slice_s: " + std::to_string(settings.slice_s) + "; give 0 or at least a " +
              std::to_string(kSlicesMax) + "th of seconds");
  require(settings.channels > 0, "channels: 0; give at least 1");
  require(settings.channels_per_connection > 0 && settings.channels_per_connection <= settings.channels,
          "channels_per_connection: " + std::to_string(settings.channels_per_connection) +
              "; give 1 to the number of channels (" + std::to_string(settings.channels) + ")");
  require(settings.connections == 0 ||
              settings.channels <= settings.connections * settings.channels_per_connection,
          "channels: " + std::to_string(settings.channels) + " for " +
              std::to_string(settings.connections * settings.channels_per_connection) +
              " subscriptions; give no more channels than that, so that each has a subscriber");
  require(settings.transport != "poll" || settings.channels_per_connection == 1 ||
              settings.protocol == "centrifuge",
          "channels_per_connection: more than 1 with poll is for Carillon only");
  require(settings.in_flight > 0 && settings.in_flight <= kMostInFlight,
          "in_flight: " + std::to_string(settings.in_flight) + "; give 1 to 65536");
  require(settings.payload_bytes >= kPayloadBytesMin,
          "payload_bytes: " + std::to_string(settings.payload_bytes) + "; give at least " +
              std::to_string(kPayloadBytesMin) + ": quotes and a number");
  require(settings.rate_per_s >= 0 && settings.seconds >= 0 && settings.timeout_s > 0,
          "rate_per_s, seconds, timeout_s: a negative number, or no time at all");
  require(settings.seconds > 0 || (settings.messages > 0 && !settings.is_idle),
          "seconds: 0; give the length of the measured window, in seconds or in messages");
  require(!settings.has_returns() || (settings.rate_per_s > 0 && settings.messages == 0 && !settings.is_idle),
          "cuts, return_port: need a rate_per_s, and no bound in messages: publishing goes on while "
          "subscribers are away");
  require(!settings.has_returns() || (settings.workers == 1 && settings.channels_per_connection == 1),
          "cuts, return_port: " + std::to_string(settings.workers) + " workers, " +
              std::to_string(settings.channels_per_connection) +
              " channels per connection; give connections for one worker, on one channel each");
  require(settings.cut_every_s > 0 && settings.cut_s >= 0 && settings.return_s >= 0,
          "cut_every_s, cut_s, return_s: a negative number, or no time between cuts");
  require(settings.staying < settings.connections || settings.cuts == 0,
          "staying: " + std::to_string(settings.staying) + "; give fewer than the connections");
  require(settings.channel.find_first_of("~\"\\&?%, ") == std::string::npos && !settings.channel.empty(),
          "channel: '" + settings.channel + "'; give a name without ~ \" \\ & ? % , and blanks");
  require(settings.user.find_first_of("\"\\&?%#, ") == std::string::npos,
          "user: '" + settings.user + "'; give a name without \" \\ & ? % # , and blanks");
  require(settings.workers >= settings.ports.size(), "ports: " + std::to_string(settings.ports.size()) +
                                                         " for " + std::to_string(settings.workers) +
                                                         " workers; give each server a worker at least");
  require(settings.worker < settings.workers &&
              settings.workers <= std::max<std::uint64_t>(1, settings.connections),
          "worker: " + std::to_string(settings.worker) + " of " + std::to_string(settings.workers) +
              "; give at most one worker per connection");
}

Share share_of(const Settings& settings, std::uint32_t worker) {
  return {settings.connections * worker / settings.workers,
          settings.connections * (worker + 1) / settings.workers};
}

std::string channel_name(const Settings& settings, std::uint64_t channel) {
  return settings.channels == 1 ? settings.channel : settings.channel + "-" + std::to_string(channel);
}

void write_data(std::string& out, std::uint64_t number, std::size_t bytes) {
  out.assign(bytes, 'x');
  out.front() = out.back() = '"';
  out[1] = out[kDigits + 2] = kMark;
  for (std::size_t at = kDigits + 1; at > 1; --at, number /= 10) {
    out[at] = static_cast<char>('0' + number % 10);
  }
}

void write_records(std::string& out, std::uint64_t number, std::size_t bytes) {
  write_data(out, number, bytes);
  std::uint64_t random = number;
  std::size_t at = kMarkBytes + 1;
  const auto put = [&](std::string_view text) {
    const std::size_t part = std::min(text.size(), out.size() - 1 - at);
    out.replace(at, part, text.substr(0, part));
    at += part;
  };
  while (at + 1 < out.size()) {
    random = random * 6364136223846793005U + 1442695040888963407U;
    put("{'symbol':'");
    for (unsigned shift = 40; shift < 64; shift += 8) {
      const char letter = static_cast<char>('A' + (random >> shift) % 26);
      put({&letter, 1});
    }
    put("','price':");
    put(std::to_string((random >> 20) % 100'000));
    put((random >> 60) % 2 == 0 ? ",'side':'buy'}," : ",'side':'sell'},");
  }
}

void write_data(std::string& out, std::uint64_t number, const Settings& settings) {
  if (settings.has_records) return write_records(out, number, settings.payload_bytes);
  write_data(out, number, settings.payload_bytes);
}

}  // namespace carillon::load
