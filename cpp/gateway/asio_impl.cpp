// Compiles Boost.Asio once (BOOST_ASIO_SEPARATE_COMPILATION), so that no other unit pays for it.
// asio/ssl/impl/src.hpp joins it when the gateway speaks TLS.
#include <boost/asio/impl/src.hpp>
