#include "session/connection_log.hpp"

namespace carillon {

std::string_view name_of(ConnectionEvent event) {
  switch (event) {
    case ConnectionEvent::connect:
      return "connect";
    case ConnectionEvent::close:
      return "close";
    case ConnectionEvent::refuse:
      return "refuse";
    case ConnectionEvent::gap:
      return "gap";
    case ConnectionEvent::slow:
      return "slow";
    case ConnectionEvent::not_recovered:
      return "not_recovered";
  }
  return "";
}

}  // namespace carillon
