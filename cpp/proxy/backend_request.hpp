#pragma once

#include <string>
#include <string_view>

#include "proxy/endpoint_url.hpp"
#include "proxy/proxy_options.hpp"
#include "session/question_queue.hpp"

namespace carillon {

/// The whole HTTP request that asks a backend, in the shape of the Centrifuge family.
[[nodiscard]] std::string backend_request_of(const HookQuestion& question, const ProxyEndpoint& endpoint,
                                             const EndpointUrl& url);

/// Can a proxy set this header of its requests? Not those that frame them.
[[nodiscard]] bool is_free_header(std::string_view name);

}  // namespace carillon
