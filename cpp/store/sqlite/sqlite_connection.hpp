#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

namespace carillon {

/// A prepared statement. Its bound texts must live until reset(). Result codes are those of SQLite.
class SqliteStatement {
 public:
  SqliteStatement() = default;

  SqliteStatement& bind(int index, std::int64_t number);
  SqliteStatement& bind(int index, std::uint64_t number) {
    return bind(index, static_cast<std::int64_t>(number));
  }
  SqliteStatement& bind(int index, std::string_view text);
  SqliteStatement& bind_bytes(int index, std::string_view bytes);
  /// SQLITE_ROW, SQLITE_DONE, or an error. reset() it afterwards.
  [[nodiscard]] int step();
  /// To the end, and resets it. SQLITE_OK or an error.
  [[nodiscard]] int run();
  void reset();

  [[nodiscard]] std::int64_t number(int column) const;
  [[nodiscard]] std::uint64_t count(int column) const { return static_cast<std::uint64_t>(number(column)); }
  [[nodiscard]] std::string_view text(int column) const;   ///< valid until the next step
  [[nodiscard]] std::string_view bytes(int column) const;  ///< the same

 private:
  friend class SqliteConnection;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

/// Resets a statement at the end of a scope.
class SqliteReset {
 public:
  explicit SqliteReset(SqliteStatement& statement) : statement_(statement) {}
  SqliteReset(const SqliteReset&) = delete;
  SqliteReset& operator=(const SqliteReset&) = delete;
  ~SqliteReset() { statement_.reset(); }

 private:
  SqliteStatement& statement_;
};

/// A connection to a database file, for one thread at a time. Its statements must be destroyed first.
class SqliteConnection {
 public:
  /// A program that we do not know may hold the lock: waits for it are short.
  static constexpr int kForeignLockMs = 1'000;
  enum class Access : std::uint8_t { existing, create, read_only };

  SqliteConnection() = default;
  /// SQLITE_OK, or why not. `vfs`: empty for the default.
  [[nodiscard]] int open(const std::string& path, Access access, const std::string& vfs);
  void close() { database_.reset(); }
  [[nodiscard]] bool is_open() const { return database_ != nullptr; }

  /// Whether the last connection copies the WAL into the database file, and removes it.
  void set_checkpoint_on_close(bool is_wanted);
  [[nodiscard]] SqliteStatement prepare(std::string_view sql);
  /// Runs statements without parameters; results are ignored.
  [[nodiscard]] int execute(const char* sql);
  /// The first number that `sql` selects; `otherwise` if it fails, `code` then says why.
  [[nodiscard]] std::int64_t number(std::string_view sql, std::int64_t otherwise, int& code);
  /// What the last call failed with, in SQLite's words.
  [[nodiscard]] std::string message() const;
  /// No transaction is open.
  [[nodiscard]] bool is_autocommit() const;
  /// Rows that the last statement changed.
  [[nodiscard]] std::size_t changes() const;
  [[nodiscard]] sqlite3* handle() const { return database_.get(); }

  /// Time for which a call waits for another program's lock, ms.
  void set_lock_wait(int ms);

 private:
  struct Close {
    void operator()(sqlite3* database) const;
  };
  std::unique_ptr<sqlite3, Close> database_;
};

/// A connection that does not wait for others, until the end of a scope.
class SqliteNoWait {
 public:
  explicit SqliteNoWait(SqliteConnection& connection) : connection_(connection) {
    connection_.set_lock_wait(0);
  }
  SqliteNoWait(const SqliteNoWait&) = delete;
  SqliteNoWait& operator=(const SqliteNoWait&) = delete;
  ~SqliteNoWait() { connection_.set_lock_wait(SqliteConnection::kForeignLockMs); }

 private:
  SqliteConnection& connection_;
};

}  // namespace carillon
