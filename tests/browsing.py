"""What tests ask of a page in the browser that conftest starts."""

from __future__ import annotations

import json
from typing import Any


def wait(browser: Any, condition: str) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 15, poll_frequency=0.05).until(lambda _: browser.execute_script(condition))


def logs(browser: Any) -> tuple[list[str], list[str]]:
    """Console errors, and the addresses that were asked for, since the last call."""
    errors = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    return errors, [url for url in asked if not url.startswith("data:")]
