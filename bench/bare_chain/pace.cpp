// Publishes at one port and subscribes at another, at a steady pace, and says how long publications took from
// socket to socket. One thread sleeps between two publications; gateways and bare chains are measured by the
// same program, so that what it adds is in both. Prints one JSON object.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "../bare_loop/options.hpp"
#include "../bare_loop/request.hpp"
#include "load/web_frame.hpp"

namespace {

using namespace carillon;
using namespace carillon::bench;

constexpr const char* kUsage =
    "usage: pace --publish PORT --subscribe PORT [--rate 1000] [--seconds 10] [--payload 128]\n";
constexpr std::uint32_t kMask = 0x5A3C96E1;
constexpr long kLastNs = 1'000'000'000;  // wait for what is still on its way
constexpr std::size_t kWarmUp = 10;      // the first tenth does not count

long now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000L + now.tv_nsec;
}

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

/// A WebSocket; all that comes is given to `on_text`.
class Web {
 public:
  explicit Web(std::uint16_t port) : buffer_(256 * 1024) {
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) die("connect");
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const std::string request =
        "GET /connection/websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: "
        "Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    if (::send(fd, request.data(), request.size(), 0) < 0) die("send");
    while (std::string_view(buffer_.data(), size_).find("\r\n\r\n") == std::string_view::npos) receive();
    drop(std::string_view(buffer_.data(), size_).find("\r\n\r\n") + 4);
  }
  ~Web() { close(fd); }
  Web(const Web&) = delete;
  Web& operator=(const Web&) = delete;

  void say(std::string_view text) {
    frame_.clear();
    load::append_frame(frame_, load::kTextFrame, text, kMask);
    if (::send(fd, frame_.data(), frame_.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(frame_.size()))
      die("send");
  }
  /// Waits for a line with `part`.
  void await(std::string_view part) {
    bool is_there = false;
    const auto look = [&](std::string_view line) { is_there = is_there || line.find(part) != line.npos; };
    each_line(look);
    while (!is_there) {
      receive();
      each_line(look);
    }
  }
  void receive() {
    const ssize_t got = recv(fd, buffer_.data() + size_, buffer_.size() - size_, 0);
    if (got <= 0) die("the server has closed");
    size_ += static_cast<std::size_t>(got);
  }
  template <typename OnLine>
  void each_line(OnLine on_line) {
    std::size_t used = 0;
    while (const auto frame = load::read_frame(buffer_.data() + used, size_ - used)) {
      used += frame->wire_bytes;
      for (std::string_view rest = frame->payload; !rest.empty();) {
        const std::size_t end = std::min(rest.find('\n'), rest.size());
        const std::string_view line = rest.substr(0, end);
        rest.remove_prefix(std::min(end + 1, rest.size()));
        if (line == "{}") {
          say("{}");
        } else {
          on_line(line);
        }
      }
    }
    drop(used);
  }

  int fd = -1;

 private:
  void drop(std::size_t used) {
    std::copy(buffer_.begin() + static_cast<long>(used), buffer_.begin() + static_cast<long>(size_),
              buffer_.begin());
    size_ -= used;
  }

  std::vector<char> buffer_;
  std::size_t size_ = 0;
  std::string frame_;
};

int run(const Options& options) {
  const auto rate = options.number<long>("rate", 1'000);
  const auto seconds = options.number<long>("seconds", 10);
  const auto payload = options.number<std::size_t>("payload", 128);
  Web publisher(options.number<std::uint16_t>("publish", 0));
  Web subscriber(options.number<std::uint16_t>("subscribe", 0));
  publisher.say("{\"id\":1,\"connect\":{}}");
  publisher.await("\"connect\"");
  subscriber.say("{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"room\"}}");
  subscriber.await("\"subscribe\"");

  const auto total = static_cast<std::size_t>(rate * seconds);
  std::vector<long> times;
  times.reserve(total);
  std::size_t errors = 0;
  std::size_t sent = 0;
  const std::string padding(payload, 'x');
  const auto on_push = [&](std::string_view line) {
    if (line.find("\"push\"") == line.npos) return;
    const std::uint64_t at = to_number(between(line, "\"t\":", ",}"));
    if (at != 0) times.push_back(now_ns() - static_cast<long>(at));
  };
  const auto on_answer = [&](std::string_view line) {
    errors += line.find("\"error\"") != line.npos ? 1 : 0;
  };
  long due = now_ns();
  std::array<pollfd, 2> both{pollfd{publisher.fd, POLLIN, 0}, pollfd{subscriber.fd, POLLIN, 0}};
  while (times.size() < total) {
    long now = now_ns();
    if (sent < total && now >= due) {
      const std::string start = "{\"t\":" + std::to_string(now_ns()) + ",\"d\":\"";
      const std::size_t missing = payload - std::min(payload, start.size() + 2);
      publisher.say("{\"id\":" + std::to_string(sent + 2) + ",\"publish\":{\"channel\":\"room\",\"data\":" +
                    start + padding.substr(0, missing) + "\"}}}");
      ++sent;
      due += 1'000'000'000L / rate;
      continue;
    }
    if (sent == total && now > due + kLastNs) break;
    const long wait = sent < total ? due - now : due + kLastNs + 1 - now;
    const timespec timeout{wait / 1'000'000'000L, wait % 1'000'000'000L};
    if (ppoll(both.data(), both.size(), &timeout, nullptr) <= 0) continue;
    if (both[1].revents != 0) {
      subscriber.receive();
      subscriber.each_line(on_push);
    }
    if (both[0].revents != 0) {
      publisher.receive();
      publisher.each_line(on_answer);
    }
  }
  const std::size_t arrived = times.size();
  times.erase(times.begin(), times.begin() + static_cast<long>(arrived / kWarmUp));
  if (times.empty()) die("nothing has arrived");
  std::sort(times.begin(), times.end());
  const auto quantile = [&](double part) {
    return static_cast<double>(
               times[static_cast<std::size_t>(static_cast<double>(times.size() - 1) * part)]) /
           1e3;
  };
  std::printf(
      "{\"sent\": %zu, \"arrived\": %zu, \"errors\": %zu, \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": "
      "%.1f, "
      "\"max_us\": %.1f}\n",
      sent, arrived, errors, quantile(0.5), quantile(0.9), quantile(0.99), quantile(1));
  return arrived == total && errors == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  return run(Options(argc, argv, {"publish", "subscribe", "rate", "seconds", "payload"}, {}, kUsage));
}
