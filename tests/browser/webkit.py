"""Debian's WebKitGTK over WebDriver, on a display of its own.

It tells nothing of its console, always runs script, and its windows are at least 447 pixels wide: the journeys are not walked in it.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import JavascriptException, StaleElementReferenceException, TimeoutException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.proxy import Proxy, ProxyType
from selenium.webdriver.remote.client_config import ClientConfig
from selenium.webdriver.remote.remote_connection import RemoteConnection
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from tests.stores import die_with_us, free_port

SECONDS = 30  # for a page to load, or for what a page does by itself


class WebKit:
    """A display, on which every window is of a browser of its own. It ends with this process, and they end with it."""

    def __init__(self, driver: str, display_server: str) -> None:
        self._folder = tempfile.mkdtemp(prefix="gatepost-webkit-")
        self._log = Path(self._folder, "log")
        self._driver = driver
        self._display_server, self._display = self._start_display(display_server)

    def open(self, issuer: str, **environment: str) -> "Window":
        """A window of a browser that knows nobody yet."""
        port = free_port()
        environment |= {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": self._folder,
            "DISPLAY": self._display,
            "LIBGL_ALWAYS_SOFTWARE": "1",
            "NO_AT_BRIDGE": "1",  # nobody listens to its accessibility tree
            "WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS": "1",  # it needs rights that root in a container lacks
        }
        process = self._spawn([self._driver, "--host=127.0.0.1", f"--port={port}"], env=environment, start_new_session=True)
        try:
            self._wait_until_it_answers(process, port)
            return Window(process, _connect(f"http://127.0.0.1:{port}"), issuer)
        except BaseException:
            _end(process)
            raise

    def close(self) -> None:
        self._display_server.terminate()
        self._display_server.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start_display(self, program: str) -> tuple["subprocess.Popen[bytes]", str]:
        """The server takes a number that is free and tells it."""
        reader, writer = os.pipe()
        command = [program, "-displayfd", str(writer), "-screen", "0", "1280x1024x24", "-nolisten", "tcp"]
        server = self._spawn(command, pass_fds=[writer])
        os.close(writer)
        with os.fdopen(reader, "rb") as told:
            number = told.readline().decode().strip()
        assert number, self._last_words()
        return server, f":{number}"

    def _spawn(self, command: list[str], **options: Any) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_us(), **options)

    def _wait_until_it_answers(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        deadline = time.monotonic() + SECONDS
        while True:
            with socket.socket() as connection:
                if connection.connect_ex(("127.0.0.1", port)) == 0:
                    return
            assert process.poll() is None, self._last_words()
            assert time.monotonic() < deadline, self._last_words()
            time.sleep(0.02)

    def _last_words(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]


def _connect(url: str) -> webdriver.Remote:
    options = webdriver.WebKitGTKOptions()
    options.set_capability("acceptInsecureCerts", True)
    direct = Proxy({"proxyType": ProxyType.DIRECT})  # whatever the environment says
    driver = webdriver.Remote(RemoteConnection(client_config=ClientConfig(url, proxy=direct, timeout=2 * SECONDS)), options=options)
    driver.set_page_load_timeout(SECONDS)
    return driver


def _end(process: "subprocess.Popen[bytes]") -> None:
    """With the browser that it started, even if that hangs."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Window:
    """What a person does in it, and sees. A page that does not finish loading within SECONDS fails the test."""

    def __init__(self, process: "subprocess.Popen[bytes]", driver: webdriver.Remote, issuer: str) -> None:
        self.process, self.driver, self.issuer = process, driver, issuer

    def is_signed_in(self, raw_session: str) -> None:
        if not self.at.startswith(self.issuer + "/"):  # a cookie is set for the site that is shown
            self.go("/healthz")
        is_https = self.issuer.startswith("https:")
        name = "__Host-gatepost_session" if is_https else "gatepost_session"
        self.driver.add_cookie({"name": name, "value": raw_session, "path": "/", "secure": is_https})

    def loses_its_cookies(self) -> None:
        self.driver.delete_all_cookies()

    def close(self) -> None:
        _end(self.process)

    def take_picture(self, path: Path) -> None:
        self.driver.save_screenshot(str(path))

    def go(self, path: str) -> None:
        self.driver.get(path if path.startswith("http") else self.issuer + path)

    def back(self) -> None:
        self.driver.back()

    def sees(self, heading: str) -> None:
        """A page with this heading, or a dialog, is shown, and the page has loaded."""
        self._wait(lambda: heading in self._headings() and self._has_loaded(), lambda: f"{heading!r}, but {self._headings()} at {self.at}")

    def says(self, text: str) -> None:
        self._wait(lambda: text in self.text, lambda: f"{text!r} is not in\n{self.text}")

    def says_no_more(self, text: str) -> None:
        self._wait(lambda: text not in self.text, lambda: f"{text!r} is still there")

    def has_focus_on(self, text: str) -> None:
        self._wait(lambda: self.driver.switch_to.active_element.text == text, lambda: f"the focus is not on {text!r}")

    def holds(self, label: str, value: str) -> None:
        """A field does."""
        self._wait(lambda: self.value(label) == value, lambda: f"{label!r} holds {self.value(label)!r}")

    def arrives_at(self, url: str) -> None:
        self._wait(lambda: self.at.partition("?")[0] == url and self._has_loaded(), lambda: f"{url}, but at {self.at}")

    @property
    def at(self) -> str:
        return self.driver.current_url

    @property
    def text(self) -> str:
        """What can be read, without what stands in fields."""
        return self.driver.execute_script("return document.body.innerText")

    @property
    def contents(self) -> str:
        """All that the page holds: its markup, and what stands in fields."""
        values = "return [...document.querySelectorAll('input, textarea')].map((field) => field.value).join('\\n')"
        return self.driver.page_source + self.driver.execute_script(values)

    def secret(self) -> str:
        """What is shown once."""
        return self._visible("//output[@data-copy-source]").text

    def theme(self) -> str:
        """Whether the page is dark or light: the sum of its background's colors says it."""
        color = self.driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        return "light" if sum(map(int, re.findall(r"[0-9]+", color)[:3])) > 3 * 128 else "dark"

    def value(self, label: str) -> str:
        return self._control(label).get_property("value")

    def fill(self, label: str, text: str) -> None:
        control = self._control(label)
        control.clear()
        control.send_keys(text)

    def type(self, keys: str) -> None:
        """Into what has the focus."""
        self.driver.switch_to.active_element.send_keys(keys)

    def select(self, label: str, option: str) -> None:
        Select(self._control(label)).select_by_visible_text(option)

    def choose(self, label: str) -> None:
        """A radio button or a check box."""
        self._control(label).click()

    def open_menu(self) -> None:
        """The account's."""
        self._visible("//header//*[@class='top-end']//summary").click()

    def press(self, name: str) -> None:
        """A button; of the dialog, when one is open."""
        within = "//dialog[@open]" if self.driver.find_elements(By.CSS_SELECTOR, "dialog[open]") else ""
        self._visible(f'{within}//button[normalize-space()="{name}"]').click()

    def follow(self, name: str) -> None:
        self._visible(f'//a[normalize-space()="{name}"]').click()

    def _control(self, label: str) -> WebElement:
        return self.driver.find_element(By.ID, self._visible(f'//label[normalize-space()="{label}"]').get_attribute("for"))

    def _visible(self, xpath: str) -> WebElement:
        found: list[WebElement] = []

        def look() -> bool:
            found[:] = [element for element in self.driver.find_elements(By.XPATH, xpath) if element.is_displayed()]
            return bool(found)

        self._wait(look, lambda: f"{xpath} at {self.at}")
        return found[0]

    def _headings(self) -> list[str]:
        seen = "return [...document.querySelectorAll('h1, dialog h2')].filter((it) => it.checkVisibility()).map((it) => it.innerText)"
        return self.driver.execute_script(seen)

    def _has_loaded(self) -> bool:
        return self.driver.execute_script("return document.readyState") == "complete"

    def _wait(self, condition: Callable[[], bool], expected: Callable[[], str]) -> None:
        """While one page is followed by another, its elements and scripts may be lost."""
        patience = WebDriverWait(self.driver, SECONDS, 0.05, ignored_exceptions=[StaleElementReferenceException, JavascriptException])
        try:
            patience.until(lambda _driver: condition())
        except TimeoutException:
            raise AssertionError(expected()) from None
