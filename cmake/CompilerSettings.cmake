# Language level, optimisation, warnings and sanitizers: what is the same for every target.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, or RelWithDebInfo for development" FORCE)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
# Development keeps assert(); -g1 gives stack traces with line numbers at a third of the object size of -g.
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1")

# Link-time optimisation gains little in code that mostly waits for sockets, and is slow on two cores.
if(NOT DEFINED CMAKE_INTERPROCEDURAL_OPTIMIZATION)
  set(CMAKE_INTERPROCEDURAL_OPTIMIZATION OFF)
endif()

find_program(CARILLON_CCACHE ccache)
if(CARILLON_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CARILLON_CCACHE}")
endif()

# A designated initializer leaves fields out on purpose; gcc 12 warns about that all the same.
add_library(carillon_warnings INTERFACE)
target_compile_options(carillon_warnings INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor
  -Wno-missing-field-initializers)
if(CARILLON_WERROR)
  target_compile_options(carillon_warnings INTERFACE -Werror)
endif()
if(CARILLON_UNITY)
  set(CMAKE_UNITY_BUILD ON)
  set(CMAKE_UNITY_BUILD_BATCH_SIZE 4)
  # Both speak of names that only stand in one file together because of this.
  target_compile_options(carillon_warnings INTERFACE -Wno-shadow -Wno-subobject-linkage)
endif()
# For the product itself; tests may narrow freely.
add_library(carillon_strict_warnings INTERFACE)
target_compile_options(carillon_strict_warnings INTERFACE -Wconversion)

if(CARILLON_SANITIZE)
  add_compile_options(-O1 -fno-omit-frame-pointer "-fsanitize=${CARILLON_SANITIZE}")
  add_link_options("-fsanitize=${CARILLON_SANITIZE}")
  if(CARILLON_SANITIZE MATCHES "undefined")
    add_compile_options(-fno-sanitize-recover=undefined)
  endif()
  # Recycled coroutine frames would hide a use after free from the sanitizers.
  add_compile_definitions(BOOST_ASIO_DISABLE_AWAITABLE_FRAME_RECYCLING)
endif()
