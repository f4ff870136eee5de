#pragma once

#include <cstddef>

#include "proxy/backend_link.hpp"
#include "proxy/endpoint_url.hpp"

namespace boost::asio {
class io_context;
}  // namespace boost::asio

namespace carillon {

/// Makes connections to the endpoint over TCP, on the thread that runs `io`. A name is looked up on a thread
/// of Asio's, once for all that wait, and again when it is older than ten seconds. A reply may have at most
/// `reply_bytes_max` bytes.
[[nodiscard]] MakeBackendLink make_asio_links(boost::asio::io_context& io, const EndpointUrl& url,
                                              std::size_t reply_bytes_max);

}  // namespace carillon
