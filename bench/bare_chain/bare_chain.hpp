#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../bare_loop/request.hpp"
#include "load/web_frame.hpp"
#include "resp.hpp"

namespace carillon::bench {

inline volatile std::sig_atomic_t stop_requested = 0;

class BareChain {
 public:
  BareChain(std::uint16_t port, std::uint16_t redis, std::vector<std::string> words,
            const std::string& announcements)
      : words_(std::move(words)), read_buffer_(kReadBytes) {
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    scripts_ = connect_to(redis);
    announcements_ = connect_to(redis);
    std::string subscribe;
    append_command(subscribe, {"SUBSCRIBE", announcements});
    send_all(announcements_, subscribe);
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    sockaddr_in address = local(port);
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        listen(listener_, 64) != 0)
      die("listen");
    socklen_t size = sizeof address;
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    std::printf("listening on 127.0.0.1:%u\n", ntohs(address.sin_port));
    std::fflush(stdout);
    for (const int fd : {scripts_, announcements_, listener_}) watch(fd);
  }
  ~BareChain() {
    for (const int fd : {scripts_, announcements_, listener_, epoll_}) close(fd);
  }
  BareChain(const BareChain&) = delete;
  BareChain& operator=(const BareChain&) = delete;

  void run() {
    std::vector<epoll_event> events(64);
    while (stop_requested == 0) {
      const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), -1);
      for (int i = 0; i < count; ++i) {
        const int fd = events[static_cast<std::size_t>(i)].data.fd;
        if (fd == listener_) {
          accept_one();
        } else {
          read_from(fd);
        }
      }
      if (!commands_.empty()) send_all(scripts_, commands_);
      commands_.clear();
    }
  }

 private:
  static constexpr std::size_t kReadBytes = 256 * 1024;

  struct Asked {
    int fd;
    std::string id;
  };

  static sockaddr_in local(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }
  [[noreturn]] static void die(const char* what) {
    std::perror(what);
    std::exit(1);
  }
  static void send_at_once(int fd) {
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  static int connect_to(std::uint16_t port) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address = local(port);
    if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      die("connect to Redis");
    send_at_once(fd);
    return fd;
  }
  static void send_all(int fd, std::string_view text) {
    if (::send(fd, text.data(), text.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(text.size())) die("send");
  }
  void watch(int fd) const {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
  }
  void accept_one() {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    send_at_once(fd);
    watch(fd);
  }

  void read_from(int fd) {
    std::string& kept = partial_[fd];
    std::copy(kept.begin(), kept.end(), read_buffer_.begin());
    const ssize_t got = recv(fd, read_buffer_.data() + kept.size(), kReadBytes - kept.size(), 0);
    if (got <= 0) {
      if (fd == scripts_ || fd == announcements_) die("Redis has closed");
      std::erase(subscribers_, fd);
      partial_.erase(fd);
      is_upgraded_.erase(fd);
      close(fd);
      return;
    }
    const std::size_t size = kept.size() + static_cast<std::size_t>(got);
    const bool is_redis = fd == scripts_ || fd == announcements_;
    const std::size_t used = is_redis ? consume_replies(fd, size) : consume_requests(fd, size);
    kept.assign(read_buffer_.data() + used, size - used);
  }

  // ---- Redis

  std::size_t consume_replies(int fd, std::size_t size) {
    std::size_t used = 0;
    while (const std::size_t step = read_reply({read_buffer_.data() + used, size - used}, reply_)) {
      used += step;
      if (fd == scripts_) {
        on_appended();
      } else if (reply_.size() == 3 && reply_[0] == "message") {
        on_announced(reply_[2]);
      }
    }
    return used;
  }

  void on_appended() {
    if (reply_.empty() || reply_[0] != "ok" || asked_.empty()) {
      std::fprintf(stderr, "bare_chain: the script answers %s\n",
                   reply_.empty() ? "nothing" : reply_[0].data());
      std::exit(1);
    }
    text_ = "{\"id\":" + asked_.front().id + ",\"publish\":{}}";
    send_frame(asked_.front().fd, text_);
    asked_.pop_front();
  }

  /// "a epoch mode members count", then of each entry a line with offset and size, and its bytes.
  void on_announced(std::string_view message) {
    const std::size_t end = message.find('\n');
    if (end == std::string_view::npos) return;
    message.remove_prefix(end + 1);
    while (!message.empty()) {
      const std::size_t line_end = message.find('\n');
      const std::string_view line = message.substr(0, line_end);
      const std::size_t space = line.find(' ');
      const std::size_t bytes = to_number(line.substr(space + 1));
      message.remove_prefix(line_end + 1);
      text_.assign("{\"push\":{\"channel\":\"room\",\"pub\":{\"data\":").append(message.substr(0, bytes));
      text_.append(",\"offset\":").append(line.substr(0, space)).append("}}}");
      message.remove_prefix(bytes);
      frame_.clear();
      load::append_frame(frame_, load::kTextFrame, text_);
      for (const int fd : subscribers_) send_all(fd, frame_);
    }
  }

  // ---- clients

  void send_frame(int fd, std::string_view text) {
    frame_.clear();
    load::append_frame(frame_, load::kTextFrame, text);
    send_all(fd, frame_);
  }

  std::size_t consume_requests(int fd, std::size_t size) {
    std::size_t used = 0;
    while (used < size) {
      char* at = read_buffer_.data() + used;
      if (!is_upgraded_[fd]) {
        const std::string_view text(at, size - used);
        const std::size_t end = text.find("\r\n\r\n");
        if (end == std::string_view::npos) break;
        const std::string_view key =
            header_value(text.substr(0, end + 2), "Sec-WebSocket-Key: ", "sec-websocket-key: ");
        send_all(fd,
                 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 "Sec-WebSocket-Accept: " +
                     accept_value(key) + "\r\n\r\n");
        is_upgraded_[fd] = true;
        used += end + 4;
        continue;
      }
      const auto frame = load::read_frame(at, size - used);
      if (!frame) break;
      used += frame->wire_bytes;
      if (frame->head == load::kTextFrame) on_commands(fd, frame->payload);
    }
    return used;
  }

  void on_commands(int fd, std::string_view lines) {
    while (!lines.empty()) {
      const std::size_t end = std::min(lines.find('\n'), lines.size());
      on_command(fd, lines.substr(0, end));
      lines.remove_prefix(std::min(end + 1, lines.size()));
    }
  }

  void on_command(int fd, std::string_view command) {
    const std::string id(between(command, "\"id\":", ","));
    if (command.find("\"publish\":") != std::string_view::npos) {
      publish(data_of(command, 2));
      asked_.push_back({fd, id});
    } else if (command.find("\"subscribe\":") != std::string_view::npos) {
      subscribers_.push_back(fd);
      send_frame(fd, "{\"id\":" + id + ",\"subscribe\":{}}");
    } else if (!id.empty()) {
      send_frame(fd, "{\"id\":" + id + ",\"connect\":{}}");
    }
  }

  void publish(std::string_view data) {
    filled_.clear();
    number_ = std::to_string(++appends_);
    for (const std::string& word : words_) {
      filled_.push_back(word == "%number" ? number_ : word == "%data" ? data : std::string_view(word));
    }
    append_command(commands_, filled_);
  }

  const std::vector<std::string> words_;
  int epoll_ = -1;
  int listener_ = -1;
  int scripts_ = -1;
  int announcements_ = -1;
  std::vector<char> read_buffer_;
  std::map<int, std::string> partial_;
  std::map<int, bool> is_upgraded_;
  std::vector<int> subscribers_;
  std::deque<Asked> asked_;  // in order of the replies
  std::uint64_t appends_ = 0;
  std::string number_, commands_, text_, frame_;
  std::vector<std::string_view> filled_, reply_;
};

}  // namespace carillon::bench
