#include "store/redis_process.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace carillon {

namespace {

std::string output_of(const std::string& command) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command.c_str(), "r"), ::pclose);
  std::string text;
  std::array<char, 4'096> part{};
  while (pipe && std::fgets(part.data(), part.size(), pipe.get()) != nullptr) text += part.data();
  return text;
}

}  // namespace

std::uint16_t RedisProcess::free_port() {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  const bool is_bound = ::bind(socket, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                        ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  ::close(socket);
  if (!is_bound) throw std::runtime_error("no free port");
  return ntohs(address.sin_port);
}

std::string RedisProcess::missing() {
  static const bool is_there = std::system("redis-server --version >/dev/null 2>&1") == 0 &&
                               std::system("redis-cli --version >/dev/null 2>&1") == 0;
  return is_there ? "" : "there is no redis-server (Debian: apt-get install redis-server)";
}

RedisProcess::RedisProcess(Settings settings) : settings_(std::move(settings)) {
  std::string name = "/tmp/carillon_redis_XXXXXX";  // a path of a Unix socket has to be short
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
  folder_ = name;
  port_ = free_port();
  // A Sentinel writes into its file, so the file is made once.
  std::ofstream file(folder_ / "redis.conf");
  file << "dir " << folder_.string() << "\nlogfile " << (folder_ / "redis.log").string()
       << "\nbind 127.0.0.1\n"
       << (settings_.uses_tls ? "port 0\ntls-port " : "port ") << port_ << "\n";
  if (!settings_.is_sentinel) file << "unixsocket " << unix_socket() << "\nsave \"\"\n";
  for (const std::string& line : settings_.lines) file << line << "\n";
  file.close();
  start();
}

RedisProcess::~RedisProcess() {
  kill();
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

RedisEndpoint RedisProcess::endpoint() const {
  RedisEndpoint endpoint = tcp_endpoint();
  endpoint.unix_socket = unix_socket();
  return endpoint;
}

RedisEndpoint RedisProcess::tcp_endpoint() const {
  RedisEndpoint endpoint;
  endpoint.server = {"127.0.0.1", port_};
  endpoint.connect_timeout_ms = 2'000;
  endpoint.command_timeout_ms = 2'000;
  endpoint.retry_pause_ms = 20;
  return endpoint;
}

void RedisProcess::start() {
  std::vector<std::string> words{"redis-server", folder_ / "redis.conf"};
  words.insert(words.end(), settings_.options.begin(), settings_.options.end());
  if (settings_.is_sentinel) words.emplace_back("--sentinel");
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const std::string output = folder_ / "output";
  pid_ = ::fork();
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // a test that crashes leaves nobody behind
    const int file = ::open(output.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600);
    ::dup2(file, 1);
    ::dup2(file, 2);
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!answers()) {
    const bool has_ended = ::waitpid(pid_, nullptr, WNOHANG) == pid_;
    if (has_ended) pid_ = -1;
    if (has_ended || std::chrono::steady_clock::now() > end) {
      std::ostringstream said;
      said << std::ifstream(output).rdbuf() << std::ifstream(folder_ / "redis.log").rdbuf();
      kill();
      throw std::runtime_error("redis-server does not answer: " + said.str());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

bool RedisProcess::answers() const {
  // A server with a password says NOAUTH: that is an answer. It refuses links until it can serve them.
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port_);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool is_connected = ::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  ::close(socket);
  if (!is_connected || settings_.uses_tls || settings_.is_sentinel) return is_connected;
  return cli("ping").find("LOADING") == std::string::npos;
}

void RedisProcess::kill() {
  if (pid_ == -1) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void RedisProcess::stop() { ::kill(pid_, SIGSTOP); }

void RedisProcess::cont() { ::kill(pid_, SIGCONT); }

std::string RedisProcess::cli(const std::string& words) const {
  const std::string place = settings_.is_sentinel ? "-p " + std::to_string(port_) : "-s " + unix_socket();
  return output_of("redis-cli " + place + " " + words + " 2>&1");
}

}  // namespace carillon
