#include "store/redis/redis_unfinished_copy.hpp"

namespace carillon {

namespace {

/// A word as a shell takes it.
std::string quoted(const std::string& word) {
  if (word.find_first_not_of("-_./:0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") ==
      std::string::npos)
    return word;
  std::string text = "'";
  for (const char letter : word) letter == '\'' ? text += "'\\''" : text += letter;
  return text + '\'';
}

std::string redis_cli_command(const RedisEndpoint& endpoint) {
  std::string text = "redis-cli";
  if (!endpoint.unix_socket.empty()) {
    text += " -s " + quoted(endpoint.unix_socket);
  } else if (!endpoint.sentinels.empty()) {
    text += " -h PRIMARY";  // whichever it is now
  } else {
    text += " -h " + quoted(endpoint.server.host) + " -p " + std::to_string(endpoint.server.port);
  }
  if (endpoint.uses_tls) {
    text += " --tls";
    if (!endpoint.ca_file.empty()) text += " --cacert " + quoted(endpoint.ca_file);
    if (!endpoint.certificate_file.empty()) {
      const std::string& key = endpoint.key_file.empty() ? endpoint.certificate_file : endpoint.key_file;
      text += " --cert " + quoted(endpoint.certificate_file) + " --key " + quoted(key);
    }
  }
  if (!endpoint.login.user.empty()) text += " --user " + quoted(endpoint.login.user);
  if (endpoint.database != 0) text += " -n " + std::to_string(endpoint.database);
  return text;
}

}  // namespace

std::string redis_removal_command(const RedisOptions& options) {
  const std::string command = redis_cli_command(options.endpoint);
  return command + " --scan --pattern '" + options.prefix + ":1:*' | xargs -d '\\n' " + command + " unlink";
}

std::string redis_unfinished_copy(const RedisOptions& options) {
  return "`carillon store copy` writes there, or was interrupted: wait for its end, or remove the keys " +
         options.prefix + ":1:* and copy again: " + redis_removal_command(options) +
         (options.endpoint.login.password.empty() ? "" : " (with the password in REDISCLI_AUTH)");
}

}  // namespace carillon
