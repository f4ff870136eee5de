"""What README.md shows is what happens: its blocks are taken out of it and run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from carillon import Server


README = (Path(__file__).parents[2] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def run(*command: str, cwd: Path, **environment: str) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **environment}
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=30, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_ten_lines_print_what_is_said(tmp_path: Path) -> None:
    program, *_ = blocks("python")
    assert len([line for line in program.splitlines() if line and not line.startswith("import")]) <= 10
    told = re.findall(r"^It prints `(.*?)`", README, re.MULTILINE)[0]
    assert run(sys.executable, "-W", "error", "-c", program, cwd=tmp_path) == told + "\n"


def test_the_inbox_prints_what_is_said(tmp_path: Path) -> None:
    _, program, _ = blocks("python")
    (told,) = re.findall(r"^It prints `(.*?)`, `(.*?)` and `(.*?)`", README, re.MULTILINE)
    assert run(sys.executable, "-W", "error", "-c", program, cwd=tmp_path).splitlines() == list(told)


def test_the_test_passes(tmp_path: Path) -> None:
    *_, program = blocks("python")
    (tmp_path / "test_orders.py").write_text(program)
    assert "1 passed" in run(sys.executable, "-m", "pytest", "-q", cwd=tmp_path)


def test_the_configuration_is_valid(tmp_path: Path) -> None:
    (config,) = blocks("toml")
    (tmp_path / "carillon.toml").write_text(config)
    run("carillon", "config", "check", "carillon.toml", cwd=tmp_path)


def test_the_commands_of_the_shell_work(
    tmp_path: Path, carillon_server: Server, require_tool: object
) -> None:
    (commands,) = blocks("sh")
    require_tool("curl")  # type: ignore[operator]
    url = carillon_server.url
    for command in commands.replace("http://127.0.0.1:8000", url).splitlines():
        stays = command.startswith(("curl -N", "carillon sub"))
        run(
            "bash",
            "-c",
            f"timeout 1.5 {command} || [ $? = 124 ]" if stays else command,
            cwd=tmp_path,
            CARILLON_URL=url,
        )
    texts = [message.json() for message in carillon_server.history("news").messages]
    assert texts == [{"text": "hello"}, "just a text", {"text": "from curl"}]


def test_it_names_only_what_is_there() -> None:
    root = Path(__file__).parents[2]
    for target in re.findall(r"\]\(((?!http)[^)]+)\)", README):
        assert (root / target).exists(), target
    assert "pip install carillon" not in README
