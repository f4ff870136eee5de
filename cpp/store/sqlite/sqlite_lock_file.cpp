#include "store/sqlite/sqlite_lock_file.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "env/process_forks.hpp"

namespace carillon {

namespace {

// A forked child would keep the lock after its parent's end: the descriptor is of the same open file.
std::array<std::atomic<int>, 64> g_lock_files{};  // descriptor + 1; 0: free

void on_forked_child() {
  for (std::atomic<int>& each : g_lock_files) {
    if (const int file = each.exchange(0) - 1; file >= 0) ::close(file);
  }
}

void watch_lock_files() {
  watch_forks();
  static const int registered = pthread_atfork(nullptr, nullptr, on_forked_child);
  if (registered != 0) throw std::runtime_error("pthread_atfork failed");
}

std::string holder_of(int file) {
  std::array<char, 24> text{};
  const ssize_t size = ::pread(file, text.data(), text.size() - 1, 0);
  return size > 0 ? " (process " + std::string(text.data(), static_cast<std::size_t>(size)) + ")" : "";
}

}  // namespace

std::string_view network_file_system(std::uint64_t type) {
  switch (static_cast<std::uint32_t>(type)) {
    case 0x6969:
      return "NFS";
    case 0x517b:
    case 0xff534d42:
    case 0xfe534d42:
      return "SMB";
    case 0x01021997:
      return "9P";
    case 0x5346414f:
      return "AFS";
    default:
      return "";
  }
}

bool is_locked_by_this_process(const std::string& database_path) {
  const Descriptor file(::open((database_path + "-lock").c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file.is_open() || ::flock(file.get(), LOCK_SH | LOCK_NB) == 0) return false;
  return holder_of(file.get()) == " (process " + std::to_string(::getpid()) + ")";
}

bool SqliteLockFile::is_in_force() const {
  struct stat own{};
  struct stat named{};
  return file_ < 0 || (::fstat(file_, &own) == 0 && ::stat(path_.c_str(), &named) == 0 &&
                       own.st_dev == named.st_dev && own.st_ino == named.st_ino);
}

SqliteLockFile::SqliteLockFile(const std::string& database_path) : path_(database_path + "-lock") {
  watch_lock_files();
  const std::string& path = path_;
  const std::string where = "sqlite:" + database_path + ": ";
  file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file_ < 0) {
    const int error = errno;
    if (error == ENOENT)
      throw std::runtime_error(where + "the directory does not exist; create it, or name another path");
    if (error == EACCES || error == EPERM || error == EROFS)
      throw std::runtime_error(where + "this user may not write in its directory, or not to " + path + " (" +
                               std::strerror(error) + "); the store needs to create files there");
    throw std::runtime_error(where + "cannot open " + path + ": " + std::strerror(error));
  }
  struct statfs system{};
  if (::fstatfs(file_, &system) == 0) {
    const auto name = network_file_system(static_cast<std::uint64_t>(system.f_type));
    if (!name.empty()) {
      ::close(file_);
      throw std::runtime_error(where + "it is on a network file system (" + std::string(name) +
                               "), whose locks cannot be trusted; use a local disk, or store = redis://…");
    }
  }
  if (::flock(file_, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    const std::string holder = holder_of(file_);
    ::close(file_);
    if (error == EWOULDBLOCK)
      throw std::runtime_error(where + "another server" + holder +
                               " uses this file; stop it, or give each server a file of its own");
    throw std::runtime_error(where + "its file system cannot lock files (" + std::strerror(error) +
                             "); use a local disk");
  }
  register_holder();
}

SqliteLockFile::SqliteLockFile(const std::string& database_path, Descriptor sent)
    : path_(database_path + "-lock") {
  watch_lock_files();
  struct stat own{};
  struct stat named{};
  if (::fstat(sent.get(), &own) != 0 || ::stat((database_path + "-lock").c_str(), &named) != 0 ||
      own.st_dev != named.st_dev || own.st_ino != named.st_ino)
    throw std::runtime_error("sqlite:" + database_path +
                             ": the other process holds the lock of another file, or somebody has removed " +
                             database_path + "-lock; stop that process, and start this one then");
  file_ = sent.release();
  is_own_ = false;  // until the other one has let go of it
  register_holder();
}

void SqliteLockFile::register_holder() const {
  if (file_ < 0) return;
  const std::string own = std::to_string(::getpid());
  if (::ftruncate(file_, 0) != 0 || ::pwrite(file_, own.data(), own.size(), 0) < 0) {
    // The number is for the message only: a full disk must not keep the server from starting.
  }
  for (std::atomic<int>& each : g_lock_files) {
    if (each == file_ + 1) return;
  }
  for (std::atomic<int>& each : g_lock_files) {
    int free = 0;
    if (each.compare_exchange_strong(free, file_ + 1)) break;
  }
}

void SqliteLockFile::release() {
  const int file = std::exchange(file_, -1);
  if (file < 0) return;
  for (std::atomic<int>& each : g_lock_files) {
    int own = file + 1;
    if (each.compare_exchange_strong(own, 0)) break;
  }
  // Closing alone leaves it to a child that was forked just now and has not closed its copy yet.
  if (is_own_) ::flock(file, LOCK_UN);
  ::close(file);
}

}  // namespace carillon
