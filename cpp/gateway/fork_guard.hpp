#pragma once

#include <mutex>

namespace carillon {

/// Sockets that a forked child must not keep: it would hold the port, and the connections of the parent's
/// clients, as long as it lives. The child closes them before fork() returns there. (What is executed has
/// lost them by close-on-exec.)
///
/// While a guard lives nobody forks: it makes one, opens a socket without waiting, and adds it. Closing one
/// needs nothing: the child knows an added socket by its inode.
class ForkGuard {
 public:
  ForkGuard();
  void add(int socket);

 private:
  std::unique_lock<std::mutex> lock_;
};

}  // namespace carillon
