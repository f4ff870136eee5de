#pragma once

#include <cstddef>
#include <string>

#include "hub/hub.hpp"

namespace carillon {

/// `{"items":[…],"unread":{…},"has_more":…,"is_incomplete":…}`. Of the items as many as `bytes_max` hold
/// beside the counts, which take half of it at most, and one at least; what is left out is more that there
/// is.
void append_inbox(std::string& out, const Inbox& inbox, std::size_t bytes_max);
/// `{"unread":{…}}`: as many channels as fit into `bytes_max`; `"has_more":true` if some are left out.
void append_unread(std::string& out, const Inbox& inbox, std::size_t bytes_max);

}  // namespace carillon
