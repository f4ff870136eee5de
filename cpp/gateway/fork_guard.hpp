#pragma once

#include <mutex>

namespace carillon {

/// Sockets that a forked child must not keep, because it would hold the port and the parent's connections as
/// long as it lives. The child closes them before fork() returns there. (An executed program has lost them by
/// close-on-exec.)
///
/// No thread forks while a guard exists: make a guard, open a socket without waiting, and add it. Closing a
/// socket needs no call: the child recognises an added socket by its inode.
class ForkGuard {
 public:
  ForkGuard();
  void add(int socket);

 private:
  std::unique_lock<std::mutex> lock_;
};

}  // namespace carillon
