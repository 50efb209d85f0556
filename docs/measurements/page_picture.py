"""Picture of the top of a run's page, for the README: python docs/measurements/page_picture.py RUN FILE.png."""

from __future__ import annotations

import argparse
from pathlib import Path

from playwright.sync_api import sync_playwright


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run folder with a report.html")
    parser.add_argument("picture", type=Path, help="PNG file to write")
    parser.add_argument("--chromium", default="/usr/bin/chromium", help="browser")
    parser.add_argument("--height", type=int, default=1080, help="of the picture in pixels")
    asked = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=asked.chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1100, "height": asked.height})
        page.goto((asked.run / "report.html").resolve().as_uri())
        page.screenshot(path=asked.picture)
        browser.close()


if __name__ == "__main__":
    main()
