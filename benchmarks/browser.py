"""How long a face takes in Chromium, on WebAssembly with one thread, in each precision.

    python benchmarks/browser.py EXPORTED [EXPORTED ...] [--ort PACKAGE] [--runs 200]

Builds the page of the exported recognisers, opens it in headless Chromium from a local server, and
lets the page's own code judge a standard face again and again. Needs chromium and chromedriver.
"""

import argparse
import shutil
import statistics
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from selenium import webdriver

from classifiers.page.build import build
from classifiers.runtime import MODELS

WARM_UP = 10
_JUDGE = """
const [folder, precision, runs, done] = arguments;
(async () => {
  const { Recogniser } = await import('/recognise.js');
  const { picture } = await import('/pixels.js');
  const site = await (await fetch('/page.json')).json();
  const recogniser = await Recogniser.load(folder, precision, 'wasm', site);
  const [height, width] = recogniser.content.size;
  const face = picture(width, height);
  face.data.forEach((_, i) => { face.data[i] = (i * 7919) % 256; });
  const took = [];
  for (let i = 0; i < runs; i++) took.push((await recogniser.judge(face)).milliseconds);
  return took;
})().then(done, (error) => done(String(error)));
"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Exported recognisers in Chromium.")
    parser.add_argument("folders", type=Path, nargs="+", help="what affectory export wrote")
    parser.add_argument("--ort", type=Path, help="tarball or folder of onnxruntime-web")
    parser.add_argument("--runs", type=int, default=200)
    given = parser.parse_args()
    measured = in_chromium(given.folders, ort=given.ort, runs=given.runs)
    for folder, medians in zip(given.folders, measured, strict=True):
        each = "  ".join(f"{name} {value:.1f} ms" for name, value in medians.items())
        print(f"{folder.name}: {each} (median of {given.runs} faces, WebAssembly, one thread)")


def in_chromium(
    folders: Sequence[Path], *, ort: Path | None = None, runs: int = 200
) -> list[dict[str, float]]:
    """Return for each folder the median milliseconds of a face, by precision."""
    with tempfile.TemporaryDirectory() as name:
        site = Path(name, "site")
        models = build(folders, site, ort=ort)["models"]
        with _served(site) as address, _browser(Path(name, "profile")) as driver:
            driver.get(address)
            return [
                {
                    precision: _median(driver, model["folder"], precision, runs)
                    for precision in MODELS
                }
                for model in models
            ]


def _median(driver: webdriver.Chrome, folder: str, precision: str, runs: int) -> float:
    took = driver.execute_async_script(_JUDGE, folder, precision, runs + WARM_UP)
    if isinstance(took, str):
        raise SystemExit(f"{folder}, {precision}: {took}")
    return statistics.median(took[WARM_UP:])


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("localhost", 0), partial(_Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://localhost:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def _browser(profile: Path) -> Iterator[webdriver.Chrome]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        raise SystemExit("needs chromium and chromedriver (make browser)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for switch in ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"):
        options.add_argument(switch)
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    opened.set_script_timeout(600)
    try:
        yield opened
    finally:
        opened.quit()


if __name__ == "__main__":
    main()
