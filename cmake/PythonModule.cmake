# The extension module carillon._core. In a source tree it is built into python/carillon (CARILLON_IN_PLACE), where
# an editable install finds it; else into <build>/python/carillon; a wheel takes it from the component "python".
set(PYBIND11_FINDPYTHON ON)
find_package(pybind11 3.0.2 CONFIG QUIET HINTS "${Python_SITELIB}/pybind11/share/cmake/pybind11")
if(NOT pybind11_FOUND)
  message(FATAL_ERROR "pybind11 3.0.2 or newer was not found for ${Python_EXECUTABLE}. Install the PyPI package "
                      "pybind11 (pip install -r requirements/build.txt); Debian's is too old.")
endif()

file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/cpp/bindings/*.cpp")
if(NOT sources)
  message(WARNING "cpp/bindings is empty: carillon._core is not built")
  return()
endif()
pybind11_add_module(_core MODULE ${sources})
target_link_libraries(_core PRIVATE carillon_server carillon_lab carillon_load carillon_json carillon_warnings carillon_strict_warnings)
if(CARILLON_SANITIZE)
  # What converts between Python and the core takes as long to instrument as three layers of the core.
  target_compile_options(_core PRIVATE -fno-sanitize=all)
endif()
target_compile_definitions(_core PRIVATE CARILLON_VERSION="${PROJECT_VERSION}")
set(modules _core)

# The simulator is a module of its own, so that a server never loads Lua.
if(CARILLON_LUA)
  pybind11_add_module(_sim MODULE cpp/bindings/sim/sim_module.cpp)
  target_link_libraries(_sim PRIVATE carillon_sim carillon_warnings carillon_strict_warnings)
  list(APPEND modules _sim)
endif()

add_custom_target(carillon_python DEPENDS ${modules})

if(CARILLON_IN_PLACE)
  set(module_folder "${CMAKE_CURRENT_SOURCE_DIR}/python/carillon")
else()
  set(module_folder "${CMAKE_CURRENT_BINARY_DIR}/python/carillon")
endif()
set_target_properties(${modules} PROPERTIES LIBRARY_OUTPUT_DIRECTORY "${module_folder}")
install(TARGETS ${modules} COMPONENT python LIBRARY DESTINATION carillon)
