#include "store/sqlite/sqlite_unfinished_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "env/descriptor.hpp"

namespace carillon {

namespace {

[[noreturn]] void fail(const std::string& path, const std::string& what) {
  throw std::runtime_error("sqlite:" + path + ": " + what);
}

void sync(const std::string& target, const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.is_open() || ::fsync(file.get()) != 0)
    fail(target, std::string("cannot be put on disk (") + std::strerror(errno) + ")");
}

}  // namespace

SqliteUnfinishedFile::SqliteUnfinishedFile(const std::string& target)
    : target_(target), path_(target + ".XXXXXX") {
  for (const char* const suffix : {"-wal", "-journal"}) {
    struct stat status{};
    if (::stat((target + suffix).c_str(), &status) == 0 && status.st_size > 0)
      fail(target, target + suffix +
                       " belongs to a database that was moved away, and has a part of it; move it as well");
  }
  const Descriptor file(::mkostemp(path_.data(), O_CLOEXEC));
  if (!file.is_open()) fail(target, std::string("cannot create a file there (") + std::strerror(errno) + ")");
}

SqliteUnfinishedFile::~SqliteUnfinishedFile() {
  for (const char* const suffix : {"", "-journal", "-wal", "-shm"}) ::unlink((path_ + suffix).c_str());
}

void SqliteUnfinishedFile::finish() {
  sync(target_, path_);
  if (::rename(path_.c_str(), target_.c_str()) != 0)
    fail(target_, std::string("cannot create the file (") + std::strerror(errno) + ")");
  const std::size_t slash = target_.rfind('/');
  sync(target_, slash == std::string::npos ? "." : target_.substr(0, slash + 1));
}

}  // namespace carillon
