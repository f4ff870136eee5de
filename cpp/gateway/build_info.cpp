#include "gateway/build_info.hpp"

#include <boost/version.hpp>

namespace carillon {

std::map<std::string, std::string> build_info() {
  return {
      {"boost", std::to_string(BOOST_VERSION / 100'000) + "." + std::to_string(BOOST_VERSION / 100 % 1'000)},
      {"compiler", __VERSION__},
      {"cplusplus", std::to_string(__cplusplus)},
#ifdef NDEBUG
      {"assertions", "off"},
#else
      {"assertions", "on"},
#endif
  };
}

}  // namespace carillon
