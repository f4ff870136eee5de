#include "gateway/send_flush.hpp"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "env/planted_fault.hpp"

namespace carillon {

namespace {

constexpr int kSendFlags = MSG_DONTWAIT | MSG_NOSIGNAL;
constexpr std::size_t kSlicesPerCall = 64;

/// send() is a cancellation point, which in a process with threads costs three times the instructions of
/// this.
std::int64_t send_now(int descriptor, const char* data, std::size_t bytes) {
  if (has_fault<PlantedFault::lost_frame>(100)) return static_cast<std::int64_t>(bytes);
  return ::syscall(SYS_sendto, descriptor, data, bytes, kSendFlags, nullptr, 0);
}

}  // namespace

std::int64_t SendFlush::send(const Outlet& outlet, std::string_view bytes) {
  const std::int64_t sent = send_now(outlet.descriptor, bytes.data(), bytes.size());
  return sent < 0 ? -errno : sent;
}

std::int64_t SendFlush::send_list(const Slice& first, std::size_t& total) {
  std::int64_t taken = 0;
  bool is_full = false;
  const Slice* next = &first;
  while (next != nullptr) {
    std::array<iovec, kSlicesPerCall> vectors;
    std::size_t count = 0;
    std::size_t bytes = 0;
    for (; next != nullptr && count < vectors.size(); next = next->next) {
      const std::string_view slice = next->bytes();
      if (slice.empty()) continue;
      vectors[count++] = {const_cast<char*>(slice.data()), slice.size()};
      bytes += slice.size();
    }
    total += bytes;
    if (is_full || count == 0) continue;
    msghdr message{};
    message.msg_iov = vectors.data();
    message.msg_iovlen = count;
    const ssize_t sent = ::sendmsg(first.outlet->descriptor, &message, kSendFlags);
    if (sent < 0 && is_broken(errno)) return -errno;
    if (sent > 0) taken += sent;
    is_full = sent < static_cast<ssize_t>(bytes);
  }
  return taken;
}

void SendFlush::flush(TurnOutput& output, Millis now_ms, FlushReport& report) {
  for (const Slice& slice : output.slices()) {
    if (slice.outlet != nullptr) flush_one(output, slice, now_ms, report);
  }
}

void SendFlush::flush_one(TurnOutput& output, const Slice& first, Millis now_ms, FlushReport& report) {
  const std::string_view bytes = first.bytes();
  std::size_t total = bytes.size();
  std::int64_t result = 0;
  if (first.next == nullptr && !bytes.empty()) {
    result = send_now(first.outlet->descriptor, bytes.data(), bytes.size());
    if (result < 0) result = -errno;
  } else {
    total = 0;
    result = send_list(first, total);
  }
  if (result != static_cast<std::int64_t>(total)) return account_short(output, first, result, now_ms, report);
  account_whole(first, report);
}

}  // namespace carillon
