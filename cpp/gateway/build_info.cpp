#include "gateway/build_info.hpp"

#include <boost/version.hpp>

#include <utility>

#include "gateway/uring_flush.hpp"

namespace carillon {

std::map<std::string, std::string> build_info() {
  std::string io_uring = "works here: flush = \"auto\" uses it";
  if (std::string why_not; UringFlush::make(why_not) == nullptr) io_uring = std::move(why_not);
  return {
      {"boost", std::to_string(BOOST_VERSION / 100'000) + "." + std::to_string(BOOST_VERSION / 100 % 1'000)},
      {"compiler", __VERSION__},
      {"cplusplus", std::to_string(__cplusplus)},
      {"io_uring", std::move(io_uring)},
#ifdef NDEBUG
      {"assertions", "off"},
#else
      {"assertions", "on"},
#endif
  };
}

}  // namespace carillon
