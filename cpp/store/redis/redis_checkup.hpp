#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "store/redis/redis_conversation.hpp"
#include "store/redis/redis_keys.hpp"
#include "store/redis/redis_options.hpp"
#include "store/redis/redis_settings.hpp"

namespace carillon {

/// One line of `carillon doctor` about a Redis. Without a secret.
struct RedisFinding {
  std::string name;
  std::string text;
  bool must_be_mended = false;
};

/// Looks whether a Redis can be the store of a gateway with these options: version, role, rights of the user,
/// eviction, persistence, and the promise of `store.loss`. Of a cluster it looks at one node. It changes
/// nothing that lasts.
class RedisCheckup {
 public:
  /// The whole of it takes no longer.
  static constexpr Millis kCheckupMs = 15'000;

  RedisCheckup(const RedisOptions& options, RandomSource& random);

  /// What keeps it from going on is the last of the findings.
  [[nodiscard]] std::vector<RedisFinding> run();

 private:
  void look_at_server();
  void look_at_rights();
  void look_at_settings();
  void look_at_contents();
  void try_pushes(std::vector<std::string>& missing);
  [[nodiscard]] bool is_cluster() const { return !options_.endpoint.cluster_nodes.empty(); }
  void note(std::string_view name, std::string text);
  void mend(std::string_view name, std::string text);

  const RedisOptions options_;
  const RedisKeys keys_;
  RedisConversation redis_;
  RedisSettings settings_;
  std::vector<RedisFinding> findings_;
};

/// The findings about a server, or about all nodes of a cluster that the URL has.
[[nodiscard]] std::vector<RedisFinding> check_redis(const RedisOptions& options, RandomSource& random);

}  // namespace carillon
