#pragma once

#include <functional>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <utility>
#include <vector>

#include "store/sqlite/sqlite_connection.hpp"

namespace carillon {

/// The database file with its connections. After a commit whose outcome is unknown all of them are closed:
/// only then does SQLite read from the disk again what is there.
class SqliteFile {
 public:
  SqliteFile(std::string path, std::string vfs) : path_(std::move(path)), vfs_(std::move(vfs)) {}

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] const std::string& vfs() const { return vfs_; }

  /// Calls `close` when all connections have to be closed. Before the threads start.
  void when_closing(std::function<void()> close) { closers_.push_back(std::move(close)); }
  /// While it is held, connections stay open.
  [[nodiscard]] std::shared_lock<std::shared_mutex> use() { return std::shared_lock(sharing_); }
  /// Closes them. While it is held, none is opened.
  [[nodiscard]] std::unique_lock<std::shared_mutex> close_all() {
    std::unique_lock lock(sharing_);
    for (const auto& close : closers_) close();
    return lock;
  }

 private:
  const std::string path_;
  const std::string vfs_;
  std::shared_mutex sharing_;
  std::vector<std::function<void()>> closers_;
};

}  // namespace carillon
