#include "session/access.hpp"

namespace carillon {

std::optional<Identity> RulesAccess::identify(const Credentials& credentials) const {
  Identity identity;
  if (is_insecure_) identity.user = credentials.user;
  return identity;
}

bool RulesAccess::allows(const Identity& /*identity*/, Operation operation, std::string_view channel) const {
  if (is_insecure_) return true;
  const ChannelOptions& options = rules_.options_for(channel);
  switch (operation) {
    case Operation::subscribe:
      return options.allow_subscribe;
    case Operation::publish:
      return options.allow_publish;
    case Operation::presence:
      return options.allow_presence;
    case Operation::history:
      return options.allow_history;
  }
  return false;
}

}  // namespace carillon
