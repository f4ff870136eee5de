#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "env/descriptor.hpp"

namespace carillon {

/// The name of a file system that is on another machine, whose locks are not to be trusted; empty: it is not.
/// `type`: as statfs() gives it.
[[nodiscard]] std::string_view network_file_system(std::uint64_t type);

/// A server of this process has the database open.
[[nodiscard]] bool is_locked_by_this_process(const std::string& database_path);

/// The lock `PATH-lock` that one server holds per database. Not a lock of the database file itself: the
/// kernel drops POSIX locks when any descriptor of the file is closed, and cannot hand them to another
/// process.
class SqliteLockFile {
 public:
  struct Nothing {};
  /// Of a database that nobody else can reach.
  explicit SqliteLockFile(Nothing /*nothing*/) {}
  /// Throws std::runtime_error with a sentence that says what to do.
  explicit SqliteLockFile(const std::string& database_path);
  /// The lock that another process holds, which sent its descriptor: both hold it then. Throws the same.
  SqliteLockFile(const std::string& database_path, Descriptor sent);
  SqliteLockFile(const SqliteLockFile&) = delete;
  SqliteLockFile& operator=(const SqliteLockFile&) = delete;
  ~SqliteLockFile() { release(); }

  /// Ends the lock, if it is this process' alone; else only its share in it.
  void release();
  /// No other process has it any more, or another one has it from now on.
  void set_own(bool is_own) { is_own_ = is_own; }
  /// Is the file that it locks still the one with that name? Otherwise another server can come in.
  [[nodiscard]] bool is_in_force() const;
  /// Writes who holds it, and sees that forked children do not.
  void register_holder() const;
  [[nodiscard]] int descriptor() const { return file_; }

 private:
  std::string path_;
  int file_ = -1;
  bool is_own_ = true;
};

}  // namespace carillon
