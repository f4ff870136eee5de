"""The version of the distribution: read by pyproject.toml and CMakeLists.txt."""

__version__ = "0.1.0"
