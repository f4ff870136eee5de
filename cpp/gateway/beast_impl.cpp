// Compiles the non-template parts of Boost.Beast once (BOOST_BEAST_SEPARATE_COMPILATION).
#include <boost/beast/src.hpp>
