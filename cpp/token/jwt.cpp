#include "token/jwt.hpp"

#include <array>
#include <utility>

#include "protocol/base64.hpp"
#include "protocol/json_span.hpp"

namespace carillon {

std::optional<JwtAlgorithm> jwt_algorithm(std::string_view name) {
  static constexpr std::array<std::pair<std::string_view, JwtAlgorithm>, 10> kNames{{
      {"HS256", JwtAlgorithm::hs256},
      {"HS384", JwtAlgorithm::hs384},
      {"HS512", JwtAlgorithm::hs512},
      {"RS256", JwtAlgorithm::rs256},
      {"RS384", JwtAlgorithm::rs384},
      {"RS512", JwtAlgorithm::rs512},
      {"ES256", JwtAlgorithm::es256},
      {"ES384", JwtAlgorithm::es384},
      {"ES512", JwtAlgorithm::es512},
      {"EdDSA", JwtAlgorithm::eddsa},
  }};
  for (const auto& [known, algorithm] : kNames) {
    if (known == name) return algorithm;
  }
  return std::nullopt;
}

namespace {

bool read_header(std::string_view header, Jwt& jwt) {
  std::optional<JwtAlgorithm> algorithm;
  bool has_key_id = false;
  JsonObjectReader reader(header);
  std::string_view key;
  std::string_view value;
  JsonStep step;
  while ((step = reader.next(key, value)) == JsonStep::field) {
    std::string scratch;
    if (key == "alg") {
      const auto name = json_string(value, scratch);
      if (algorithm || !name) return false;
      algorithm = jwt_algorithm(*name);
      if (!algorithm) return false;
    } else if (key == "kid") {
      const auto id = json_string(value, scratch);
      if (has_key_id || !id) return false;
      has_key_id = true;
      jwt.key_id = *id;
    } else if (key == "crit") {
      return false;  // an extension that must be understood (RFC 7515 section 4.1.11)
    }
  }
  if (step == JsonStep::malformed || !algorithm) return false;
  jwt.algorithm = *algorithm;
  return true;
}

}  // namespace

std::optional<Jwt> parse_jwt(std::string_view token) {
  const std::size_t first = token.find('.');
  if (first == std::string_view::npos) return std::nullopt;
  const std::size_t second = token.find('.', first + 1);
  if (second == std::string_view::npos || token.find('.', second + 1) != std::string_view::npos)
    return std::nullopt;
  const std::optional<std::string> header = from_base64url(token.substr(0, first));
  std::optional<std::string> payload = from_base64url(token.substr(first + 1, second - first - 1));
  std::optional<std::string> signature = from_base64url(token.substr(second + 1));
  if (!header || !payload || !signature) return std::nullopt;
  Jwt jwt;
  if (!read_header(*header, jwt)) return std::nullopt;
  jwt.signed_text = token.substr(0, second);
  jwt.signature = std::move(*signature);
  jwt.payload = std::move(*payload);
  return jwt;
}

}  // namespace carillon
