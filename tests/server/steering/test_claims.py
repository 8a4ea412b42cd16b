"""Each claim of docs/security.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_every_claim_names_a_test_that_exists() -> None:
    page = (ROOT / "docs" / "security.md").read_text("utf-8")
    claims = [line for line in page.splitlines() if line.startswith("| ") and "`test" in line]
    written = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(claims) > 25
    for claim in claims:
        for name in re.findall(r"`(test_\w+)`", claim):
            assert f"def {name}(" in written, name
