#include "gateway/build_info.hpp"

#include <openssl/crypto.h>

#include <boost/version.hpp>

#include <utility>

#include "gateway/uring_flush.hpp"
#include "store/sqlite/sqlite_version.hpp"

namespace carillon {

std::map<std::string, std::string> build_info() {
  std::string io_uring = "works here: flush = \"auto\" uses it";
  if (std::string why_not; UringFlush::make(why_not) == nullptr) io_uring = std::move(why_not);
  return {
      {"boost", std::to_string(BOOST_VERSION / 100'000) + "." + std::to_string(BOOST_VERSION / 100 % 1'000)},
      {"compiler", __VERSION__},
      {"cplusplus", std::to_string(__cplusplus)},
      {"io_uring", std::move(io_uring)},
      {"openssl", OpenSSL_version(OPENSSL_VERSION_STRING)},
      {"sqlite", sqlite_version()},
#ifdef NDEBUG
      {"assertions", "off"},
#else
      {"assertions", "on"},
#endif
  };
}

}  // namespace carillon
