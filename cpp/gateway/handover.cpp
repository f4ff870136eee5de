#include "gateway/handover.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <thread>
#include <tuple>

#include "gateway/fork_guard.hpp"

namespace carillon {

namespace {

/// SCM_MAX_FD of Linux: more in one message are refused.
constexpr std::size_t kDescriptorsPerMessage = 253;
constexpr std::uint32_t kMagic = 0x4c524143;  // "CARL"
/// While the kernel has more of our descriptors under way than it likes.
constexpr auto kRetry = std::chrono::milliseconds(1);

struct Head {
  std::uint32_t magic = kMagic;
  std::uint32_t kind = 0;
  std::uint64_t body_bytes = 0;
  std::uint64_t descriptors = 0;
};

[[noreturn]] void fail(const std::string& what, int error) {
  throw HandoverError(what + ": " + std::generic_category().message(error));
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    throw HandoverError("takeover.socket: '" + path + "' is longer than " +
                        std::to_string(sizeof address.sun_path - 1) +
                        " bytes, which no Unix socket can be; choose a shorter path");
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

Descriptor make_socket() {
  ForkGuard guard;
  Descriptor made(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  guard.add(made.get());
  if (!made.is_open()) fail("socket", errno);
  return made;
}

ucred peer_of(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) fail("SO_PEERCRED", errno);
  return peer;
}

bool is_own_user(uid_t user) { return user == ::geteuid() || user == 0; }

bool is_socket(const std::string& path) {
  struct stat found{};
  return ::lstat(path.c_str(), &found) == 0 && S_ISSOCK(found.st_mode);
}

void take_descriptors(msghdr& message, ForkGuard& guard, std::vector<Descriptor>& descriptors) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t numbers = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < numbers; ++i) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(part) + i * sizeof(int), sizeof number);
      descriptors.emplace_back(number);
      guard.add(number);
    }
  }
}

int connect_to(const Descriptor& socket, const std::string& path) {
  const sockaddr_un address = address_of(path);
  return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? 0
                                                                                                   : errno;
}

}  // namespace

// ---- the channel

HandoverChannel HandoverChannel::connect(const std::string& path) {
  Descriptor socket = make_socket();
  if (const int error = connect_to(socket, path); error != 0) {
    throw HandoverError(
        "no running server answers at " + path + " (" + std::generic_category().message(error) +
        "): start without --takeover (in Python: start()), or name its socket by takeover.socket");
  }
  const uid_t owner = peer_of(socket.get()).uid;
  if (!is_own_user(owner)) {
    throw HandoverError("who listens at " + path + " is another user (uid " + std::to_string(owner) +
                        "): choose another takeover.socket, in a directory of your own");
  }
  return HandoverChannel(std::move(socket));
}

int HandoverChannel::peer_process() const { return peer_of(socket_.get()).pid; }

void HandoverChannel::abort() { ::shutdown(socket_.get(), SHUT_RDWR); }

void HandoverChannel::wait(short events, Time until) const {
  pollfd poll{socket_.get(), events, 0};
  int ready = 0;
  do {  // a signal ends no wait
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now()).count();
    ready = ::poll(&poll, 1, static_cast<int>(std::clamp<std::int64_t>(left, 0, 1'000'000)));
  } while (ready < 0 && errno == EINTR);
  if (ready < 0) fail("poll", errno);
  if (ready == 0) throw HandoverError("the other process did not answer in time (takeover.timeout_ms)");
}

void HandoverChannel::send_some(std::string_view& bytes, Time until) {
  const ssize_t sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (sent >= 0) {
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
    wait(POLLOUT, until);
  } else if (errno != EINTR) {
    fail("the other process is gone", errno);
  }
}

void HandoverChannel::send(std::uint32_t kind, std::string_view body, std::span<const int> descriptors,
                           Time until) {
  const Head head{kMagic, kind, body.size(), descriptors.size()};
  std::string_view bytes(reinterpret_cast<const char*>(&head), sizeof head);
  while (!bytes.empty()) send_some(bytes, until);
  while (!descriptors.empty()) {
    const auto batch = descriptors.first(std::min(descriptors.size(), kDescriptorsPerMessage));
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kDescriptorsPerMessage)> control{};
    char carrier = 0;
    iovec vector{&carrier, 1};
    msghdr message{};
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(batch.size_bytes());
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(batch.size_bytes());
    std::memcpy(CMSG_DATA(rights), batch.data(), batch.size_bytes());
    if (::sendmsg(socket_.get(), &message, MSG_NOSIGNAL) == 1) {
      descriptors = descriptors.subspan(batch.size());
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      wait(POLLOUT, until);
    } else if (errno == ETOOMANYREFS) {
      if (std::chrono::steady_clock::now() > until) fail("descriptors cannot be sent", errno);
      std::this_thread::sleep_for(kRetry);
    } else if (errno != EINTR) {
      fail("descriptors cannot be sent", errno);
    }
  }
  while (!body.empty()) send_some(body, until);
}

void HandoverChannel::receive_exactly(std::span<char> bytes, Time until) {
  while (!bytes.empty()) {
    const ssize_t count = ::recv(socket_.get(), bytes.data(), bytes.size(), 0);
    if (count > 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    } else if (count == 0) {
      throw HandoverError("the other process has gone");
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      wait(POLLIN, until);
    } else if (errno != EINTR) {
      fail("the other process is gone", errno);
    }
  }
}

void HandoverChannel::receive_descriptors(std::size_t count, std::vector<Descriptor>& descriptors,
                                          Time until) {
  while (descriptors.size() < count) {
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kDescriptorsPerMessage)> control{};
    char carrier = 0;
    iovec vector{&carrier, 1};
    msghdr message{};
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    ssize_t read = 0;
    {
      ForkGuard guard;
      read = ::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC);
      if (read > 0) take_descriptors(message, guard, descriptors);
    }
    if (read == 0) throw HandoverError("the other process has gone");
    if (read < 0) {
      if (errno == EAGAIN || errno == EWOULDBLOCK) {
        wait(POLLIN, until);
      } else if (errno != EINTR) {
        fail("the other process is gone", errno);
      }
      continue;
    }
    if ((message.msg_flags & MSG_CTRUNC) != 0) {
      throw HandoverError("this process cannot have " + std::to_string(count) +
                          " more descriptors: raise ulimit -n");
    }
  }
}

HandoverMessage HandoverChannel::receive(Time until) {
  Head head;
  receive_exactly({reinterpret_cast<char*>(&head), sizeof head}, until);
  if (head.magic != kMagic) throw HandoverError("the other process is not a Carillon server");
  HandoverMessage message;
  message.kind = head.kind;
  receive_descriptors(head.descriptors, message.descriptors, until);
  message.body.resize(head.body_bytes);
  receive_exactly(message.body, until);
  return message;
}

bool HandoverChannel::decide(std::uint32_t kind, Time until) {
  try {
    wait(POLLIN, until);
  } catch (const HandoverError&) {  // looked at once more below
  }
  // From here on the kernel refuses what the other end sends, and keeps what it has sent before: there is no
  // moment in which both could believe that it is theirs.
  ::shutdown(socket_.get(), SHUT_RD);
  Head head;
  return ::recv(socket_.get(), &head, sizeof head, 0) == sizeof head && head.magic == kMagic &&
         head.kind == kind;
}

// ---- the listener

HandoverListener::HandoverListener(const std::string& path) : HandoverListener(make_socket()) {
  const sockaddr_un address = address_of(path);
  const auto* place = reinterpret_cast<const sockaddr*>(&address);
  if (::bind(socket_.get(), place, sizeof address) != 0) {
    if (errno != EADDRINUSE) fail("cannot listen at " + path, errno);
    if (!is_socket(path)) {
      throw HandoverError("takeover.socket: '" + path +
                          "' exists and is not a socket; remove it, or choose another path");
    }
    if (connect_to(make_socket(), path) != ECONNREFUSED) {
      throw HandoverError("another server listens at " + path);
    }
    // Left behind by one that did not come to remove it.
    if (::unlink(path.c_str()) != 0 || ::bind(socket_.get(), place, sizeof address) != 0) {
      fail("cannot listen at " + path, errno);
    }
  }
  if (::chmod(path.c_str(), S_IRUSR | S_IWUSR) != 0) fail("cannot close " + path + " to others", errno);
  if (::listen(socket_.get(), 4) != 0) fail("cannot listen at " + path, errno);
}

HandoverListener::HandoverListener(Descriptor listening)
    : socket_(std::move(listening)), stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!stop_.is_open()) fail("eventfd", errno);
}

std::optional<HandoverChannel> HandoverListener::accept() {
  while (true) {
    std::array<pollfd, 2> polls{{{socket_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}}};
    if (::poll(polls.data(), polls.size(), -1) < 0 && errno != EINTR) return std::nullopt;
    if (polls[1].revents != 0) return std::nullopt;
    if (polls[0].revents == 0) continue;
    Descriptor accepted;
    {
      ForkGuard guard;
      accepted = Descriptor(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      guard.add(accepted.get());
    }
    if (!accepted.is_open()) {
      std::this_thread::sleep_for(kRetry);  // out of descriptors, perhaps
      continue;
    }
    if (is_own_user(peer_of(accepted.get()).uid)) return HandoverChannel(std::move(accepted));
  }
}

void HandoverListener::stop() {
  const std::uint64_t one = 1;
  std::ignore = ::write(stop_.get(), &one, sizeof one);
}

void HandoverListener::remove_path() const {
  sockaddr_un address{};
  socklen_t size = sizeof address;
  if (::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) return;
  if (size > sizeof address.sun_family && address.sun_path[0] != '\0' && is_socket(address.sun_path)) {
    ::unlink(address.sun_path);
  }
}

}  // namespace carillon
