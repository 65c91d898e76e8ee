"""Serves the page of export/web with a model, on this machine alone: faces compared and recognized in the browser.

    python export/serve_web.py                                  # runs/latest/embedder.tflite, which `make demo` writes
    python export/serve_web.py --model=face.tflite --port=9000
    python export/serve_web.py --model=runs/latest/model.keras  # exported first

`make web` also fetches LiteRT.js into export/web/node_modules, which the page needs. A .tflite file is served as it is,
with the JSON next to it; the page fixes a free batch size by itself. A .keras file is exported to a temporary folder.
Exit code: 0 at Ctrl-C, or 1 with one line that says what was wrong.
"""

import contextlib
import functools
import http.server
import pathlib
import sys
import tempfile
import urllib.parse

from absl import app, flags

PAGE = pathlib.Path(__file__).resolve().parent / "web"
RUNTIME = PAGE / "node_modules" / "@litertjs" / "core" / "wasm"
# What the page is made of; tests, package.json and the other packages in node_modules stay here.
SERVED = (".html", ".css", ".js", ".svg", ".wasm")

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "A .tflite or .keras file, or a run's folder. Default: runs/latest.")
flags.DEFINE_integer("port", 8000, "Port on localhost; 0 picks a free one.", lower_bound=0, upper_bound=65535)


class PageHandler(http.server.SimpleHTTPRequestHandler):
    """The page's own files, LiteRT.js, and one model under /model/."""

    extensions_map = {
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".wasm": "application/wasm",
        ".svg": "image/svg+xml",
    }

    def __init__(self, *arguments, model, **named):
        self.model = model
        super().__init__(*arguments, directory=str(PAGE), **named)

    def send_head(self):
        """Sends / on to the page with its model, and refuses what is not part of it."""
        if urllib.parse.urlsplit(self.path).path == "/":
            self.send_response(302)
            self.send_header("Location", f"/index.html?model={urllib.parse.quote(f'model/{self.model.name}')}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        file = pathlib.Path(self.translate_path(self.path))
        if not file.is_file():
            self.send_error(404, "There is no such file here")
            return None
        return super().send_head()

    def translate_path(self, path):
        name = urllib.parse.unquote(urllib.parse.urlsplit(path).path)
        for file in (self.model, self.model.with_name(f"{self.model.name}.json")):
            if name == f"/model/{file.name}":
                return str(file)
        file = pathlib.Path(super().translate_path(path))
        parts = file.relative_to(PAGE).parts if file.is_relative_to(PAGE) else ("..",)
        ours = len(parts) == 1 or parts[:2] == ("node_modules", "@litertjs")
        return str(file) if ours and file.suffix in SERVED else str(PAGE / "none")

    def end_headers(self):
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, *arguments):
        """Says nothing: the page shows what goes wrong."""


@contextlib.contextmanager
def served_model(path):
    """Context that yields the .tflite file to serve for what the user named.

    Raises:
        FileNotFoundError: there is no such file or run.
        ValueError: it is neither a .tflite nor a .keras file, nor a run's folder.
    """
    given, path = path, pathlib.Path(path)
    if path.is_dir():
        path = next((path / name for name in ("embedder.tflite", "model.keras") if (path / name).exists()), None)
        if path is None:
            raise FileNotFoundError(f"{given} holds neither embedder.tflite nor model.keras.")
    if not path.exists():
        raise FileNotFoundError(f"There is no such file: {given}")
    if path.suffix == ".tflite":
        yield path
    elif path.suffix == ".keras":
        with tempfile.TemporaryDirectory() as folder:
            exported = pathlib.Path(folder) / f"{path.stem}.tflite"
            _export(path, exported)
            yield exported
    else:
        raise ValueError(f"The page needs a .tflite or .keras file, or a run's folder. Received: {given}.")


def _export(path, exported):
    # TensorFlow takes seconds to import, and a .tflite file needs none.
    import keras_margin as km

    print(km.export.to_tflite(path, exported, options=km.export.Options(batch_size=1)))


def make_server(model, port):
    """An HTTP server on localhost for the page and that .tflite file; not started yet.

    Raises:
        FileNotFoundError: LiteRT.js is not installed.
        OSError: the port is taken.
    """
    if not RUNTIME.is_dir():
        raise FileNotFoundError(f"LiteRT.js is missing: run `npm ci` in {PAGE}, or `make web`.")
    handler = functools.partial(PageHandler, model=pathlib.Path(model))
    try:
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise OSError(f"Port {port} cannot be had ({error.strerror}): name another with --port.") from error


def main(argv):
    """Finds the model, serves the page until Ctrl-C."""
    try:
        if argv[1:]:
            raise ValueError(f"All options are flags, such as --model=face.tflite. Received: {' '.join(argv[1:])}.")
        path = FLAGS.model or "runs/latest"
        if not FLAGS.model and not pathlib.Path(path).exists():
            raise FileNotFoundError(
                "There is no runs/latest yet: `make demo` trains one, or name a model with --model."
            )
        with served_model(path) as model, make_server(model, FLAGS.port) as server:
            print(f"{model.name} at http://localhost:{server.server_port}/ until Ctrl-C", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                server.serve_forever()
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")


if __name__ == "__main__":
    app.run(main)
