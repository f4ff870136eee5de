#include "store/sqlite/sqlite_export.hpp"

#include <sqlite3.h>
#include <unistd.h>

#include <set>
#include <stdexcept>
#include <utility>

#include "store/entry_codec.hpp"
#include "store/sqlite/sqlite_schema.hpp"

namespace carillon {

namespace {

std::string existing_file(const std::string& path) {
  if (::access(path.c_str(), F_OK) != 0)
    throw std::runtime_error("sqlite:" + path + ": there is no such file");
  return path;
}

SqliteConnection open_for_export(const std::string& path) {
  prepare_sqlite_file(path, "");
  if (const std::string trouble = check_sqlite_file(path); !trouble.empty())
    throw std::runtime_error("sqlite:" + path + ": the file is damaged (" + trouble +
                             "); restore a backup with `carillon store restore`, and copy that");
  return open_sqlite_connection(path, "");
}

SqliteOptions export_options(const std::string& path) {
  SqliteOptions options;
  options.path = path;
  return options;
}

}  // namespace

SqliteExport::SqliteExport(const std::string& path, RandomSource& random)
    : path_(existing_file(path)),
      lock_(path),
      connection_(open_for_export(path)),
      generation_(connection_, export_options(path), random) {}

void SqliteExport::fail() const {
  throw std::runtime_error("sqlite:" + path_ + ": cannot be read (" + connection_.message() +
                           "); check it with `carillon store check`");
}

void SqliteExport::visit_rows(SqliteStatement& select,
                              const std::function<void(const SqliteStatement&)>& visit) {
  int code = select.step();
  for (; code == SQLITE_ROW; code = select.step()) visit(select);
  if (code != SQLITE_DONE) fail();
}

void SqliteExport::visit_channels(const std::function<void(const Channel&)>& visit) {
  SqliteStatement select = connection_.prepare(
      "SELECT id, name, epoch, generation, top, first, ttl_ms, version, version_epoch, "
      "(SELECT count(*) FROM members WHERE channel = channels.id AND until IS NULL), "
      "EXISTS (SELECT 1 FROM members WHERE channel = channels.id) FROM channels ORDER BY id");
  visit_rows(select, [&](const SqliteStatement& row) {
    Channel channel;
    channel.id = row.number(0);
    channel.name = row.text(1);
    channel.top = {generation_.epoch_of(channel.name, row.text(2), row.number(3)), row.count(4)};
    channel.first = row.count(5);
    channel.ttl_ms = row.number(6);
    channel.version = row.count(7);
    channel.version_epoch = row.text(8);
    channel.members = row.count(9);
    channel.has_memberships = row.number(10) != 0;
    visit(channel);
  });
}

void SqliteExport::visit_entries(const Channel& channel,
                                 const std::function<void(const Entry&, std::string_view body)>& visit) {
  SqliteStatement select = connection_.prepare(
      "SELECT offset, body FROM entries WHERE channel = ?1 AND offset BETWEEN ?2 AND ?3 ORDER BY offset");
  select.bind(1, channel.id).bind(2, channel.first).bind(3, channel.top.offset);
  visit_rows(select, [&](const SqliteStatement& row) {
    const std::shared_ptr<Entry> entry = decode_entry(row.bytes(1), row.count(0));
    if (entry) visit(*entry, row.bytes(1));
  });
}

void SqliteExport::visit_keys(const Channel& channel, const std::function<void(const Key&)>& visit) {
  SqliteStatement select =
      connection_.prepare("SELECT key, offset, until_ms FROM keys WHERE channel = ?1 ORDER BY id");
  select.bind(1, channel.id);
  visit_rows(select, [&](const SqliteStatement& row) { visit({row.text(0), row.count(1), row.number(2)}); });
}

void SqliteExport::visit_members(const Channel& channel,
                                 const std::function<void(std::string_view user)>& visit) {
  SqliteStatement select =
      connection_.prepare("SELECT user FROM members WHERE channel = ?1 AND until IS NULL");
  select.bind(1, channel.id);
  visit_rows(select, [&](const SqliteStatement& row) { visit(row.text(0)); });
}

void SqliteExport::visit_users(const std::function<void(const User&)>& visit) {
  std::set<std::string, std::less<>> incomplete;
  SqliteStatement marked = connection_.prepare("SELECT user FROM incomplete_users");
  visit_rows(marked, [&](const SqliteStatement& row) { incomplete.emplace(row.text(0)); });
  User user;
  const auto finish = [&] {
    user.is_incomplete = incomplete.contains(user.name);
    if (!user.memberships.empty()) visit(user);
    user = {};
  };
  SqliteStatement select = connection_.prepare(
      "SELECT m.user, c.name, m.read, ifnull(m.until, -1), c.top FROM members m "
      "JOIN channels c ON c.id = m.channel ORDER BY m.user, m.channel, m.position");
  visit_rows(select, [&](const SqliteStatement& row) {
    if (user.name != row.text(0)) finish();
    user.name = row.text(0);
    Membership membership{std::string(row.text(1)), row.count(2), std::nullopt, row.count(4)};
    if (row.number(3) >= 0) membership.until = row.count(3);
    user.memberships.push_back(std::move(membership));
  });
  finish();
}

void SqliteExport::leave() {
  if (connection_.execute("PRAGMA synchronous = FULL; "
                          "INSERT OR REPLACE INTO meta (key, value) VALUES ('is_copy', 1)") == SQLITE_OK)
    return;
  throw std::runtime_error("sqlite:" + path_ + ": cannot be written (" + connection_.message() +
                           "); make room on the disk, and copy again");
}

}  // namespace carillon
