#include "store/sqlite/sqlite_connection.hpp"

#include <sqlite3.h>

namespace carillon {

void SqliteStatement::Finalize::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }

SqliteStatement& SqliteStatement::bind(int index, std::int64_t number) {
  sqlite3_bind_int64(statement_.get(), index, number);
  return *this;
}
SqliteStatement& SqliteStatement::bind(int index, std::string_view text) {
  // A null pointer would bind NULL.
  const char* const data = text.data() == nullptr ? "" : text.data();
  sqlite3_bind_text64(statement_.get(), index, data, text.size(), SQLITE_STATIC, SQLITE_UTF8);
  return *this;
}
SqliteStatement& SqliteStatement::bind_bytes(int index, std::string_view bytes) {
  const char* const data = bytes.data() == nullptr ? "" : bytes.data();
  sqlite3_bind_blob64(statement_.get(), index, data, bytes.size(), SQLITE_STATIC);
  return *this;
}
int SqliteStatement::step() { return statement_ ? sqlite3_step(statement_.get()) : SQLITE_ERROR; }
int SqliteStatement::run() {
  int code = SQLITE_ROW;
  while (code == SQLITE_ROW) code = step();
  reset();
  return code == SQLITE_DONE ? SQLITE_OK : code;
}
void SqliteStatement::reset() { sqlite3_reset(statement_.get()); }
std::int64_t SqliteStatement::number(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}
std::string_view SqliteStatement::text(int column) const {
  const auto* const text = reinterpret_cast<const char*>(sqlite3_column_text(statement_.get(), column));
  if (text == nullptr) return {};
  return {text, static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column))};
}
std::string_view SqliteStatement::bytes(int column) const {
  const auto* const bytes = static_cast<const char*>(sqlite3_column_blob(statement_.get(), column));
  if (bytes == nullptr) return {};
  return {bytes, static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column))};
}

void SqliteConnection::Close::operator()(sqlite3* database) const { sqlite3_close_v2(database); }

int SqliteConnection::open(const std::string& path, Access access, const std::string& vfs) {
  int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  flags |= access == Access::read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
  if (access == Access::create) flags |= SQLITE_OPEN_CREATE;
  sqlite3* database = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &database, flags, vfs.empty() ? nullptr : vfs.c_str());
  database_.reset(database);
  if (code != SQLITE_OK) {
    database_.reset();
    return code;
  }
  sqlite3_busy_timeout(database, kForeignLockMs);
  sqlite3_db_config(database, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(database, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  return SQLITE_OK;
}

void SqliteConnection::set_lock_wait(int ms) { sqlite3_busy_timeout(database_.get(), ms); }

void SqliteConnection::set_checkpoint_on_close(bool is_wanted) {
  sqlite3_db_config(database_.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, is_wanted ? 0 : 1, nullptr);
}

SqliteStatement SqliteConnection::prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  sqlite3_prepare_v3(database_.get(), sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT,
                     &statement, nullptr);
  SqliteStatement prepared;
  prepared.statement_.reset(statement);
  return prepared;
}

int SqliteConnection::execute(const char* sql) {
  return sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr);
}

std::int64_t SqliteConnection::number(std::string_view sql, std::int64_t otherwise, int& code) {
  SqliteStatement statement = prepare(sql);
  code = statement.statement_ ? statement.step() : sqlite3_extended_errcode(database_.get());
  if (code != SQLITE_ROW) return otherwise;
  code = SQLITE_OK;
  return statement.number(0);
}

std::string SqliteConnection::message() const {
  return database_ ? sqlite3_errmsg(database_.get()) : "it could not be opened";
}
bool SqliteConnection::is_autocommit() const { return sqlite3_get_autocommit(database_.get()) != 0; }
std::size_t SqliteConnection::changes() const {
  return static_cast<std::size_t>(sqlite3_changes(database_.get()));
}

}  // namespace carillon
