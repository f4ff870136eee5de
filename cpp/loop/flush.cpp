#include "loop/flush.hpp"

#include <cerrno>

namespace carillon {

bool Flush::is_broken(int error) {
  return error != EAGAIN && error != EWOULDBLOCK && error != EINTR && error != ENOBUFS;
}

void Flush::account_short(TurnOutput& output, const Slice& first, std::int64_t result, Millis now_ms,
                          FlushReport& report) {
  output.account_part(first, result < 0 ? 0 : static_cast<std::size_t>(result), now_ms);
  const bool is_lost = result < 0 && is_broken(static_cast<int>(-result));
  (is_lost ? report.broken : report.clogged).push_back(first.outlet);
}

bool Flush::flush_unsent(Outlet& outlet, Millis now_ms, FlushReport& report) {
  const std::string_view unsent = outlet.unsent_view();
  if (!unsent.empty()) {
    const std::int64_t sent = send(outlet, unsent);
    if (sent < 0) {
      if (is_broken(static_cast<int>(-sent))) report.broken.push_back(&outlet);
      return false;
    }
    if (sent > 0) outlet.progress_ms = now_ms;
    const bool is_short = static_cast<std::size_t>(sent) < unsent.size();
    outlet.unsent->remove_front(static_cast<std::size_t>(sent));
    if (is_short) return false;
  }
  outlet.unsent.reset();
  outlet.is_clogged = false;
  return true;
}

}  // namespace carillon
