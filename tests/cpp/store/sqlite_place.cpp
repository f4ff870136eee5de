#include "store/sqlite_place.hpp"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <stdexcept>

namespace carillon {

SqlitePlace::SqlitePlace() {
  // Tests write to the disk thousands of times: in memory where that is possible.
  std::filesystem::path folder = "/dev/shm";
  if (::access(folder.c_str(), W_OK) != 0) folder = std::filesystem::temp_directory_path();
  std::string name = (folder / "carillon-sqlite-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
  folder_ = name;
}
SqlitePlace::~SqlitePlace() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

void SqlitePlace::copy_to(const SqlitePlace& other) const {
  for (const char* const suffix : {"", "-wal"}) {
    if (std::filesystem::exists(file() + suffix))
      std::filesystem::copy_file(file() + suffix, other.file() + suffix);
  }
}

}  // namespace carillon
