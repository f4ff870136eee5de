#pragma once

#include <pthread.h>

#include <string>

namespace carillon {

/// What this thread is called in top, gdb and /proc; 15 characters at most.
inline void name_this_thread(const std::string& name) {
  ::pthread_setname_np(::pthread_self(), name.substr(0, 15).c_str());
}

}  // namespace carillon
