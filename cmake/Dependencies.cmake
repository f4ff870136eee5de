# Finds what the build needs, and says what to install where something is missing.
# Boost and nlohmann_json are headers only. They may come from a PyPI package (pgm-build-deps, or for the
# latter nlohmann-json, in the build environment of pip or in a venv), from cmeel, or from the system.
set(python_components Interpreter)
if(CARILLON_PYTHON AND NOT CARILLON_FUZZ)
  list(APPEND python_components Development.Module)
endif()
find_package(Python 3.11 COMPONENTS ${python_components} QUIET)
if(CARILLON_PYTHON AND NOT CARILLON_FUZZ AND NOT Python_FOUND)
  message(FATAL_ERROR "Python 3.11 or newer with its headers was not found. Install python3-dev (Debian, Ubuntu) "
                      "or python3-devel (Fedora), or pass -DPython_EXECUTABLE=/path/to/python.")
endif()
set(header_hints ${CMAKE_PREFIX_PATH} ${Python_SITELIB} ${Python_SITEARCH})

find_package(Threads REQUIRED)

find_path(CARILLON_JSON_INCLUDE nlohmann/json.hpp
  HINTS ${header_hints}
  PATH_SUFFIXES pgm_build_deps/nlohmann_json/include nlohmann_json/include include)
if(NOT CARILLON_JSON_INCLUDE)
  message(FATAL_ERROR "nlohmann/json.hpp was not found. Install the PyPI package pgm-build-deps or nlohmann-json "
                      "(pip install -r requirements/build.txt), or Debian's nlohmann-json3-dev, or pass "
                      "-DCARILLON_JSON_INCLUDE=/path/to/include.")
endif()
add_library(carillon_json INTERFACE)
target_include_directories(carillon_json SYSTEM INTERFACE "${CARILLON_JSON_INCLUDE}")

# Never find_package(Boost COMPONENTS ...): it looks for compiled libraries, of which we use none.
find_path(CARILLON_BOOST_INCLUDE boost/redis/src.hpp
  HINTS ${header_hints}
  PATH_SUFFIXES pgm_build_deps/boost/include cmeel.prefix/include include)
set(boost_advice "Install the PyPI package pgm-build-deps (pip install -r requirements/build.txt), "
                 "or pass -DCARILLON_BOOST_INCLUDE=/path/to/include.")
if(NOT EXISTS "${CARILLON_BOOST_INCLUDE}/boost/version.hpp")
  message(FATAL_ERROR "Boost 1.91 or newer with Asio, Beast and Redis was not found. " ${boost_advice})
endif()
file(STRINGS "${CARILLON_BOOST_INCLUDE}/boost/version.hpp" version_line REGEX "^#define BOOST_VERSION [0-9]+")
string(REGEX REPLACE "^#define BOOST_VERSION ([0-9]+).*" "\\1" boost_version "${version_line}")
if(boost_version LESS 109100)
  message(FATAL_ERROR "Boost in ${CARILLON_BOOST_INCLUDE} is too old: BOOST_VERSION ${boost_version}, needed is "
                      "109100 (Boost 1.91: Boost.Redis reads pushes in batches). " ${boost_advice})
endif()
message(STATUS "Boost ${boost_version}: ${CARILLON_BOOST_INCLUDE}")
add_library(carillon_boost INTERFACE)
target_include_directories(carillon_boost SYSTEM INTERFACE "${CARILLON_BOOST_INCLUDE}")
target_compile_definitions(carillon_boost INTERFACE
  BOOST_ALL_NO_LIB BOOST_ASIO_NO_DEPRECATED BOOST_ASIO_SEPARATE_COMPILATION BOOST_BEAST_SEPARATE_COMPILATION)

if(CARILLON_FUZZ)
  return() # codecs need no OpenSSL
endif()

# The core links libcrypto: it verifies the signatures of tokens.
find_package(OpenSSL 3.0 QUIET)
if(NOT OPENSSL_FOUND)
  message(FATAL_ERROR "The headers of OpenSSL 3 were not found. Install libssl-dev (Debian, Ubuntu) or "
                      "openssl-devel (Fedora), or pass -DOPENSSL_ROOT_DIR=/path/to/openssl.")
endif()

# The system's library, never a copy of our own: two copies in one process (Python's sqlite3 has one as well)
# drop each other's file locks.
find_package(SQLite3 3.37 QUIET)
if(NOT SQLite3_FOUND)
  message(FATAL_ERROR "The header of SQLite 3.37 or newer was not found. Install libsqlite3-dev (Debian, Ubuntu) or "
                      "sqlite-devel (Fedora), or pass -DSQLite3_INCLUDE_DIR and -DSQLite3_LIBRARY.")
endif()

# Of the simulator alone (carillon.sim), which runs the scripts of Redis as Redis does: in Lua 5.1. Without it
# everything else is built.
set(CARILLON_LUA OFF)
find_package(Lua51 QUIET)
if(LUA51_FOUND)
  set(CARILLON_LUA ON)
  add_library(carillon_lua INTERFACE)
  target_include_directories(carillon_lua SYSTEM INTERFACE "${LUA_INCLUDE_DIR}")
  target_link_libraries(carillon_lua INTERFACE ${LUA_LIBRARIES})
else()
  message(STATUS "Lua 5.1 was not found, so the simulator (carillon.sim) and its tests are left out. Install "
                 "liblua5.1-0-dev (Debian, Ubuntu) or compat-lua-devel (Fedora), or pass -DLUA_INCLUDE_DIR and "
                 "-DLUA_LIBRARY.")
endif()
