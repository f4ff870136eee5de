#include "load/board.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace carillon::load {

static_assert(std::atomic<std::uint64_t>::is_always_lock_free, "the board is shared between processes");

Board::Board(const std::string& path, bool is_new) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | (is_new ? O_CREAT | O_TRUNC : 0), 0600);
  if (fd < 0) throw std::system_error(errno, std::generic_category(), path);
  void* memory = MAP_FAILED;
  if (::ftruncate(fd, sizeof(Layout)) == 0) {
    memory = ::mmap(nullptr, sizeof(Layout), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  }
  const int error = errno;
  ::close(fd);
  if (memory == MAP_FAILED) throw std::system_error(error, std::generic_category(), path);
  layout_ = static_cast<Layout*>(memory);  // zeros, which are valid atomics
}

Board::~Board() { ::munmap(layout_, sizeof(Layout)); }

}  // namespace carillon::load
