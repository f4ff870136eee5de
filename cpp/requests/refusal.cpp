#include "requests/refusal.hpp"

namespace carillon {

std::string Refusal::message() const {
  return text.empty() ? std::string(error.message) : std::string(error.message) + ": " + text;
}

}  // namespace carillon
