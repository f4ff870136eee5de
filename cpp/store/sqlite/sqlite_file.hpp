#pragma once

#include <sys/stat.h>

#include <functional>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <utility>
#include <vector>

#include "store/sqlite/sqlite_connection.hpp"
#include "store/sqlite/sqlite_options.hpp"

namespace carillon {

/// The database file with its connections. After a commit whose outcome is unknown all of them are closed:
/// only then does SQLite read from the disk again what is there.
class SqliteFile {
 public:
  explicit SqliteFile(const SqliteOptions& options)
      : path_(options.path),
        vfs_(options.vfs),
        is_in_vfs_only_(options.is_in_vfs_only),
        threads_(*options.threads) {}

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] const std::string& vfs() const { return vfs_; }

  /// The file that has this name now is the one to keep. Before the threads start.
  void remember() {
    if (!is_in_vfs_only_) kept_ = named();
  }
  /// Has that file still its name? Otherwise what is written to it goes with this process.
  [[nodiscard]] bool is_in_place() const {
    if (!kept_) return true;
    const std::optional<struct stat> now = named();
    return now && now->st_dev == kept_->st_dev && now->st_ino == kept_->st_ino;
  }

  /// Calls `close` when all connections have to be closed. Before the threads start.
  void when_closing(std::function<void()> close) { closers_.push_back(std::move(close)); }
  /// While it is held, connections stay open.
  [[nodiscard]] std::shared_lock<std::shared_mutex> use() {
    std::shared_lock lock(sharing_, std::defer_lock);
    threads_.lock(lock);
    return lock;
  }
  /// Closes them. While it is held, none is opened.
  [[nodiscard]] std::unique_lock<std::shared_mutex> close_all() {
    std::unique_lock lock(sharing_, std::defer_lock);
    threads_.lock(lock);
    for (const auto& close : closers_) close();
    return lock;
  }

 private:
  [[nodiscard]] std::optional<struct stat> named() const {
    struct stat found{};
    if (::stat(path_.c_str(), &found) != 0) return std::nullopt;
    return found;
  }

  const std::string path_;
  const std::string vfs_;
  const bool is_in_vfs_only_;
  SqliteThreads& threads_;
  std::optional<struct stat> kept_;
  std::shared_mutex sharing_;
  std::vector<std::function<void()>> closers_;
};

}  // namespace carillon
