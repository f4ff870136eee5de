#include "gateway/flush.hpp"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>

namespace carillon {

namespace {

constexpr int kFlags = MSG_DONTWAIT | MSG_NOSIGNAL;
constexpr std::size_t kSlicesPerCall = 64;

/// send() is a cancellation point, which in a process with threads costs three times the instructions of
/// this.
std::int64_t send_now(int descriptor, const char* data, std::size_t bytes) {
#ifdef CARILLON_FAULT_LOSE_FRAME  // the build of `make test-fault`: the tests must notice
  static std::atomic<std::uint32_t> sends{0};
  if (++sends % 100 == 0) return static_cast<std::int64_t>(bytes);
#endif
  return ::syscall(SYS_sendto, descriptor, data, bytes, kFlags, nullptr, 0);
}

bool is_broken(int error) {
  return error != EAGAIN && error != EWOULDBLOCK && error != EINTR && error != ENOBUFS;
}

/// Sends the outlet's list of slices; `total` tells how many bytes there were. Negative: the errno of a
/// broken connection.
std::int64_t send_list(const TurnOutput& output, const Outlet& outlet, std::size_t& total) {
  std::int64_t taken = 0;
  bool is_full = false;
  std::int32_t next = outlet.first_slice;
  while (next >= 0) {
    std::array<iovec, kSlicesPerCall> vectors;
    std::size_t count = 0;
    std::size_t bytes = 0;
    for (; next >= 0 && count < vectors.size(); next = output.slice(next).next) {
      const Slice& slice = output.slice(next);
      if (slice.bytes == 0) continue;
      vectors[count++] = {const_cast<char*>(slice.data), slice.bytes};
      bytes += slice.bytes;
    }
    total += bytes;
    if (is_full || count == 0) continue;
    msghdr message{};
    message.msg_iov = vectors.data();
    message.msg_iovlen = count;
    const ssize_t sent = ::sendmsg(outlet.descriptor, &message, kFlags);
    if (sent < 0 && is_broken(errno)) return -errno;
    if (sent > 0) taken += sent;
    is_full = sent < static_cast<ssize_t>(bytes);
  }
  return taken;
}

}  // namespace

void SendFlush::flush(TurnOutput& output, Millis now_ms, FlushReport& report) {
  for (Outlet* outlet : output.outlets()) flush_one(output, *outlet, now_ms, report);
}

void Flush::flush_one(TurnOutput& output, Outlet& outlet, Millis now_ms, FlushReport& report) {
  const Slice& first = output.slice(outlet.first_slice);
  std::size_t total = first.bytes;
  std::int64_t result = 0;
  if (first.next < 0 && first.bytes > 0) {
    result = send_now(outlet.descriptor, first.data, first.bytes);
    if (result < 0) result = -errno;
  } else {
    total = 0;
    result = send_list(output, outlet, total);
  }
  if (result != static_cast<std::int64_t>(total))
    return account_short(output, outlet, result, now_ms, report);
  output.account_all(outlet);
  if (outlet.wants_empty_notice) report.emptied.push_back(&outlet);
}

void Flush::account_short(TurnOutput& output, Outlet& outlet, std::int64_t result, Millis now_ms,
                          FlushReport& report) {
  output.account_part(outlet, result < 0 ? 0 : static_cast<std::size_t>(result), now_ms);
  const bool is_lost = result < 0 && is_broken(static_cast<int>(-result));
  (is_lost ? report.broken : report.clogged).push_back(&outlet);
}

bool Flush::flush_rest(Outlet& outlet, Millis now_ms, FlushReport& report) {
  const std::string_view rest = outlet.rest_view();
  if (!rest.empty()) {
    const std::int64_t sent = send_now(outlet.descriptor, rest.data(), rest.size());
    if (sent < 0) {
      if (is_broken(errno)) report.broken.push_back(&outlet);
      return false;
    }
    if (sent > 0) outlet.progress_ms = now_ms;
    outlet.rest_sent += static_cast<std::uint32_t>(sent);
    if (static_cast<std::size_t>(sent) < rest.size()) return false;
  }
  outlet.rest.reset();
  outlet.rest_sent = 0;
  outlet.is_clogged = false;
  return true;
}

}  // namespace carillon
