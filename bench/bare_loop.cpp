// The yardstick: the least that a server can do to ring one channel out to WebSocket subscribers.
//
// One thread, one epoll, no JSON parser, no history, no timers, no limits, no security. It speaks exactly as
// much of the Centrifuge JSON protocol as bench/load.cpp says, found by string search, and sends the bytes
// that Carillon sends for the same publication. Per message one send() per subscriber; with --gather, one
// send() per subscriber for up to 64 messages that wait in the same turn of the loop. A subscriber whose
// socket does not take a whole block is dropped and counted: a real server must not do that.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <map>
#include <vector>

#include "options.hpp"
#include "wire.hpp"

namespace carillon::bench {
namespace {

constexpr const char* kUsage =
    "usage: bare_loop [--port 0] [--channel bench] [--gather]\n"
    "  serves 127.0.0.1 until SIGTERM or SIGINT; port 0 picks one and prints it\n";
constexpr std::size_t kGatherMessages = 64;
constexpr std::size_t kReadBytes = 256 * 1024;
constexpr std::uint32_t kNotSubscribed = ~0U;

volatile std::sig_atomic_t stop_requested = 0;

/// RFC 6455 section 4.2.2: base64 of the SHA-1 of key and GUID.
std::string accept_value(std::string_view key) {
  const std::string text = std::string(key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  unsigned char digest[SHA_DIGEST_LENGTH];
  SHA1(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  unsigned char encoded[4 * ((SHA_DIGEST_LENGTH + 2) / 3) + 1];
  const int size = EVP_EncodeBlock(encoded, digest, SHA_DIGEST_LENGTH);
  return {reinterpret_cast<char*>(encoded), static_cast<std::size_t>(size)};
}

/// The value of a header, by its name in the two spellings in use; empty if it is not there.
std::string_view header_value(std::string_view head, std::string_view name, std::string_view lower_name) {
  std::size_t at = head.find(name);
  if (at == std::string_view::npos) at = head.find(lower_name);
  if (at == std::string_view::npos) return {};
  at = head.find_first_not_of(' ', at + name.size());
  return head.substr(at, head.find("\r\n", at) - at);
}

/// What stands after `"data":`, less the `closing_bytes` braces that end the command.
std::string_view data_of(std::string_view command, std::size_t closing_bytes) {
  constexpr std::string_view kMark = "\"data\":";
  const std::size_t at = command.find(kMark);
  if (at == std::string_view::npos || command.size() < at + kMark.size() + closing_bytes) return {};
  return command.substr(at + kMark.size(), command.size() - at - kMark.size() - closing_bytes);
}

struct Connection {
  std::uint32_t subscriber_index = kNotSubscribed;
  bool is_open = false;
  bool is_upgraded = false;
};

class BareLoop {
 public:
  BareLoop(std::uint16_t port, std::string channel, bool gathers) : gathers_(gathers) {
    push_prefix_ = "{\"push\":{\"channel\":\"" + channel + "\",\"pub\":{\"data\":";
    read_buffer_.resize(kReadBytes);
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int on = 1;
    setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        listen(listener_, 4096) != 0) {
      std::perror("bare_loop: listen");
      std::exit(1);
    }
    socklen_t size = sizeof address;
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    std::printf("listening on 127.0.0.1:%u\n", ntohs(address.sin_port));
    std::fflush(stdout);
    watch(listener_);
  }

  ~BareLoop() {
    for (std::size_t fd = 0; fd < connections_.size(); ++fd) {
      if (connections_[fd].is_open) close(static_cast<int>(fd));
    }
    close(listener_);
    close(epoll_);
  }

  BareLoop(const BareLoop&) = delete;
  BareLoop& operator=(const BareLoop&) = delete;

  void run() {
    std::vector<epoll_event> events(1024);
    while (stop_requested == 0) {
      const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), -1);
      for (int i = 0; i < count; ++i) {
        const int fd = events[static_cast<std::size_t>(i)].data.fd;
        if (fd == listener_) {
          accept_all();
        } else {
          read_from(fd);
        }
      }
      flush_batch();
      drop_slow();
    }
    std::fprintf(stderr, "bare_loop: %llu publications, %llu sends, %llu slow subscribers dropped\n",
                 static_cast<unsigned long long>(offset_), static_cast<unsigned long long>(sends_),
                 static_cast<unsigned long long>(dropped_));
  }

 private:
  Connection& connection(int fd) { return connections_[static_cast<std::size_t>(fd)]; }

  void watch(int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
  }

  void accept_all() {
    for (;;) {
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      const int on = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      if (connections_.size() <= static_cast<std::size_t>(fd)) {
        connections_.resize(static_cast<std::size_t>(fd) + 1);
      }
      connection(fd) = Connection{};
      connection(fd).is_open = true;
      watch(fd);
    }
  }

  void drop(int fd) {
    Connection& gone = connection(fd);
    if (!gone.is_open) return;
    if (gone.subscriber_index != kNotSubscribed) {
      const int last = subscribers_.back();
      subscribers_[gone.subscriber_index] = last;
      connection(last).subscriber_index = gone.subscriber_index;
      subscribers_.pop_back();
    }
    gone = Connection{};
    partial_.erase(fd);
    close(fd);
  }

  void read_from(int fd) {
    const auto partial = partial_.extract(fd);
    const std::size_t kept = partial ? partial.mapped().size() : 0;
    if (!connection(fd).is_open || kept >= kReadBytes) return drop(fd);
    if (partial) std::copy(partial.mapped().begin(), partial.mapped().end(), read_buffer_.begin());
    const ssize_t got = recv(fd, read_buffer_.data() + kept, kReadBytes - kept, 0);
    if (got <= 0) return drop(fd);  // readiness was announced, so EAGAIN cannot be
    const std::size_t size = kept + static_cast<std::size_t>(got);
    replies_.clear();
    const std::size_t used = consume(fd, size);
    if (!connection(fd).is_open) return;
    if (used < size) partial_[fd].assign(read_buffer_.data() + used, size - used);
    if (!replies_.empty()) send_block(fd, replies_);
  }

  /// Works through `size` bytes of the read buffer; returns how many were complete requests or frames.
  std::size_t consume(int fd, std::size_t size) {
    std::size_t used = 0;
    while (used < size && connection(fd).is_open) {
      char* at = read_buffer_.data() + used;
      std::size_t step = 0;
      if (!connection(fd).is_upgraded) {
        step = handle_request(fd, {at, size - used});
      } else if (const auto frame = read_frame(at, size - used)) {
        step = frame->wire_bytes;
        if (frame->head == kCloseFrame) {
          drop(fd);
        } else if (frame->head == kTextFrame) {
          handle_commands(fd, frame->payload);
        }
      }
      if (step == 0) break;
      used += step;
    }
    return used;
  }

  /// An upgrade or a POST of a publication; returns the bytes of the request, 0 while it is incomplete.
  std::size_t handle_request(int fd, std::string_view text) {
    const std::size_t end = text.find("\r\n\r\n");
    if (end == std::string_view::npos) return 0;
    const std::string_view head = text.substr(0, end + 2);
    if (!head.starts_with("POST ")) {
      const std::string_view key = header_value(head, "Sec-WebSocket-Key:", "sec-websocket-key:");
      replies_ += "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
      replies_ += "Sec-WebSocket-Accept: " + accept_value(key) + "\r\n\r\n";
      connection(fd).is_upgraded = true;
      return end + 4;
    }
    const std::string_view length = header_value(head, "Content-Length:", "content-length:");
    std::size_t body_bytes = 0;
    std::from_chars(length.data(), length.data() + length.size(), body_bytes);
    if (text.size() < end + 4 + body_bytes) return 0;
    publish(data_of(text.substr(end + 4, body_bytes), 1));
    replies_ +=
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"result\":{}}";
    return end + 4 + body_bytes;
  }

  void handle_commands(int fd, std::string_view lines) {
    while (!lines.empty()) {
      const std::size_t end = std::min(lines.find('\n'), lines.size());
      handle_command(fd, lines.substr(0, end));
      lines.remove_prefix(std::min(end + 1, lines.size()));
    }
  }

  void handle_command(int fd, std::string_view command) {
    constexpr std::string_view kId = "{\"id\":";
    const std::size_t comma = command.find(',');
    if (!command.starts_with(kId) || comma == std::string_view::npos) return;
    const std::string_view rest = command.substr(comma + 1);
    reply_.assign(command.substr(0, comma + 1));
    if (rest.starts_with("\"publish\":")) {
      publish(data_of(rest, 2));
      reply_ += "\"publish\":{}}";
    } else if (rest.starts_with("\"subscribe\":")) {
      Connection& subscriber = connection(fd);
      if (subscriber.subscriber_index == kNotSubscribed) {
        subscriber.subscriber_index = static_cast<std::uint32_t>(subscribers_.size());
        subscribers_.push_back(fd);
      }
      reply_ +=
          "\"subscribe\":{\"recoverable\":true,\"epoch\":\"bare\",\"offset\":" + std::to_string(offset_) +
          ",\"positioned\":true}}";
    } else {
      reply_ += "\"connect\":{\"client\":\"bare\",\"version\":\"bare\"}}";
    }
    append_frame(replies_, kTextFrame, reply_);
  }

  void publish(std::string_view data) {
    char digits[24];
    const auto end = std::to_chars(digits, digits + sizeof digits, ++offset_).ptr;
    push_.assign(push_prefix_);
    push_ += data;
    push_ += ",\"offset\":";
    push_.append(digits, end);
    push_ += "}}}";
    append_frame(batch_, kTextFrame, push_);
    if (!gathers_ || ++batch_messages_ == kGatherMessages) flush_batch();
  }

  void flush_batch() {
    if (batch_.empty()) return;
    for (const int fd : subscribers_) send_block(fd, batch_);
    batch_.clear();
    batch_messages_ = 0;
  }

  void send_block(int fd, const std::string& block) {
    ++sends_;
    const ssize_t sent = send(fd, block.data(), block.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent != static_cast<ssize_t>(block.size())) slow_.push_back(fd);
  }

  void drop_slow() {
    for (const int fd : slow_) {
      if (connection(fd).is_open) ++dropped_;
      drop(fd);
    }
    slow_.clear();
  }

  const bool gathers_;
  std::string push_prefix_;
  int epoll_ = -1;
  int listener_ = -1;
  std::uint64_t offset_ = 0;
  std::uint64_t sends_ = 0;
  std::uint64_t dropped_ = 0;
  std::size_t batch_messages_ = 0;
  std::string batch_;    // the frames that wait for every subscriber
  std::string replies_;  // what the connection that is being read gets back, in one send
  std::string reply_;
  std::string push_;
  std::vector<char> read_buffer_;
  std::map<int, std::string> partial_;  // unfinished requests and frames, by descriptor
  std::vector<int> subscribers_;
  std::vector<int> slow_;
  std::vector<Connection> connections_;  // by descriptor
};

}  // namespace
}  // namespace carillon::bench

int main(int argc, char** argv) {
  using namespace carillon::bench;
  const Options options(argc, argv, {"port", "channel"}, {"gather"}, kUsage);
  raise_descriptor_limit();
  struct sigaction action{};
  action.sa_handler = [](int) { stop_requested = 1; };
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  BareLoop loop(options.number<std::uint16_t>("port", 0), options.text("channel", "bench"),
                options.has("gather"));
  loop.run();
  return 0;
}
