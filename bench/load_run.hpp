#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <utility>
#include <vector>

#include "load_settings.hpp"
#include "process_meter.hpp"
#include "wire.hpp"

namespace carillon::bench {

constexpr std::size_t kReadBytes = 256 * 1024;
constexpr std::size_t kConnectingAtOnce = 200;     // stays below every backlog
constexpr std::uint64_t kMostInFlight = 1U << 16;  // also the bound when a rate outruns the server
constexpr std::uint64_t kNsPerS = 1'000'000'000;
constexpr const char* kKey = "dGhlIHNhbXBsZSBub25jZQ==";              // the example of RFC 6455, section 1.3,
constexpr const char* kAcceptValue = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";  // and its answer

inline std::uint64_t now_ns(clockid_t clock = CLOCK_MONOTONIC) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kNsPerS + static_cast<std::uint64_t>(now.tv_nsec);
}

enum class State { connecting, upgrading, subscribing, live };

struct Connection {
  int fd = -1;
  State state = State::connecting;
  std::uint64_t next = 0;  // the message (counted from 0) that must come next
  std::string partial;     // the bytes of an unfinished frame
};

/// One run of the generator. Not thread-safe; a fresh object for every run.
class Load {
 public:
  Load(Settings settings, ProcessMeter server) : settings_(std::move(settings)), server_(server) {
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    read_buffer_.resize(kReadBytes);
    events_.resize(512);
    const std::uint64_t slots = settings_.rate_per_s > 0 ? kMostInFlight : std::bit_ceil(settings_.in_flight);
    pending_.resize(slots);
  }

  ~Load() {
    for (const Connection& each : connections_) close(each.fd);
    close(epoll_);
  }

  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

  /// Connects, runs warm-up and measured window. Returns early, with the counts saying why, when a connection
  /// is lost or refused, or there is no progress for `timeout_s`.
  Result run() {
    Result result;
    const std::uint64_t start_ns = now_ns();
    progress_ns_ = start_ns;
    connections_.resize(settings_.subscribers + (settings_.holds ? 0 : 1));
    connect_first(1);  // it pays for what a server sets up only once
    result.memory_before = server_.memory();
    if (connect_first(connections_.size())) {
      result.connect_s = static_cast<double>(now_ns() - start_ns) / kNsPerS;
      if (settings_.holds) {
        hold();
      } else {
        measure(result);
      }
    }
    result.memory_after = server_.memory();
    result.counts = counts_;
    return result;
  }

 private:
  struct Pending {
    std::uint64_t sent_ns = 0;
    std::uint64_t arrivals = 0;
  };

  bool is_publisher(const Connection& connection) const {
    return !settings_.holds && &connection == &connections_.back();
  }
  bool is_hopeless() const { return is_stalled_ || counts_.closed > 0 || counts_.refused > 0; }

  // ---- connecting

  bool connect_first(std::size_t count) {
    while (live_ < count && !is_hopeless()) {
      while (started_ < count && started_ - live_ < kConnectingAtOnce) start_connecting(started_++);
      turn(kNsPerS / 1000);
    }
    return !is_hopeless();
  }

  void start_connecting(std::size_t index) {
    Connection& connection = connections_[index];
    connection.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int on = 1;
    setsockopt(connection.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const auto* address = reinterpret_cast<const sockaddr*>(&settings_.server);
    if (connect(connection.fd, address, sizeof settings_.server) != 0 && errno != EINPROGRESS) {
      return lose(connection, std::strerror(errno));
    }
    watch(connection, EPOLLOUT, EPOLL_CTL_ADD);
  }

  void watch(Connection& connection, std::uint32_t interest, int operation = EPOLL_CTL_MOD) {
    epoll_event event{};
    event.events = interest;
    event.data.u64 = static_cast<std::uint64_t>(&connection - connections_.data());
    epoll_ctl(epoll_, operation, connection.fd, &event);
  }

  void start_upgrade(Connection& connection) {
    watch(connection, EPOLLIN);
    if (publishes_by_post(connection)) return become_live(connection);
    connection.state = State::upgrading;
    send_now(connection,
             "GET " + settings_.path + " HTTP/1.1\r\nHost: " + settings_.url +
                 "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
                 "Sec-WebSocket-Key: " + kKey + "\r\n\r\n");
  }

  std::size_t finish_upgrade(Connection& connection, std::string_view text) {
    const std::size_t end = text.find("\r\n\r\n");
    if (end == std::string_view::npos) return 0;
    if (!text.starts_with("HTTP/1.1 101") ||
        text.substr(0, end).find(kAcceptValue) == std::string_view::npos) {
      refuse(text.substr(0, text.find('\r')));
      return end + 4;
    }
    connection.state = State::subscribing;
    std::string commands = R"({"id":1,"connect":{}})";
    if (!is_publisher(connection)) {
      commands += "\n{\"id\":2,\"subscribe\":{\"channel\":\"" + settings_.channel + "\"}}";
    }
    send_frame(connection, kTextFrame, commands);
    return end + 4;
  }

  void become_live(Connection& connection) {
    connection.state = State::live;
    progress_ns_ = now_ns();
    ++live_;
  }

  // ---- one turn of the loop

  void turn(std::uint64_t wait_ns) {
    timespec wait{static_cast<time_t>(wait_ns / kNsPerS), static_cast<long>(wait_ns % kNsPerS)};
    const int count = epoll_pwait2(epoll_, events_.data(), static_cast<int>(events_.size()), &wait, nullptr);
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events_[static_cast<std::size_t>(i)];
      Connection& connection = connections_[event.data.u64];
      if (connection.state == State::connecting) {
        if ((event.events & EPOLLERR) != 0) return lose(connection, "cannot connect");
        start_upgrade(connection);
        continue;
      }
      if ((event.events & EPOLLOUT) != 0) flush_publisher();
      if ((event.events & ~static_cast<std::uint32_t>(EPOLLOUT)) != 0) read_from(connection);
    }
    const bool is_waiting = live_ < started_ || completed_ < published_;
    const auto timeout_ns = static_cast<std::uint64_t>(settings_.timeout_s * kNsPerS);
    if (is_waiting && now_ns() - progress_ns_ > timeout_ns) stall();
  }

  /// Gives up: what has not come by now is missing, or a connection that is not live.
  void stall() {
    std::fprintf(stderr, "load: no progress for %.0f s\n", settings_.timeout_s);
    is_stalled_ = true;
    counts_.closed += started_ - live_;
    for (std::size_t i = 0; i < settings_.subscribers; ++i)
      counts_.missing += published_ - connections_[i].next;
  }

  void read_from(Connection& connection) {
    std::string& partial = connection.partial;
    const std::size_t kept = partial.size();
    if (kept >= kReadBytes) return lose(connection, "a frame beyond the read buffer");
    std::copy(partial.begin(), partial.end(), read_buffer_.begin());
    const ssize_t got = recv(connection.fd, read_buffer_.data() + kept, kReadBytes - kept, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) return lose(connection, got == 0 ? "closed by the server" : std::strerror(errno));
    const std::size_t size = kept + static_cast<std::size_t>(got);
    std::size_t used = 0;
    while (used < size) {
      char* at = read_buffer_.data() + used;
      std::size_t step = 0;
      if (publishes_by_post(connection)) {
        step = read_response({at, size - used});
      } else if (connection.state == State::upgrading) {
        step = finish_upgrade(connection, {at, size - used});
      } else if (const auto frame = read_frame(at, size - used)) {
        step = frame->wire_bytes;
        on_frame(connection, *frame);
      }
      if (step == 0) break;
      used += step;
    }
    partial.assign(read_buffer_.data() + used, size - used);
  }

  void on_frame(Connection& connection, const Frame& frame) {
    if (frame.head == kTextFrame) {
      std::string_view lines = frame.payload;  // a frame may hold several replies, one a line
      for (std::size_t end = 0; end != std::string_view::npos;) {
        end = lines.find('\n');
        on_reply(connection, lines.substr(0, end));
        if (end != std::string_view::npos) lines.remove_prefix(end + 1);
      }
    } else if (frame.head == kPingFrame) {
      send_frame(connection, kPongFrame, frame.payload);
    } else if (frame.head == kCloseFrame) {
      lose(connection, frame.payload.size() > 2 ? std::string(frame.payload.substr(2)) : "close frame");
    } else if (frame.head != kPongFrame) {
      ++counts_.malformed;
    }
  }

  void on_reply(Connection& connection, std::string_view reply) {
    if (reply.starts_with("{\"push\":{")) {
      on_publication(connection, reply);
    } else if (reply == "{}") {
      send_frame(connection, kTextFrame, "{}");
    } else if (reply.find("\"error\":") != std::string_view::npos) {
      refuse(reply);
    } else if (connection.state == State::subscribing) {
      const char* awaited = is_publisher(connection) ? "\"connect\":" : "\"subscribe\":";
      if (reply.find(awaited) != std::string_view::npos) become_live(connection);
    }
  }

  void on_publication(Connection& connection, std::string_view push) {
    constexpr std::string_view kMark = "\"offset\":";
    const std::size_t mark = push.rfind(kMark);  // behind the data, a few bytes from the end
    if (mark == std::string_view::npos) {
      ++counts_.malformed;
      return;
    }
    std::uint64_t offset = 0;
    for (std::size_t at = mark + kMark.size(); at < push.size() && push[at] >= '0' && push[at] <= '9'; ++at) {
      offset = offset * 10 + static_cast<std::uint64_t>(push[at] - '0');
    }
    // Everybody subscribed before the first publication: the first offset that anybody sees is everybody's
    // first.
    if (first_offset_ == 0) first_offset_ = offset;
    const std::uint64_t message = offset - first_offset_;
    if (offset < first_offset_ || message < connection.next) {
      ++counts_.repeated;  // or out of order
      return;
    }
    if (message >= published_) {
      ++counts_.malformed;  // an offset that nobody has published: not ours, or not counted from the first
      return;
    }
    counts_.missing += message - connection.next;
    for (; connection.next < message; ++connection.next) arrived(connection.next);  // so that the run ends
    if (&connection == connections_.data() && push.find(data_of(message)) == std::string_view::npos) {
      ++counts_.changed;
    }
    ++connection.next;
    ++counts_.deliveries;
    arrived(message);
  }

  void arrived(std::uint64_t message) {
    Pending& pending = pending_[message & (pending_.size() - 1)];
    if (++pending.arrivals < settings_.subscribers) return;
    progress_ns_ = now_ns();
    if (is_measuring_) last_subscriber_ns_.push_back(progress_ns_ - pending.sent_ns);
    pending.arrivals = 0;
    ++completed_;
  }

  /// One HTTP response to a POST; returns its bytes, 0 while it is incomplete.
  std::size_t read_response(std::string_view text) {
    const std::size_t end = text.find("\r\n\r\n");
    if (end == std::string_view::npos) return 0;
    std::string head(text.substr(0, end));
    std::transform(head.begin(), head.end(), head.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
    const std::size_t length = head.find("content-length:");
    const std::size_t body_bytes =
        length == std::string::npos ? 0 : std::strtoull(head.c_str() + length + 15, nullptr, 10);
    if (text.size() < end + 4 + body_bytes) return 0;
    const std::string_view body = text.substr(end + 4, body_bytes);
    if (!head.starts_with("http/1.1 200") || body.find("\"error\":") != std::string_view::npos) {
      refuse(text.substr(0, text.find('\r')));
    }
    return end + 4 + body_bytes;
  }

  // ---- publishing

  bool publishes_by_post(const Connection& connection) const {
    return settings_.publishes_by_post && is_publisher(connection);
  }

  /// The data of a message: its number, then filling, exactly as many bytes as asked for.
  const std::string& data_of(std::uint64_t message) {
    data_.assign(settings_.payload_bytes, 'x');
    data_.front() = data_.back() = '"';
    for (std::size_t at = std::min<std::size_t>(settings_.payload_bytes - 2, 16); at > 0;
         --at, message /= 10) {
      data_[at] = static_cast<char>('0' + message % 10);
    }
    return data_;
  }

  void append_publish(std::uint64_t sent_ns) {
    const std::string target =
        "\"channel\":\"" + settings_.channel + "\",\"data\":" + data_of(published_) + "}";
    if (settings_.publishes_by_post) {
      outgoing_ +=
          "POST /api/publish HTTP/1.1\r\nHost: " + settings_.url + "\r\nContent-Type: application/json\r\n";
      if (!settings_.api_key.empty()) outgoing_ += "X-API-Key: " + settings_.api_key + "\r\n";
      outgoing_ += "Content-Length: " + std::to_string(target.size() + 1) + "\r\n\r\n{" + target;
    } else {
      append_frame(outgoing_, kTextFrame,
                   "{\"id\":" + std::to_string(published_ + 2) + ",\"publish\":{" + target + "}",
                   next_mask());
    }
    pending_[published_ & (pending_.size() - 1)].sent_ns = sent_ns;
    if (completed_ == published_) progress_ns_ = now_ns();
    ++published_;
  }

  void flush_publisher() {
    if (outgoing_.empty()) return;
    Connection& publisher = connections_.back();
    const ssize_t sent = send(publisher.fd, outgoing_.data(), outgoing_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN) return lose(publisher, std::strerror(errno));
    if (sent > 0) outgoing_.erase(0, static_cast<std::size_t>(sent));
    if (is_blocked_ == outgoing_.empty()) {
      is_blocked_ = !is_blocked_;
      watch(publisher, is_blocked_ ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
  }

  /// Publishes until `messages` are complete or `seconds` are over (0: no such bound), then waits for the
  /// rest.
  void publish(std::uint64_t messages, double seconds) {
    const std::uint64_t start_ns = now_ns();
    const std::uint64_t first = published_;
    const std::uint64_t end_ns =
        seconds > 0 ? start_ns + static_cast<std::uint64_t>(seconds * kNsPerS) : ~0ULL;
    const std::uint64_t last = messages > 0 ? published_ + messages : ~0ULL;
    const bool is_paced = settings_.rate_per_s > 0;
    bool is_over = false;
    while (!is_hopeless() && (!is_over || completed_ < published_)) {
      std::uint64_t now = now_ns();
      std::uint64_t wait_ns = kNsPerS / 10;
      is_over = is_over || published_ >= last || now >= end_ns;
      const std::size_t waiting = outgoing_.size();
      while (!is_over && published_ < last && published_ - completed_ < in_flight_bound()) {
        // Latency counts from when the message was due, not from when a late generator got round to it.
        const std::uint64_t due_ns = is_paced ? due(start_ns, published_ - first) : now;
        if (due_ns > now) {
          wait_ns = std::min(wait_ns, due_ns - now);
          break;
        }
        append_publish(due_ns);
      }
      if (outgoing_.size() > waiting) flush_publisher();
      turn(settings_.sleeps ? wait_ns : 0);
    }
  }

  std::uint64_t in_flight_bound() const {
    return settings_.rate_per_s > 0 ? kMostInFlight : settings_.in_flight;
  }

  std::uint64_t due(std::uint64_t start_ns, std::uint64_t nth) const {
    return start_ns + static_cast<std::uint64_t>(static_cast<double>(nth) / settings_.rate_per_s * kNsPerS);
  }

  // ---- measuring

  void measure(Result& result) {
    if (settings_.warmup > 0) publish(settings_.warmup, 0);
    const CpuTime cpu_before = server_.cpu();
    const std::uint64_t own_before_ns = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    const std::uint64_t start_ns = now_ns();
    const Counts warmup = std::exchange(counts_, Counts{});
    const std::uint64_t completed_before = completed_;
    is_measuring_ = true;
    publish(settings_.messages, settings_.seconds);
    result.window_s = static_cast<double>(now_ns() - start_ns) / kNsPerS;
    const CpuTime cpu = server_.cpu();
    result.generator_us = static_cast<double>(now_ns(CLOCK_PROCESS_CPUTIME_ID) - own_before_ns) / 1e3;
    result.server_us = static_cast<double>(cpu.total_ns - cpu_before.total_ns) / 1e3;
    const auto user = static_cast<double>(cpu.user_ms - cpu_before.user_ms);
    const auto system = static_cast<double>(cpu.system_ms - cpu_before.system_ms);
    result.user_share = user + system > 0 ? user / (user + system) : 0;
    result.messages = completed_ - completed_before;
    result.last_subscriber_ns = std::move(last_subscriber_ns_);
    std::sort(result.last_subscriber_ns.begin(), result.last_subscriber_ns.end());
    add_faults(warmup);
  }

  /// A fault in the warm-up is a fault; its deliveries are not part of the figure.
  void add_faults(const Counts& warmup) {
    counts_.missing += warmup.missing;
    counts_.repeated += warmup.repeated;
    counts_.malformed += warmup.malformed;
    counts_.changed += warmup.changed;
    counts_.refused += warmup.refused;
    counts_.closed += warmup.closed;
  }

  void hold() {
    const std::uint64_t end_ns = now_ns() + static_cast<std::uint64_t>(settings_.seconds * kNsPerS);
    while (now_ns() < end_ns && !is_hopeless()) turn(kNsPerS / 10);
  }

  // ---- small things

  std::uint32_t next_mask() { return mask_ = mask_ * 1664525U + 1013904223U; }

  void send_frame(Connection& connection, std::uint8_t head, std::string_view payload) {
    std::string frame;
    append_frame(frame, head, payload, next_mask());
    if (is_publisher(connection) && !outgoing_.empty()) {
      outgoing_ += frame;  // never into the middle of a publication that went out in part
    } else {
      send_now(connection, frame);
    }
  }

  /// A few hundred bytes into a socket that has room for them; anything less is a lost connection.
  void send_now(Connection& connection, const std::string& bytes) {
    const ssize_t sent = send(connection.fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent != static_cast<ssize_t>(bytes.size())) lose(connection, "cannot send");
  }

  void refuse(std::string_view what) {
    if (counts_.refused++ == 0) {
      std::fprintf(stderr, "load: refused: %.*s\n", static_cast<int>(what.size()), what.data());
    }
  }

  void lose(Connection& connection, const std::string& why) {
    if (counts_.closed++ == 0) {
      std::fprintf(stderr, "load: connection %zu lost: %s\n",
                   static_cast<std::size_t>(&connection - connections_.data()), why.c_str());
    }
    if (connection.fd >= 0) epoll_ctl(epoll_, EPOLL_CTL_DEL, connection.fd, nullptr);
  }

  const Settings settings_;
  const ProcessMeter server_;
  int epoll_ = -1;
  std::vector<epoll_event> events_;
  std::vector<char> read_buffer_;
  std::vector<Connection> connections_;  // the subscribers, then the publisher
  std::size_t started_ = 0;              // of them: connecting or live
  std::size_t live_ = 0;
  std::uint64_t first_offset_ = 0;
  std::uint64_t published_ = 0;
  std::uint64_t completed_ = 0;  // with every subscriber; they complete in order
  std::uint64_t progress_ns_ = 0;
  std::uint32_t mask_ = 0x9E3779B9;
  bool is_measuring_ = false;
  bool is_stalled_ = false;
  std::vector<Pending> pending_;  // by message, modulo its size, a power of two
  std::vector<std::uint64_t> last_subscriber_ns_;
  std::string outgoing_;     // what the publisher has to send
  bool is_blocked_ = false;  // its socket is full: EPOLLOUT is awaited
  std::string data_;
  Counts counts_;
};

}  // namespace carillon::bench
