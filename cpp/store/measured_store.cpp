#include "store/measured_store.hpp"

namespace carillon {

std::string_view name_of(StoreError error) {
  switch (error) {
    case StoreError::none:
      return "none";
    case StoreError::unavailable:
      return "unavailable";
    case StoreError::overloaded:
      return "overloaded";
    case StoreError::outcome_unknown:
      return "outcome_unknown";
    case StoreError::conflict:
      return "conflict";
    case StoreError::not_held:
      return "not_held";
    case StoreError::full:
      return "full";
    case StoreError::closed:
      return "closed";
  }
  return "";
}

}  // namespace carillon
