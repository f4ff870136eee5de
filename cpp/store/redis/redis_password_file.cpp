#include "store/redis/redis_password_file.hpp"

#include <filesystem>
#include <fstream>
#include <system_error>

namespace carillon {

std::optional<std::string> redis_password_in(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  if (line.ends_with('\r')) line.pop_back();
  return line;
}

std::string current_password_of(const RedisLogin& login) {
  std::error_code ignored;
  // A pipe would hold up whoever opens it once more.
  if (login.password_file.empty() || !std::filesystem::is_regular_file(login.password_file, ignored))
    return login.password;
  return redis_password_in(login.password_file).value_or(login.password);
}

}  // namespace carillon
