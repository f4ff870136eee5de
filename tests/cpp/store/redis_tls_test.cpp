// Links with TLS: whose certificate is trusted, and whose is shown.
#include <gtest/gtest.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "store/redis_link_watcher.hpp"

namespace carillon {

namespace {

/// A certificate authority, a server's certificate for localhost and 127.0.0.1, and a client's.
class RedisTlsTest : public RedisLinkTest {
 protected:
  void SetUp() override {
    RedisLinkTest::SetUp();
    if (IsSkipped()) return;
    if (std::system("openssl version >/dev/null 2>&1") != 0) GTEST_SKIP() << "there is no openssl command";
    char name[] = "/tmp/carillon_tls_XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
    for (const char* ca : {"ca", "other_ca"})
      run("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=" +
          std::string(ca) + " -keyout " + ca + ".key -out " + ca + ".crt");
    issue("server", "subjectAltName=DNS:localhost,IP:127.0.0.1");
    issue("stranger", "subjectAltName=DNS:elsewhere.example");
    issue("client", "subjectAltName=DNS:client.example");
  }
  void TearDown() override {
    std::error_code ignored;
    if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
  }

  [[nodiscard]] std::string file(const std::string& name) const { return folder_ / name; }
  [[nodiscard]] RedisProcess::Settings settings(const std::string& certificate, bool asks_client) const {
    return {.lines = {"tls-cert-file " + file(certificate + ".crt"),
                      "tls-key-file " + file(certificate + ".key"), "tls-ca-cert-file " + file("ca.crt"),
                      std::string("tls-auth-clients ") + (asks_client ? "yes" : "no"), "tls-replication yes"},
            .uses_tls = true};
  }
  [[nodiscard]] RedisEndpoint tls_endpoint(const RedisProcess& redis, const std::string& host) const {
    RedisEndpoint endpoint = redis.tcp_endpoint();
    endpoint.server.host = host;
    endpoint.uses_tls = true;
    endpoint.ca_file = file("ca.crt");
    return endpoint;
  }

 private:
  void run(const std::string& words) {
    ASSERT_EQ(std::system(("cd " + folder_.string() + " && openssl " + words + " >>log 2>&1").c_str()), 0)
        << words;
  }
  void issue(const std::string& name, const std::string& extension) {
    run("req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=" + name + " -addext " +
        extension + " -keyout " + name + ".key -out " + name + ".csr");
    run("x509 -req -in " + name +
        ".csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -copy_extensions copy -out " + name + ".crt");
  }

  std::filesystem::path folder_;
};

TEST_F(RedisTlsTest, AnOwnCaAndTheNameAreVerified) {
  RedisProcess redis(settings("server", false));
  for (const char* host : {"localhost", "127.0.0.1"}) {
    LinkWatcher watcher(tls_endpoint(redis, host));
    ASSERT_EQ(watcher.at(watcher.line("up")), "up") << host << ": " << watcher.at(0);
    watcher.send({{"ECHO", std::string(200'000, 'x')}});
    EXPECT_EQ(watcher.lines(2).back().size(), 200'000U);
  }
  const std::string place = "localhost:" + std::to_string(redis.port());
  RedisEndpoint endpoint = tls_endpoint(redis, "localhost");
  endpoint.ca_file = file("other_ca.crt");
  {
    LinkWatcher watcher(endpoint);
    EXPECT_TRUE(watcher.lines(1).at(0).starts_with("down: cannot connect to redis at " + place +
                                                   ": its certificate is not trusted: "))
        << watcher.at(0);
  }
  endpoint.ca_file.clear();  // those of the system do not know it, either
  {
    LinkWatcher watcher(endpoint);
    EXPECT_NE(watcher.lines(1).at(0).find("its certificate is not trusted"), std::string::npos);
  }
  endpoint.ca_file = "/nowhere.crt";
  LinkWatcher watcher(endpoint);
  EXPECT_TRUE(watcher.lines(1).at(0).starts_with("down: store.ca_file /nowhere.crt cannot be used: "))
      << watcher.at(0);
}

TEST_F(RedisTlsTest, ACertificateOfAnotherHostIsRefused) {
  RedisProcess redis(settings("stranger", false));
  LinkWatcher by_name(tls_endpoint(redis, "localhost"));
  EXPECT_NE(by_name.lines(1).at(0).find("its certificate is not trusted: hostname mismatch"),
            std::string::npos)
      << by_name.at(0);
  LinkWatcher by_address(tls_endpoint(redis, "127.0.0.1"));
  EXPECT_NE(by_address.lines(1).at(0).find("its certificate is not trusted: IP address mismatch"),
            std::string::npos)
      << by_address.at(0);
}

TEST_F(RedisTlsTest, AClientCertificateIsShown) {
  RedisProcess redis(settings("server", true));
  RedisEndpoint endpoint = tls_endpoint(redis, "localhost");
  {
    LinkWatcher watcher(endpoint);
    EXPECT_TRUE(watcher.lines(1).at(0).starts_with("down: cannot connect to redis at localhost"))
        << watcher.at(0);
  }
  endpoint.certificate_file = file("client.crt");
  endpoint.key_file = file("client.key");
  LinkWatcher watcher(endpoint);
  EXPECT_EQ(watcher.lines(1).at(0), "up");
}

TEST_F(RedisTlsTest, TheHostIsNamedInTheHandshake) {
  // openssl's server shows the right certificate only to those who say the name; Redis has no such choice.
  std::uint16_t port = 0;
  {
    RedisProcess redis;
    port = redis.port();
  }
  const std::string command =
      "exec timeout 120 openssl s_server -www -accept 127.0.0.1:" + std::to_string(port) + " -cert " +
      file("stranger.crt") + " -key " + file("stranger.key") + " -servername localhost -cert2 " +
      file("server.crt") + " -key2 " + file("server.key") + " </dev/null >" + file("server.log") +
      " 2>&1 & echo $!";
  const std::unique_ptr<FILE, int (*)(FILE*)> started(::popen(command.c_str(), "r"), ::pclose);
  int pid = 0;
  ASSERT_EQ(std::fscanf(started.get(), "%d", &pid), 1);
  RedisEndpoint endpoint;
  endpoint.server = {"localhost", port};
  endpoint.uses_tls = true;
  endpoint.ca_file = file("ca.crt");
  endpoint.command_timeout_ms = 300;
  endpoint.retry_pause_ms = 50;
  LinkWatcher watcher(endpoint);
  // The handshake is done, and then nobody knows HELLO.
  const std::size_t silent = watcher.line("down: redis at localhost");
  ::kill(pid, SIGTERM);
  EXPECT_EQ(watcher.at(silent), "down: redis at localhost:" + std::to_string(port) +
                                    " was silent for 300 ms (store.command_timeout_ms)")
      << watcher.at(silent - 1);
}

TEST_F(RedisTlsTest, SentinelsSpeakTlsAsWell) {
  RedisProcess redis(settings("server", false));
  RedisProcess::Settings of_sentinel = settings("server", false);
  of_sentinel.is_sentinel = true;
  of_sentinel.lines.push_back("sentinel monitor main 127.0.0.1 " + std::to_string(redis.port()) + " 1");
  RedisProcess sentinel(of_sentinel);
  RedisEndpoint endpoint = tls_endpoint(redis, "localhost");
  endpoint.sentinels = {{"localhost", sentinel.port()}};
  endpoint.sentinel_primary = "main";
  {
    LinkWatcher watcher(endpoint);
    ASSERT_EQ(watcher.lines(1).at(0), "up");
    watcher.send({{"CONFIG", "GET", "tls-port"}});
    EXPECT_EQ(watcher.lines(2).back(), "[tls-port " + std::to_string(redis.port()) + "]");
  }
  endpoint.ca_file = file("other_ca.crt");
  LinkWatcher watcher(endpoint);
  EXPECT_TRUE(watcher.lines(1).at(0).starts_with(
      "down: no Sentinel tells the primary 'main': cannot connect to the Sentinel at localhost:" +
      std::to_string(sentinel.port()) + ": its certificate is not trusted: "))
      << watcher.at(0);
}

TEST_F(RedisTlsTest, AServerWithoutTlsIsExplained) {
  RedisProcess redis;
  RedisEndpoint endpoint = tls_endpoint(redis, "127.0.0.1");
  endpoint.connect_timeout_ms = 300;  // Redis waits for the end of a line
  LinkWatcher watcher(endpoint);
  const std::string line = watcher.lines(1).at(0);
  EXPECT_TRUE(line.starts_with("down: cannot connect to redis at 127.0.0.1")) << line;
  EXPECT_NE(line.find("store.url begins with redis"), std::string::npos) << line;
}

}  // namespace

}  // namespace carillon
