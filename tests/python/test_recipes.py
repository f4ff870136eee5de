"""Each recipe of docs/testing.md is a test: its blocks are taken out of it and run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
PREAMBLE, *RECIPES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

SETTINGS = """[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""


@pytest.mark.wire
def test_every_recipe_passes(tmp_path: Path) -> None:
    (tmp_path / "test_recipes.py").write_text(PREAMBLE + "\n\n" + "\n\n".join(RECIPES))
    (tmp_path / "pytest.ini").write_text(SETTINGS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=30"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=55)
    tests = sum(len(re.findall(r"^(?:async )?def test_", recipe, re.MULTILINE)) for recipe in RECIPES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) >= tests >= 15
