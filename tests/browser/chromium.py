"""A headless Chromium, and waiting for what its page shows."""

from __future__ import annotations

import contextlib
import tempfile
from typing import TYPE_CHECKING, Any

from carillon.testing import wait_until
from conftest import require_tool
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# No sandbox: in a container there is none. Nothing but 127.0.0.1 can be reached, so that a page which needs
# another host fails.
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--window-size=1280,900",
)


class Browser:
    """What the tests want of Selenium's driver, which is at `driver`."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        """Loads a page, and forgets what the console said before."""
        self.driver.get("about:blank")
        self.console_errors()
        self.driver.get(url)

    def run(self, script: str, *arguments: Any) -> Any:
        """Runs a function body in the page and returns what it returns (awaited, if it is a promise)."""
        return self.driver.execute_script(
            f"return (async (...args) => {{ {script} }})(...arguments)", *arguments
        )

    def wait(self, condition: Callable[[], object], what: Callable[[], object], timeout: float = 10) -> None:
        """Waits until the condition holds; if it never does, fails with what the page shows instead."""
        with contextlib.suppress(TimeoutError):
            wait_until(condition, timeout)
            return
        raise AssertionError(f"the page shows {what()}; its console says {self.console_errors()}")

    def console_errors(self) -> list[str]:
        """What the console has said since the last call, warnings and errors.

        But for the icon that the browser asks for by itself where the page is not HTML.
        """
        told = [
            one["message"] for one in self.driver.get_log("browser") if one["level"] in ("WARNING", "SEVERE")
        ]
        return [message for message in told if "/favicon.ico" not in message]


def started() -> Iterator[Browser]:
    """For a fixture: starts a browser with an empty profile and ends it."""
    options = webdriver.ChromeOptions()
    options.binary_location = require_tool("chromium", "chromium-browser", "google-chrome")
    driver_path = require_tool("chromedriver", "chromium.chromedriver")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=Service(driver_path))
        try:
            driver.set_script_timeout(20)
            yield Browser(driver)
        finally:
            driver.quit()
