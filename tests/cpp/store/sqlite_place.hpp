#pragma once

#include <string>

#include "store/sqlite/sqlite_options.hpp"

namespace carillon {

/// A new folder for a database; it goes with this object.
class SqlitePlace {
 public:
  SqlitePlace();
  SqlitePlace(const SqlitePlace&) = delete;
  SqlitePlace& operator=(const SqlitePlace&) = delete;
  ~SqlitePlace();

  [[nodiscard]] const std::string& folder() const { return folder_; }
  [[nodiscard]] std::string file() const { return folder_ + "/carillon.db"; }
  [[nodiscard]] SqliteOptions options(Durability durability = Durability::full) const {
    SqliteOptions options;
    options.path = file();
    options.durability = durability;
    return options;
  }
  /// What a crash would leave: the files as they are, in another place.
  void copy_to(const SqlitePlace& other) const;

 private:
  std::string folder_;
};

}  // namespace carillon
