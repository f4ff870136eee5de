#pragma once

#include <string>

namespace carillon {

/// A database file under a name of its own, until it is whole: nobody meets a half-made one, and no file that
/// is there already is touched.
class SqliteUnfinishedFile {
 public:
  /// Makes an empty file beside `target`, for its owner alone. Throws std::runtime_error with a sentence,
  /// also where `target` has left a write-ahead log behind, which SQLite would apply to the new file.
  explicit SqliteUnfinishedFile(const std::string& target);
  SqliteUnfinishedFile(const SqliteUnfinishedFile&) = delete;
  SqliteUnfinishedFile& operator=(const SqliteUnfinishedFile&) = delete;
  ~SqliteUnfinishedFile();

  [[nodiscard]] const std::string& path() const { return path_; }
  /// Puts it on disk, and gives it the name of the target. Its connections are closed. Throws the same.
  void finish();

 private:
  const std::string target_;
  std::string path_;
};

}  // namespace carillon
