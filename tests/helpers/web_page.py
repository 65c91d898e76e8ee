"""What the tests of export/web share: its server, Node, and a Chromium that is driven from Node."""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import threading

import pytest
from scripts import ROOT

PAGE = ROOT / "export" / "web"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def missing(*needs):
    """Skips, or where the page's tests are required fails, unless everything is there."""
    lacking = [words for words, there in needs if not there]
    if lacking and os.environ.get("KERAS_MARGIN_WEB") == "required":
        pytest.fail(f"make test-web needs {' and '.join(lacking)}.")
    if lacking:
        pytest.skip(f"needs {' and '.join(lacking)}: see `make test-web`")


def node():
    """Path of a Node that is new enough for the page's tests, or None."""
    found = shutil.which("node")
    version = found and subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    return found if version and int(version.lstrip("v").split(".")[0]) >= 20 else None


def browser():
    """Path of a Chromium, or None."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _BROWSERS)), None)


def script():
    """export/serve_web.py, as a module."""
    spec = importlib.util.spec_from_file_location("serve_web", ROOT / "export" / "serve_web.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def need_browser():
    """As `missing`, for all that a test in Chromium needs."""
    installed = (PAGE / "node_modules" / "playwright-core").is_dir() and script().RUNTIME.is_dir()
    missing(
        ("Node 20 or later", node()),
        ("`npm ci` in export/web", installed),
        ("Chromium (apt install chromium)", browser()),
    )


@contextlib.contextmanager
def served(module, model):
    """Context that yields the port of the page's server with that model."""
    with module.make_server(model, 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def run_in_browser(test, port, folder, **environment):
    """Runs one of export/web/test/*.mjs against the served page; returns its CompletedProcess."""
    told = {"PAGE_URL": f"http://127.0.0.1:{port}/", "PAGE_FOLDER": str(folder), "CHROMIUM": browser()}
    return subprocess.run(
        [node(), "--test", "--test-reporter=spec", test],
        cwd=PAGE,
        env={**os.environ, **told, **environment},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
