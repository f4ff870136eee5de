#include "gateway/fork_guard.hpp"

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <vector>

namespace carillon {

namespace {

/// Of the socket; 0: it is none.
ino_t inode_of(int descriptor) {
  struct stat found{};
  return ::fstat(descriptor, &found) == 0 && S_ISSOCK(found.st_mode) ? found.st_ino : 0;
}

struct GuardedSockets {
  std::mutex mutex;
  std::vector<ino_t> inodes;  // by descriptor

  static GuardedSockets& get() {
    static GuardedSockets& sockets = *new GuardedSockets;  // never destroyed: a fork may come at any time
    return sockets;
  }

 private:
  GuardedSockets() {
    ::pthread_atfork([] { get().mutex.lock(); }, [] { get().mutex.unlock(); }, [] { get().close_all(); });
  }
  /// In the child, whose only thread holds the mutex. Takes no memory.
  void close_all() {
    for (std::size_t i = 0; i < inodes.size(); ++i) {
      const int descriptor = static_cast<int>(i);
      if (inodes[i] != 0 && inode_of(descriptor) == inodes[i]) ::close(descriptor);
      inodes[i] = 0;
    }
    mutex.unlock();
  }
};

}  // namespace

ForkGuard::ForkGuard() : lock_(GuardedSockets::get().mutex) {}

void ForkGuard::add(int socket) {
  if (socket < 0) return;
  std::vector<ino_t>& inodes = GuardedSockets::get().inodes;
  const auto index = static_cast<std::size_t>(socket);
  if (inodes.size() <= index) inodes.resize(index + 1);
  inodes[index] = inode_of(socket);
}

}  // namespace carillon
