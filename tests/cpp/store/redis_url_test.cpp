#include "store/redis/redis_url.hpp"

#include <gtest/gtest.h>

namespace carillon {

namespace {

RedisEndpoint endpoint_of_url(std::string_view url) {
  std::string problem;
  const std::optional<RedisEndpoint> endpoint = parse_redis_url(url, problem);
  EXPECT_TRUE(endpoint) << url << ": " << problem;
  return endpoint.value_or(RedisEndpoint());
}

std::string problem_of_url(std::string_view url) {
  std::string problem;
  EXPECT_FALSE(parse_redis_url(url, problem)) << url;
  return problem;
}

TEST(RedisUrl, AServer) {
  EXPECT_EQ(endpoint_of_url("redis://redis.example").server, (RedisAddress{"redis.example", 6379}));
  EXPECT_EQ(endpoint_of_url("redis://10.0.0.1:7000/").server, (RedisAddress{"10.0.0.1", 7000}));
  EXPECT_EQ(endpoint_of_url("redis://[::1]").server, (RedisAddress{"::1", 6379}));
  EXPECT_EQ(endpoint_of_url("redis://[fe80::1]:65535/3").server, (RedisAddress{"fe80::1", 65535}));
  EXPECT_EQ(endpoint_of_url("redis://[fe80::1]:65535/3").database, 3);
  EXPECT_EQ(endpoint_of_url("redis://host").database, 0);
  EXPECT_FALSE(endpoint_of_url("redis://host").uses_tls);
  EXPECT_TRUE(endpoint_of_url("rediss://host").uses_tls);
  EXPECT_TRUE(endpoint_of_url("rediss://host").sentinels.empty());
}

TEST(RedisUrl, SchemesAreTheSameInCapitalLettersAndTheRestIsNot) {
  EXPECT_EQ(with_lower_scheme("REDIS://Ann:Pass@Host"), "redis://Ann:Pass@Host");
  EXPECT_EQ(with_lower_scheme("SQLite:Some.db"), "sqlite:Some.db");
  EXPECT_EQ(with_lower_scheme("MEMORY"), "MEMORY");
  EXPECT_TRUE(is_redis_url("Redis+Sentinel://one/main"));
  EXPECT_FALSE(is_redis_url("REDISX:one"));
  EXPECT_EQ(endpoint_of_url("Rediss://Ann@host").login.user, "Ann");
  EXPECT_TRUE(endpoint_of_url("Rediss://Ann@host").uses_tls);
  EXPECT_EQ(endpoint_of_url("REDIS+UNIX:///Run/redis").unix_socket, "/Run/redis");
}

TEST(RedisUrl, ALogin) {
  const auto login = [](std::string_view url) {
    const RedisEndpoint endpoint = endpoint_of_url(url);
    EXPECT_EQ(endpoint.server.host, "host");
    return endpoint.login.user + '|' + endpoint.login.password;
  };
  EXPECT_EQ(login("redis://host"), "|");
  EXPECT_EQ(login("redis://ann@host"), "ann|");
  EXPECT_EQ(login("redis://ann:pass@host:6379/1"), "ann|pass");
  EXPECT_EQ(login("redis://:pass@host"), "|pass");
  EXPECT_EQ(login("redis://a%6en:p%2Fa%3as%40s%25%23@host"), "ann|p/a:s@s%#");
  EXPECT_EQ(login("redis://:a:b@host"), "|a:b");
  EXPECT_EQ(login("redis://:a@b@host"), "|a@b");
}

TEST(RedisUrl, AUnixSocket) {
  EXPECT_EQ(endpoint_of_url("redis+unix:///run/redis/redis.sock").unix_socket, "/run/redis/redis.sock");
  const RedisEndpoint endpoint = endpoint_of_url("redis+unix://ann:p%40ss@/tmp/a%20b?db=7");
  EXPECT_EQ(endpoint.unix_socket, "/tmp/a b");
  EXPECT_EQ(endpoint.database, 7);
  EXPECT_EQ(endpoint.login.user, "ann");
  EXPECT_EQ(endpoint.login.password, "p@ss");
}

TEST(RedisUrl, Sentinels) {
  const RedisEndpoint endpoint = endpoint_of_url("rediss+sentinel://ann:pass@one,two:5000,[::2]/main/4");
  EXPECT_EQ(endpoint.sentinels, (std::vector<RedisAddress>{{"one", 26379}, {"two", 5000}, {"::2", 26379}}));
  EXPECT_EQ(endpoint.sentinel_primary, "main");
  EXPECT_EQ(endpoint.database, 4);
  EXPECT_EQ(endpoint.login.password, "pass");
  EXPECT_TRUE(endpoint.sentinel_login.password.empty());
  EXPECT_TRUE(endpoint.uses_tls);
  EXPECT_FALSE(endpoint_of_url("redis+sentinel://one/main").uses_tls);
}

TEST(RedisUrl, ACluster) {
  const RedisEndpoint endpoint = endpoint_of_url("rediss+cluster://ann:pass@one,two:7000,[::2]/0");
  EXPECT_EQ(endpoint.cluster_nodes, (std::vector<RedisAddress>{{"one", 6379}, {"two", 7000}, {"::2", 6379}}));
  EXPECT_EQ(endpoint.login.password, "pass");
  EXPECT_TRUE(endpoint.uses_tls);
  EXPECT_TRUE(endpoint.sentinels.empty());
  EXPECT_FALSE(endpoint_of_url("redis+cluster://one").uses_tls);
  EXPECT_TRUE(endpoint_of_url("redis://one").cluster_nodes.empty());
}

TEST(RedisUrl, MistakesNameTheRemedyAndShowNothing) {
  const std::vector<std::pair<std::string_view, std::string_view>> cases{
      {"redis://", "names no host; write redis://[user:password@]host[:port][/database]"},
      {"redis://:secret@", "names no host"},
      {"redis://:secret@host:0", "has a port that is none from 1 to 65535"},
      {"redis://:secret@host:65536", "has a port that is none from 1 to 65535"},
      {"redis://:secret@host:", "has a port that is none from 1 to 65535"},
      {"redis://:secret/word@host",
       "has a / in the user or password, which is written as %2F; write redis://"},
      {"redis://:secret@host/main", "has a database that is not a number from 0 on"},
      {"redis://:secret@host/-1", "has a database that is not a number from 0 on"},
      {"redis://:secret@host/1/2", "has a database that is not a number from 0 on"},
      {"redis://:secret%@host", "has a % without two hexadecimal digits; % itself is %25"},
      {"redis://:secret%4@host", "has a % without two hexadecimal digits; % itself is %25"},
      {"redis://:secret%zz@host", "has a % without two hexadecimal digits; % itself is %25"},
      {"redis://:secret%00@host", "has a %00"},
      {"redis://:sec ret@host", "has a space or a letter beyond ASCII"},
      {"redis://:sec\xc3\xa4ret@host", "has a space or a letter beyond ASCII"},
      {"redis://:secret@[::1", "has an address without its closing bracket"},
      {"redis://:secret@[::1]7", "has more than a port behind an address"},
      {"redis://host?password=secret", "has a ? or #"},
      {"redis://:sec#ret@host", "has a ? or #, which is written as %3F or %23"},
      {"redis+unix://", "has no path that begins with /; write redis+unix:///path[?db=database]"},
      {"redis+unix://host/path", "has no path that begins with /"},
      {"redis+unix:///path?password=secret", "has another query than db=…"},
      {"redis+unix:///path?db=x", "has a database that is not a number from 0 on"},
      {"redis+sentinel://one", "does not name the primary, as the Sentinels have it"},
      {"redis+sentinel:///main", "names no host"},
      {"redis+sentinel://one,,two/main", "names no host"},
      {"redis+ring://secret", "is no URL of Redis; write redis://"},
      {"redis+cluster://:secret@one/1", "has a database, and a cluster has only 0; write redis+cluster://"},
      {"redis+cluster://:secret@", "names no host"},
      {"redis+cluster://:secret@one,:1", "names no host"},
      {"redis:secret", "is no URL of Redis"},
      {"unix:///path", "is no URL of Redis"},
  };
  for (const auto& [url, start] : cases) {
    EXPECT_TRUE(is_redis_url(url)) << url;
    const std::string problem = problem_of_url(url);
    EXPECT_TRUE(problem.starts_with(start)) << url << ": " << problem;
    EXPECT_EQ(problem.find("secret"), std::string::npos) << problem;
  }
  EXPECT_FALSE(is_redis_url("memory"));
  EXPECT_FALSE(is_redis_url("sqlite:redis"));
}

TEST(RedisUrl, ThePasswordIsNotShown) {
  EXPECT_EQ(without_password("redis://host/1"), "redis://host/1");
  EXPECT_EQ(without_password("redis://ann@host"), "redis://ann@host");
  EXPECT_EQ(without_password("redis://ann:secret@host:1/2"), "redis://ann:***@host:1/2");
  EXPECT_EQ(without_password("redis://:sec/r@e:t@host"), "redis://:***@host");
  EXPECT_EQ(without_password("redis+unix://:secret@/path?db=1"), "redis+unix://:***@/path?db=1");
  EXPECT_EQ(without_password("sqlite:a:b@c.db"), "sqlite:a:b@c.db");
}

}  // namespace

}  // namespace carillon
