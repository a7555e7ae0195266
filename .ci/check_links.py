"""Checks every link of the built documentation: pages, files and anchors; with --external, other servers too.

python .ci/check_links.py SITE [--external]
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

BASE = "http://site/"


class Page(HTMLParser):
    """Links and anchors of one page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            if (tag, name) in {("a", "href"), ("link", "href"), ("img", "src"), ("script", "src")} and value:
                self.links.append(value)


def target(site: Path, url: str) -> Path:
    """Return the file that a page's address stands for."""
    path = site / unquote(urlsplit(url).path.lstrip("/"))
    return path / "index.html" if path.is_dir() or url.endswith("/") else path


def answers(url: str) -> str:
    """Return what is wrong with another server's page, or nothing."""
    request = urllib.request.Request(url, headers={"User-Agent": "avatarkit link check"}, method="GET")
    try:
        with urllib.request.urlopen(request, timeout=20):
            return ""
    except urllib.error.HTTPError as error:
        return "" if error.code in (403, 405, 429) else f"answers {error.code}"
    except OSError as error:
        return f"does not answer ({error})"


def main(site: Path, external: bool) -> int:
    pages = {}
    for file in sorted(site.rglob("*.html")):
        pages[file] = Page()
        pages[file].feed(file.read_text(encoding="utf-8"))
    wrong, count, elsewhere = [], 0, set()
    for file, page in pages.items():
        if file.name == "404.html":  # served from any address
            continue
        here = BASE + file.relative_to(site).as_posix()
        for link in page.links:
            url, anchor = urldefrag(urljoin(here, link))
            if not url.startswith(BASE):
                elsewhere.add(url)
                continue
            count += 1
            found = target(site, url)
            if not found.exists():
                wrong.append(f"{file.relative_to(site)}: {link} leads nowhere")
            elif anchor and found in pages and unquote(anchor) not in pages[found].anchors and not anchor.startswith("__"):
                wrong.append(f"{file.relative_to(site)}: {link} names an anchor that is not there")
    if external:
        wrong += [f"{url} {text}" for url in sorted(elsewhere) if url.startswith("http") and (text := answers(url))]
    print("\n".join(wrong) or f"{count} links on {len(pages)} pages are fine; {len(elsewhere)} lead to other servers")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), "--external" in sys.argv))
