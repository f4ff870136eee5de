#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace carillon {

/// Who a connection is, as others see it. `conn_info` and `chan_info` are JSON or empty.
struct ClientInfoView {
  std::string_view user = {};
  std::string_view client = {};
  std::string_view conn_info = {};
  std::string_view chan_info = {};  ///< of its subscription
};

/// `{"user":…,"client":…,…}` (protocol.md section 2, ClientInfo): the form in which entries keep their
/// publisher, whatever the encoding of a client.
void append_client_info(std::string& out, const ClientInfoView& info);

/// Reads what append_client_info() has written. Texts with escapes are decoded into `scratch`.
[[nodiscard]] std::optional<ClientInfoView> read_client_info(std::string_view json, std::string& scratch);

}  // namespace carillon
