#include "protocol/ws_extensions.hpp"

#include <algorithm>
#include <charconv>
#include <string>

namespace carillon {

namespace {

constexpr int kWindowBitsMin = 8;
constexpr int kWindowBitsMax = 15;

bool is_token_character(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

/// Takes the list of offers apart: RFC 6455 section 9.1.
class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(text) {}

  [[nodiscard]] bool is_at_end() {
    skip_blanks();
    return rest_.empty();
  }
  bool take(char wanted) {
    skip_blanks();
    if (!rest_.starts_with(wanted)) return false;
    rest_.remove_prefix(1);
    return true;
  }
  /// Empty: there is none.
  std::string_view token() {
    skip_blanks();
    const auto end = std::find_if_not(rest_.begin(), rest_.end(), is_token_character);
    const std::string_view found = rest_.substr(0, static_cast<std::size_t>(end - rest_.begin()));
    rest_.remove_prefix(found.size());
    return found;
  }
  /// A token, or one in quotes. Nothing: neither.
  std::optional<std::string> value() {
    if (!take('"')) {
      const std::string_view found = token();
      return found.empty() ? std::nullopt : std::optional<std::string>(found);
    }
    std::string text;
    while (!rest_.empty() && rest_.front() != '"') {
      if (rest_.front() == '\\') rest_.remove_prefix(1);
      if (rest_.empty()) return std::nullopt;
      text.push_back(rest_.front());
      rest_.remove_prefix(1);
    }
    return take('"') ? std::optional<std::string>(text) : std::nullopt;
  }

 private:
  void skip_blanks() {
    while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\t')) rest_.remove_prefix(1);
  }
  std::string_view rest_;
};

std::optional<int> window_bits_of(const std::optional<std::string>& value) {
  if (!value || value->empty() || value->front() == '0') return std::nullopt;  // no leading zeros
  int bits = 0;
  const auto [end, error] = std::from_chars(value->data(), value->data() + value->size(), bits);
  const bool is_number = error == std::errc() && end == value->data() + value->size();
  if (!is_number || bits < kWindowBitsMin || bits > kWindowBitsMax) return std::nullopt;
  return bits;
}

/// The parameters of one offer (RFC 7692 section 7.1).
struct Offer {
  bool is_valid = true;
  bool has_server_no_takeover = false;
  bool has_client_no_takeover = false;
  bool has_client_window = false;
  std::optional<int> server_window_bits;

  void add(std::string_view name, bool has_value, const std::optional<std::string>& value) {
    const auto set_once = [this](bool& flag, bool is_right) {
      is_valid = is_valid && is_right && !flag;
      flag = true;
    };
    if (name == "server_no_context_takeover") {
      set_once(has_server_no_takeover, !has_value);
    } else if (name == "client_no_context_takeover") {
      set_once(has_client_no_takeover, !has_value);
    } else if (name == "client_max_window_bits") {
      set_once(has_client_window, !has_value || window_bits_of(value));
    } else if (name == "server_max_window_bits" && !server_window_bits) {
      server_window_bits = window_bits_of(value);
      is_valid = is_valid && server_window_bits;
    } else {
      is_valid = false;
    }
  }
};

}  // namespace

std::optional<std::string> accept_permessage_deflate(std::string_view offers, int window_bits) {
  Reader reader(offers);
  while (!reader.is_at_end()) {
    if (reader.take(',')) continue;  // lists may have empty elements
    const std::string_view name = reader.token();
    if (name.empty()) return std::nullopt;  // what follows cannot be read
    Offer offer;
    while (reader.take(';')) {
      const std::string_view parameter = reader.token();
      if (parameter.empty()) return std::nullopt;
      const bool has_value = reader.take('=');
      const std::optional<std::string> value = has_value ? reader.value() : std::nullopt;
      if (has_value && !value) return std::nullopt;
      offer.add(parameter, has_value, value);
    }
    if (!reader.is_at_end() && !reader.take(',')) return std::nullopt;
    if (name != "permessage-deflate" || !offer.is_valid) continue;
    if (offer.server_window_bits && *offer.server_window_bits < window_bits) continue;
    // The client's part may be told without being asked for (section 7.1.1.2): then no window has to be kept
    // for it.
    std::string answer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    if (offer.server_window_bits) answer += "; server_max_window_bits=" + std::to_string(window_bits);
    return answer;
  }
  return std::nullopt;
}

}  // namespace carillon
