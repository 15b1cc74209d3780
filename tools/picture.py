"""The picture of README.md, docs/images/compare.png: the compare page of the demo in a headless browser.

python -m tools.picture                 # trains the demo in a temporary folder
python -m tools.picture outputs         # uses runs that are there
"""

from __future__ import annotations

import base64
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from musicreclass.cli.main import main as musicreclass
from tests.browser import browser

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "compare.png"
WIDTH, HEIGHT = 1280, 720  # of the part of the page that is shown, in pixels
DEMO = ["train", "-m", "experiment=demo", "model=mlp,xgboost,logreg"]  # as in the Makefile


def draw(runs: Path, folder: Path, picture: Path = PICTURE) -> None:
    """Write the picture.

    Args:
        runs: folder of run folders.
        folder: for temporary files.
        picture: the PNG file to write.

    Raises:
        RuntimeError: if the runs cannot be compared.
    """
    page = folder / "compare.html"
    if musicreclass(["compare", str(runs), "--output", str(page)]):
        raise RuntimeError(f"{runs}: the runs could not be compared")
    with browser(folder) as window:
        window.emulate(WIDTH, HEIGHT)
        window.open(page)
        clip = {"x": 0, "y": 0, "width": WIDTH, "height": HEIGHT, "scale": 1}
        png = window.devtools("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]
    picture.parent.mkdir(parents=True, exist_ok=True)
    image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    image.quantize(64).save(picture, optimize=True)  # a third of the size; the page has few colours


def main(arguments: Sequence[str]) -> int:
    """Write the picture from a folder of runs, or from the demo."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if arguments:
            draw(Path(arguments[0]).absolute(), folder)
            return 0
        os.chdir(folder)
        code = musicreclass(DEMO)
        if code == 0:
            draw(folder / "outputs", folder)
        return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
