#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "load/web_frame.hpp"
#include "request.hpp"

namespace carillon::bench {

inline volatile std::sig_atomic_t stop_requested = 0;

/// One thread, one epoll. Every message is laid out once per transport, as Carillon lays it out, and sent
/// with one send per subscriber; gathering, with one send per subscriber for up to 64 messages that came in
/// one turn.
template <typename Sender>
class BareLoop {
 public:
  BareLoop(std::uint16_t port, bool gathers) : gathers_(gathers), read_buffer_(kReadBytes) {
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
      flush();
      drop_slow();
    }
    std::fprintf(stderr, "bare_loop: %llu sends, %llu slow subscribers dropped\n",
                 static_cast<unsigned long long>(sender_.sends()), static_cast<unsigned long long>(dropped_));
  }

 private:
  static constexpr std::size_t kGatherMessages = 64;
  static constexpr std::size_t kReadBytes = 256 * 1024;
  static constexpr std::size_t kKept = 128;  // publications of a channel that a late poll still gets

  struct Channel {
    std::string name;
    std::uint64_t offset = 0;
    std::vector<int> web, events;                      // subscribers by transport
    std::vector<std::pair<int, std::uint64_t>> polls;  // those held, with the offset after which they go on
    std::vector<std::string> kept;                     // poll objects, by offset modulo kKept
  };

  struct Message {
    Channel* channel;
    std::string web, event;
  };

  struct Connection {
    bool is_open = false;
    bool is_upgraded = false;
    bool is_touched = false;           // has messages in this turn's batch
    std::vector<std::uint32_t> batch;  // which, where the batch is of several channels
  };

  Connection& connection(int fd) { return connections_[static_cast<std::size_t>(fd)]; }

  // ---- connections

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
    if (!connection(fd).is_open) return;
    flush();  // nothing of a batch may still name it
    for (auto& [name, channel] : channels_) {
      std::erase(channel->web, fd);
      std::erase(channel->events, fd);
      std::erase_if(channel->polls, [fd](const auto& poll) { return poll.first == fd; });
    }
    connection(fd) = Connection{};
    partial_.erase(fd);
    close(fd);
  }

  void drop_slow() {
    for (const int fd : std::exchange(sender_.slow(), {})) {
      if (connection(fd).is_open) ++dropped_;
      drop(fd);
    }
  }

  // ---- reading

  void read_from(int fd) {
    if (!connection(fd).is_open) return;
    const auto partial = partial_.extract(fd);
    const std::size_t kept = partial ? partial.mapped().size() : 0;
    if (kept >= kReadBytes) return drop(fd);
    if (partial) std::copy(partial.mapped().begin(), partial.mapped().end(), read_buffer_.begin());
    const ssize_t got = recv(fd, read_buffer_.data() + kept, kReadBytes - kept, 0);
    if (got <= 0) return drop(fd);  // readiness was announced, so EAGAIN cannot be
    const std::size_t size = kept + static_cast<std::size_t>(got);
    replies_.clear();
    const std::size_t used = consume(fd, size);
    if (!connection(fd).is_open) return;
    if (used < size) partial_[fd].assign(read_buffer_.data() + used, size - used);
    if (replies_.empty()) return;
    sender_.send(fd, replies_);
    sender_.flush();  // the buffer is used again
  }

  /// Works through `size` bytes of the read buffer; returns how many were complete requests or frames.
  std::size_t consume(int fd, std::size_t size) {
    std::size_t used = 0;
    while (used < size && connection(fd).is_open) {
      char* at = read_buffer_.data() + used;
      std::size_t step = 0;
      if (!connection(fd).is_upgraded) {
        step = handle_request(fd, {at, size - used});
      } else if (const auto frame = load::read_frame(at, size - used)) {
        step = frame->wire_bytes;
        if (frame->head == load::kCloseFrame) {
          drop(fd);
        } else if (frame->head == load::kTextFrame) {
          handle_commands(fd, frame->payload);
        }
      }
      if (step == 0) break;
      used += step;
    }
    return used;
  }

  /// An upgrade, a stream, a poll, or a POST of a publication; returns its bytes, 0 while it is incomplete.
  std::size_t handle_request(int fd, std::string_view text) {
    const std::size_t end = text.find("\r\n\r\n");
    if (end == std::string_view::npos) return 0;
    const std::string_view head = text.substr(0, end + 2);
    if (head.starts_with("POST ")) {
      const std::size_t body_bytes = to_number(header_value(head, "Content-Length: ", "content-length: "));
      if (text.size() < end + 4 + body_bytes) return 0;
      const std::string_view body = text.substr(end + 4, body_bytes);
      publish(channel(between(body, "\"channel\":\"", "\"")), data_of(body, 1));
      append_answer("{\"result\":{}}");
      return end + 4 + body_bytes;
    }
    if (head.starts_with("GET /poll?")) {
      handle_poll(fd, head.substr(0, head.find('\r')));
    } else if (head.starts_with("GET /sse?")) {
      handle_stream(fd, head.substr(0, head.find('\r')));
    } else {
      const std::string_view key = header_value(head, "Sec-WebSocket-Key: ", "sec-websocket-key: ");
      replies_ += "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
      replies_ += "Sec-WebSocket-Accept: " + accept_value(key) + "\r\n\r\n";
      connection(fd).is_upgraded = true;
    }
    return end + 4;
  }

  void append_answer(std::string_view body) {
    replies_ += "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ";
    replies_ += std::to_string(body.size()) + "\r\nCache-Control: no-store\r\nX-Accel-Buffering: no\r\n\r\n";
    replies_ += body;
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
      publish(channel(between(rest, "\"channel\":\"", "\"")), data_of(rest, 2));
      reply_ += "\"publish\":{}}";
    } else if (rest.starts_with("\"subscribe\":")) {
      Channel& joined = channel(between(rest, "\"channel\":\"", "\""));
      joined.web.push_back(fd);
      reply_ += "\"subscribe\":{\"recoverable\":true,\"epoch\":\"bareloop\",\"offset\":" +
                std::to_string(joined.offset) + ",\"positioned\":true}}";
    } else {
      reply_ += "\"connect\":{\"client\":\"bare\",\"version\":\"bare\"}}";
    }
    load::append_frame(replies_, load::kTextFrame, reply_);
  }

  void handle_stream(int fd, std::string_view request) {
    Channel& joined = channel(between(request, "channel=", "& "));
    joined.events.push_back(fd);
    replies_ +=
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
        "X-Accel-Buffering: no\r\nConnection: close\r\n\r\nretry: 2000\n\nid: bareloop:" +
        std::to_string(joined.offset) + "\nevent: status\ndata: {\"channel\":\"" + joined.name +
        "\",\"recovered\":null,\"epoch\":\"bareloop\",\"offset\":" + std::to_string(joined.offset) + "}\n\n";
  }

  void handle_poll(int fd, std::string_view request) {
    Channel& asked = channel(between(request, "channel=", "& "));
    if (asked.kept.empty()) asked.kept.resize(kKept);
    const std::string_view since = between(request, "since=bareloop:", "& ");
    if (since.empty()) {  // where to begin
      const std::string offset = std::to_string(asked.offset);
      return append_answer("{\"publications\":[],\"since\":\"bareloop:" + offset +
                           "\",\"status\":[{\"channel\":\"" + asked.name +
                           "\",\"recovered\":null,\"epoch\":\"bareloop\",\"offset\":" + offset + "}]}");
    }
    const std::uint64_t after = to_number(since);
    if (after < asked.offset) {
      append_answer(poll_answer(asked, after));
    } else {
      asked.polls.emplace_back(fd, after);
    }
  }

  /// Everything after an offset, as Carillon answers.
  std::string poll_answer(const Channel& from, std::uint64_t after) const {
    std::string body = "{\"publications\":[";
    for (std::uint64_t offset = after + 1; offset <= from.offset; ++offset) {
      if (offset > after + 1) body += ",";
      body += from.kept[offset % kKept];
    }
    body += "],\"since\":\"bareloop:" + std::to_string(from.offset) + "\",\"status\":[{\"channel\":\"" +
            from.name + "\",\"recovered\":true,\"epoch\":\"bareloop\",\"offset\":" + std::to_string(after) +
            "}]}";
    return body;
  }

  // ---- publishing

  Channel& channel(std::string_view name) {
    name_.assign(name);
    std::unique_ptr<Channel>& found = channels_[name_];
    if (!found) {
      found = std::make_unique<Channel>();
      found->name = name;
    }
    return *found;
  }

  void publish(Channel& to, std::string_view data) {
    const std::string offset = std::to_string(++to.offset);
    if (batch_.size() == messages_) batch_.emplace_back();
    Message& message = batch_[messages_++];
    message.channel = &to;
    if (!to.web.empty()) {
      text_.assign("{\"push\":{\"channel\":\"").append(to.name).append("\",\"pub\":{\"data\":").append(data);
      text_.append(",\"offset\":").append(offset).append("}}}");
      message.web.clear();
      load::append_frame(message.web, load::kTextFrame, text_);
    }
    if (!to.events.empty() || !to.kept.empty()) {
      text_.assign("{\"channel\":\"").append(to.name).append("\",\"offset\":").append(offset);
      text_.append(",\"data\":").append(data).append("}");
      message.event.assign("id: bareloop:").append(offset).append("\ndata: ").append(text_).append("\n\n");
      if (!to.kept.empty()) to.kept[to.offset % kKept] = text_;
    }
    if (!gathers_ || messages_ == kGatherMessages) flush();
  }

  void flush() {
    if (messages_ == 0) return;
    const auto end = batch_.begin() + static_cast<std::ptrdiff_t>(messages_);
    const bool is_one_channel = std::all_of(batch_.begin(), end, [this](const Message& message) {
      return message.channel == batch_.front().channel;
    });
    if (is_one_channel) {
      flush_one_channel(*batch_.front().channel);
    } else {
      flush_by_connection();
    }
    for (auto message = batch_.begin(); message != end; ++message) answer_polls(*message->channel);
    messages_ = 0;
  }

  /// Everybody gets the same bytes.
  void flush_one_channel(Channel& to) {
    send_all(to.web, &Message::web);
    send_all(to.events, &Message::event);
  }

  void send_all(const std::vector<int>& subscribers, std::string Message::* form) {
    if (subscribers.empty()) return;
    block_.clear();
    for (std::size_t i = 0; i < messages_; ++i) block_ += batch_[i].*form;
    for (const int fd : subscribers) sender_.send(fd, block_);
    sender_.flush();
  }

  /// Each connection gets what its channels have, in one send.
  void flush_by_connection() {
    for (std::uint32_t i = 0; i < messages_; ++i) {
      for (const std::vector<int>* subscribers : {&batch_[i].channel->web, &batch_[i].channel->events}) {
        for (const int fd : *subscribers) {
          connection(fd).batch.push_back(i);
          if (!std::exchange(connection(fd).is_touched, true)) touched_.push_back(fd);
        }
      }
    }
    blocks_.resize(std::max(blocks_.size(), touched_.size()));
    for (std::size_t i = 0; i < touched_.size(); ++i) {
      Connection& each = connection(touched_[i]);
      blocks_[i].clear();
      for (const std::uint32_t message : each.batch) {
        blocks_[i] += each.is_upgraded ? batch_[message].web : batch_[message].event;
      }
      sender_.send(touched_[i], blocks_[i]);
      each.batch.clear();
      each.is_touched = false;
    }
    sender_.flush();
    touched_.clear();
  }

  void answer_polls(Channel& of) {
    if (of.polls.empty()) return;
    std::uint64_t after = ~0ULL;
    std::string saved = std::exchange(replies_, {});
    for (const auto& [fd, position] : std::exchange(of.polls, {})) {
      if (position != after) {  // nearly all stand at the same place
        sender_.flush();
        replies_.clear();
        after = position;
        append_answer(poll_answer(of, after));
      }
      sender_.send(fd, replies_);
    }
    sender_.flush();
    replies_ = std::move(saved);
  }

  const bool gathers_;
  Sender sender_;
  int epoll_ = -1;
  int listener_ = -1;
  std::uint64_t dropped_ = 0;
  std::vector<char> read_buffer_;
  std::map<int, std::string> partial_;   // unfinished requests and frames, by descriptor
  std::vector<Connection> connections_;  // by descriptor
  std::unordered_map<std::string, std::unique_ptr<Channel>> channels_;

  std::vector<Message> batch_;  // the first `messages_` wait for their subscribers
  std::size_t messages_ = 0;
  std::vector<int> touched_;
  std::vector<std::string> blocks_;
  std::string block_, replies_, reply_, text_, name_;
};

}  // namespace carillon::bench
