"""The HTML page: complete in itself, safe with hostile text, and readable in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from audit_recordings import POLICY, chat, record, support_agent, write
from stemfirst_lint.audit.page import page
from stemfirst_lint.audit.run import audit_files

HOSTILE = (
    "You are <script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "</style><style>body{display:none}</style>",
    '"><svg onload=alert(1)>',
    "]]>--><iframe src='https://evil.example'>",
    "\u202egnp.exe \x1b[31m \ud800",
    "&lt;b&gt; {{7*7}} ${7*7}",
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)  # fmt: skip


def hostile_page(tmp_path: Path) -> str:
    records: list[dict[str, Any]] = []
    for number in range(21):
        evil = HOSTILE[number % 7]
        body = chat(f"{evil}\n{evil} now: 09:00:{number:02}\n{POLICY}", evil, model=f"gpt-4o{evil}")
        details = {"prompt_tokens": 1500, "prompt_tokens_details": {"cached_tokens": 256}}
        response = {"usage": details, "stemfirst": {"missed": {"reason": evil}}}
        records.append(record(body, 60 * number, response=response, session=evil))
    path = write(tmp_path / f"<b>evil&{'x' * 90}.jsonl", [*records, "{<script>"])
    return page(audit_files((str(path),)))


class Elements(HTMLParser):
    """Collects every element and attribute of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    made = hostile_page(tmp_path)
    found = Elements()
    found.feed(made)
    assert not {"script", "img", "iframe", "link", "object", "b>evil"} & set(found.tags)
    assert found.tags.count("style") == 1
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert "&lt;script&gt;" in made
    assert not set(made) & set("\u202e\x1b\ud800")


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    made = page(audit_files((str(write(tmp_path / "a.jsonl", support_agent())),)))
    found = Elements()
    found.feed(made)
    assert not [value for name, value in found.attributes if name in ("src", "href", "data")]
    assert not re.search(r"url\(|@import|https?://", made)
    assert "default-src 'none'" in made
    assert "prefers-color-scheme:dark" in made
    for said in ("Hit ratio over time", "Tokens lost by cause", "Where prompts diverge",
                 "Current time:", "SF101"):  # fmt: skip
        assert said in made


def test_the_pictures_show_the_figures(tmp_path: Path) -> None:
    report = audit_files((str(write(tmp_path / "a.jsonl", support_agent())),))
    made = page(report)
    best = 100 * report.sums.best_tokens / report.sums.prompt_tokens
    assert f"<b>{best:.1f} %</b>" in made
    assert made.count('class="line ') == 2  # nothing was reported
    [template] = report.templates
    assert made.count("of the prompt</title>") == sum(map(bool, template.positions))


_FRAME = """<!doctype html><meta charset="utf-8"><iframe id="f" width="{width}" height="900"
style="border:0"></iframe><pre id="out"></pre><script>
const frame = document.getElementById("f"), blocked = [];
frame.onload = () => {{
  const inner = frame.contentDocument, root = inner.documentElement;
  const boxes = [...inner.querySelectorAll("svg,.bars li,article")]
    .map(e => e.getBoundingClientRect());
  document.getElementById("out").textContent = JSON.stringify({{
    title: inner.title, scripts: inner.scripts.length, overflow: root.scrollWidth - {width},
    background: getComputedStyle(inner.body).backgroundColor,
    ink: getComputedStyle(inner.body).color,
    hidden: boxes.filter(b => b.width < 40 || b.height < 4).length, drawn: boxes.length}});
}};
frame.srcdoc = {page};
</script>"""


def in_chromium(tmp_path: Path, made: str, width: int, *options: str) -> dict[str, Any]:
    """Return what a browser makes of a page in a frame of this width."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    outer = tmp_path / "outer.html"
    text = json.dumps(made).replace("</", "<\\/").replace("<!--", "<\\!--")
    outer.write_text(_FRAME.format(width=width, page=text), encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", "--dump-dom",
         *options, outer.as_uri()],
        capture_output=True, text=True, check=True, timeout=90,
    )  # fmt: skip
    match = re.search(r'<pre id="out">(\{.*?\})</pre>', done.stdout)
    assert match is not None, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(match[1].replace("&lt;", "<").replace("&amp;", "&"))
    return found


@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_shows_the_page_whole_and_runs_nothing_in_it(tmp_path: Path, width: int) -> None:
    seen = in_chromium(tmp_path, hostile_page(tmp_path), width)
    assert seen["title"] == "Prefix-cache audit"
    assert seen["scripts"] == 0
    assert seen["overflow"] <= 0
    assert seen["drawn"] >= 5
    assert seen["hidden"] == 0


def test_dark_readers_get_dark_colours(tmp_path: Path) -> None:
    made = page(audit_files((str(write(tmp_path / "a.jsonl", support_agent())),)))
    light = in_chromium(tmp_path, made, 800)
    dark = in_chromium(tmp_path, made, 800, "--blink-settings=preferredColorScheme=0")

    def brightness(colour: str) -> int:
        return sum(map(int, re.findall(r"\d+", colour)[:3]))

    assert brightness(light["background"]) > 600 > 150 > brightness(light["ink"]) - 30
    assert brightness(dark["background"]) < 150 < 600 < brightness(dark["ink"])
