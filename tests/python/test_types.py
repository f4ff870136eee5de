"""The types of the public API, as a type checker of their users sees them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import carillon

HERE = Path(__file__).parent
USE = HERE / "typed_use.py"
WRONG = {number for number, line in enumerate(USE.read_text().splitlines(), 1) if line.endswith("# error")}


def pyright(*arguments: str) -> dict[str, Any]:
    command = [
        sys.executable,
        "-m",
        "basedpyright",
        "--pythonpath",
        sys.executable,
        "--outputjson",
        *arguments,
    ]
    # --verifytypes does not look where an editable install points to.
    package = str(Path(carillon.__file__).parents[1])
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=55,
        cwd=HERE,
        env=os.environ | {"PYTHONPATH": package},
    )
    assert done.stdout.lstrip().startswith("{"), done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_the_type_of_every_public_name_is_known() -> None:
    report = pyright("--verifytypes", "carillon", "--ignoreexternal")["typeCompleteness"]
    unknown = [
        f"{symbol['name']}: {'; '.join(each['message'] for each in symbol['diagnostics'])}"
        for symbol in report["symbols"]
        if symbol["isExported"] and not symbol["isTypeKnown"]
    ]
    assert unknown == []
    assert report["completenessScore"] == 1
    assert report["exportedSymbolCounts"]["withKnownType"] > 100


def test_what_users_write_is_right_or_wrong() -> None:
    report = pyright("--level", "error", str(USE))
    errors = {
        each["range"]["start"]["line"] + 1: each["message"]
        for each in report["generalDiagnostics"]
        if each["severity"] == "error"
    }
    assert errors.keys() == WRONG, errors
