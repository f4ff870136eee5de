#include "store/redis/redis_layout.hpp"

#include <algorithm>

#include "store/redis/redis_keys.hpp"

namespace carillon {

std::string redis_layout_trouble(const RedisOptions& options, const RedisReply& reply) {
  if (reply.is_error() || reply.is_nil() || reply.text == RedisKeys::kLayout) return {};
  const RedisKeys keys(options.prefix);
  const auto is_digit = [](char letter) { return letter >= '0' && letter <= '9'; };
  const bool is_number = !reply.text.empty() && reply.text.size() <= 9 &&
                         std::all_of(reply.text.begin(), reply.text.end(), is_digit);
  const std::string own(RedisKeys::kLayout);
  if (!is_number)
    return "its key " + keys.layout() + " is not a version of the layout, which is " + own +
           " here; remove that key if no Carillon has written it, or give another store.prefix";
  return "it has layout " + reply.text + ", which another version of Carillon has written (key " +
         keys.layout() + "), and this version knows layout " + own +
         "; start that version, or give another store.prefix";
}

}  // namespace carillon
