// Compiles Boost.Redis once.
#include <boost/redis/src.hpp>
