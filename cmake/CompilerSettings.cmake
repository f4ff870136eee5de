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
# Sanitizers make gcc warn of what is not there, so the builds without them enforce the warnings.
add_library(carillon_warnings INTERFACE)
add_library(carillon_strict_warnings INTERFACE) # for the product itself; tests may narrow freely
if(NOT CARILLON_SANITIZE)
  target_compile_options(carillon_warnings INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor
    -Wno-missing-field-initializers $<$<BOOL:${CARILLON_WERROR}>:-Werror>)
  target_compile_options(carillon_strict_warnings INTERFACE -Wconversion)
endif()
if(CARILLON_UNITY)
  set(CMAKE_UNITY_BUILD ON)
  set(CMAKE_UNITY_BUILD_BATCH_SIZE 32)
  # Both warn of names that are in one file together only because of this.
  target_compile_options(carillon_warnings INTERFACE -Wno-shadow $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
endif()

if(CARILLON_SANITIZE)
  # With two sanitizers -O1 takes twice the time of -Og to compile.
  add_compile_options(-Og -fno-omit-frame-pointer "-fsanitize=${CARILLON_SANITIZE}")
  add_link_options("-fsanitize=${CARILLON_SANITIZE}")
  if(CARILLON_SANITIZE MATCHES "undefined")
    # AddressSanitizer notices the accesses that these four would warn of, and they are a third of the build and of
    # the code. The fuzz targets of the codecs keep all of them.
    add_compile_options(-fno-sanitize-recover=undefined -fno-sanitize=null,alignment,object-size,vptr)
  endif()
  # Recycled coroutine frames would hide a use after free from the sanitizers.
  add_compile_definitions(BOOST_ASIO_DISABLE_AWAITABLE_FRAME_RECYCLING)
endif()
