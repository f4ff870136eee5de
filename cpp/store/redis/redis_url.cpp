#include "store/redis/redis_url.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace carillon {

namespace {

constexpr std::string_view kTcpForm = "redis://[user:password@]host[:port][/database]";
constexpr std::string_view kUnixForm = "redis+unix:///path[?db=database]";
constexpr std::string_view kSentinelForm =
    "redis+sentinel://[user:password@]host[:port],host[:port]/primary[/database]";
constexpr std::string_view kClusterForm = "redis+cluster://[user:password@]host[:port],host[:port]";
constexpr std::uint16_t kServerPort = 6'379;
constexpr std::uint16_t kSentinelPort = 26'379;
constexpr int kMostDatabases = 65'536;

struct RedisScheme {
  std::string_view start;
  std::string_view form;
  bool uses_tls = false;
};
constexpr std::array kRedisSchemes{
    RedisScheme{"redis://", kTcpForm},
    RedisScheme{"rediss://", kTcpForm, true},
    RedisScheme{"redis+unix://", kUnixForm},
    RedisScheme{"redis+sentinel://", kSentinelForm},
    RedisScheme{"rediss+sentinel://", kSentinelForm, true},
    RedisScheme{"redis+cluster://", kClusterForm},
    RedisScheme{"rediss+cluster://", kClusterForm, true},
};

int value_of_hex(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  return -1;
}

/// The part of a URL that `text` has up to `mark`, which goes as well; all of it where there is no mark.
std::string_view cut(std::string_view& text, char mark) {
  const std::size_t end = std::min(text.find(mark), text.size());
  const std::string_view part = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return part;
}

class RedisUrlReader {
 public:
  RedisUrlReader(const RedisScheme& scheme, std::string& problem) : scheme_(scheme), problem_(problem) {}

  std::optional<RedisEndpoint> read(std::string_view rest) {
    endpoint_.uses_tls = scheme_.uses_tls;
    const bool is_read = scheme_.form == kUnixForm       ? read_unix(rest)
                         : scheme_.form == kSentinelForm ? read_sentinels(rest)
                         : scheme_.form == kClusterForm  ? read_cluster(rest)
                                                         : read_server(rest);
    if (!is_read) return std::nullopt;
    return std::move(endpoint_);
  }

 private:
  bool refuse(std::string_view text) {
    problem_ = std::string(text) + "; write " + std::string(scheme_.form);
    return false;
  }

  bool decode(std::string_view text, std::string& decoded) {
    decoded.clear();
    for (std::size_t at = 0; at < text.size(); ++at) {
      if (text[at] != '%') {
        decoded += text[at];
        continue;
      }
      const int high = at + 2 < text.size() ? value_of_hex(text[at + 1]) : -1;
      const int low = at + 2 < text.size() ? value_of_hex(text[at + 2]) : -1;
      if (high < 0 || low < 0) return refuse("has a % without two hexadecimal digits; % itself is %25");
      decoded += static_cast<char>(high * 16 + low);
      at += 2;
    }
    if (decoded.find('\0') != std::string::npos) return refuse("has a %00");
    return true;
  }

  /// Takes the login off, up to the last @: one within a password should be %40, and is understood all the
  /// same.
  bool read_login(std::string_view& authority) {
    const std::size_t at = authority.rfind('@');
    if (at == std::string_view::npos) return true;
    std::string_view login = authority.substr(0, at);
    authority.remove_prefix(at + 1);
    return decode(cut(login, ':'), endpoint_.login.user) && decode(login, endpoint_.login.password);
  }

  bool read_address(std::string_view text, std::uint16_t port, RedisAddress& address) {
    std::string_view host = text;
    std::string_view digits;
    bool has_port = false;
    if (text.starts_with('[')) {
      const std::size_t bracket = text.find(']');
      if (bracket == std::string_view::npos) return refuse("has an address without its closing bracket");
      host = text.substr(1, bracket - 1);
      digits = text.substr(bracket + 1);
      if (!digits.empty() && digits.front() != ':') return refuse("has more than a port behind an address");
      has_port = !digits.empty();
      if (has_port) digits.remove_prefix(1);
    } else if (const std::size_t colon = text.find(':'); colon != std::string_view::npos) {
      host = text.substr(0, colon);
      digits = text.substr(colon + 1);
      has_port = true;
    }
    if (!decode(host, address.host)) return false;
    if (address.host.empty()) return refuse("names no host");
    address.port = port;
    if (!has_port) return true;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), address.port);
    if (error != std::errc() || end != digits.data() + digits.size() || address.port == 0)
      return refuse("has a port that is none from 1 to 65535");
    return true;
  }

  bool read_database(std::string_view digits) {
    if (digits.empty()) return true;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), endpoint_.database);
    if (error != std::errc() || end != digits.data() + digits.size() || endpoint_.database < 0 ||
        endpoint_.database >= kMostDatabases)
      return refuse("has a database that is not a number from 0 on");
    return true;
  }

  bool read_server(std::string_view rest) {
    if (!is_plain(rest)) return false;
    std::string_view authority = cut(rest, '/');
    return read_login(authority) && read_address(authority, kServerPort, endpoint_.server) &&
           read_database(rest);
  }

  bool read_addresses(std::string_view authority, std::uint16_t port, std::vector<RedisAddress>& addresses) {
    do {
      const std::string_view one = cut(authority, ',');
      if (!read_address(one, port, addresses.emplace_back())) return false;
    } while (!authority.empty());
    return true;
  }

  bool read_cluster(std::string_view rest) {
    if (!is_plain(rest)) return false;
    std::string_view authority = cut(rest, '/');
    if (!read_login(authority) || !read_addresses(authority, kServerPort, endpoint_.cluster_nodes))
      return false;
    return rest.empty() || rest == "0" || refuse("has a database, and a cluster has only 0");
  }

  bool read_sentinels(std::string_view rest) {
    if (!is_plain(rest)) return false;
    std::string_view authority = cut(rest, '/');
    if (!read_login(authority) || !read_addresses(authority, kSentinelPort, endpoint_.sentinels))
      return false;
    if (!decode(cut(rest, '/'), endpoint_.sentinel_primary)) return false;
    if (endpoint_.sentinel_primary.empty())
      return refuse("does not name the primary, as the Sentinels have it (sentinel monitor NAME …)");
    return read_database(rest);
  }

  bool read_unix(std::string_view rest) {
    std::string_view query = rest;
    std::string_view path = cut(query, '?');
    std::string_view authority = path.substr(0, path.find('/'));
    path.remove_prefix(authority.size());
    if (!read_login(authority)) return false;
    if (!authority.empty() || path.empty() || path == "/") return refuse("has no path that begins with /");
    if (!decode(path, endpoint_.unix_socket)) return false;
    if (query.empty()) return true;
    if (!query.starts_with("db=")) return refuse("has another query than db=…");
    query.remove_prefix(3);
    return read_database(query);
  }

  /// What is neither within the login nor behind the host.
  bool is_plain(std::string_view rest) {
    const std::size_t slash = rest.find('/');
    if (slash != std::string_view::npos && rest.find('@', slash) != std::string_view::npos)
      return refuse("has a / in the user or password, which is written as %2F");
    return rest.find_first_of("?#") == std::string_view::npos ||
           refuse("has a ? or #, which is written as %3F or %23 (other settings are options: store.…)");
  }

  const RedisScheme& scheme_;
  std::string& problem_;
  RedisEndpoint endpoint_;
};

}  // namespace

std::string with_lower_scheme(std::string_view url) {
  std::string text(url);
  const std::size_t colon = url.find(':');
  if (colon == std::string_view::npos) return text;
  const auto lower = [](char letter) {
    return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
  };
  std::transform(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(colon), text.begin(), lower);
  return text;
}

bool is_redis_url(std::string_view url) {
  const std::size_t colon = url.find(':');
  if (colon == std::string_view::npos) return false;
  const std::string text = with_lower_scheme(url);
  const std::string_view scheme = std::string_view(text).substr(0, colon);
  return scheme == "unix" || scheme == "redis" || scheme == "rediss" || scheme.starts_with("redis+") ||
         scheme.starts_with("rediss+");
}

std::optional<RedisEndpoint> parse_redis_url(std::string_view url, std::string& problem) {
  const bool is_clean =
      std::all_of(url.begin(), url.end(), [](char letter) { return letter > ' ' && letter < '\x7f'; });
  if (!is_clean) {
    problem = "has a space or a letter beyond ASCII; write those percent-encoded (a space is %20)";
    return std::nullopt;
  }
  const std::string text = with_lower_scheme(url);
  for (const RedisScheme& scheme : kRedisSchemes) {
    if (text.starts_with(scheme.start))
      return RedisUrlReader(scheme, problem).read(url.substr(scheme.start.size()));
  }
  problem = "is no URL of Redis; write " + std::string(kTcpForm) + " (rediss:// with TLS), " +
            std::string(kUnixForm) + ", " + std::string(kSentinelForm) + " or " + std::string(kClusterForm);
  return std::nullopt;
}

std::string without_password(std::string_view url) {
  const std::size_t scheme = url.find("://");
  const std::size_t at = url.rfind('@');
  if (scheme == std::string_view::npos || at == std::string_view::npos || at < scheme + 3)
    return std::string(url);
  const std::string_view login = url.substr(scheme + 3, at - scheme - 3);
  const std::size_t colon = login.find(':');
  if (colon == std::string_view::npos) return std::string(url);
  return std::string(url.substr(0, scheme + 3 + colon)) + ":***" + std::string(url.substr(at));
}

}  // namespace carillon
