"""Compile the price table `sdk/stemfirst/prices.json` from the package genai-prices (MIT).

Run: `pip install genai-prices`, then `python benchmarks/build_prices.py`.

Keeps what a savings report needs (text input, cache read, cache write, output, with their
dates, hours and context tiers) of the vendors that sell their own API, and leaves out
resellers, other units, and discounts for batches and service tiers.
"""

from __future__ import annotations

import json
import re
from datetime import date
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

from genai_prices.data import providers

TABLE = Path(__file__).parents[1] / "sdk" / "stemfirst" / "prices.json"
VENDORS = [
    *("openai", "anthropic", "google", "deepseek", "x-ai", "mistral", "groq", "moonshotai"),
    *("minimax", "zai", "zhipuai", "meta", "cohere", "perplexity", "cerebras"),
    *("azure", "aws", "fireworks", "together"),
]
"""Providers that are kept, in the order in which a bare model name is looked up."""

FIELDS = ("input_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_1h_mtok", "output_mtok")


def pattern(clause: Any) -> str:
    """Return one regular expression that matches what a genai-prices clause matches."""
    match type(clause).__name__:
        case "ClauseEquals":
            return f"^{re.escape(clause.equals)}$"
        case "ClauseStartsWith":
            return f"^{re.escape(clause.starts_with)}"
        case "ClauseEndsWith":
            return f"{re.escape(clause.ends_with)}$"
        case "ClauseContains":
            return re.escape(clause.contains)
        case "ClauseRegex":
            return str(clause.regex)
        case "ClauseOr":
            return "|".join(f"(?:{pattern(part)})" for part in clause.or_)
        case "ClauseAnd":
            # `^` inside still means the start of the name: `.*?` reaches it with no characters.
            return "^" + "".join(f"(?=.*?(?:{pattern(part)}))" for part in clause.and_)
    raise TypeError(f"genai-prices has a clause that this script does not know: {clause!r}")


def number(value: Any) -> float | None:
    """Return a price in US dollars per million tokens; a context tier's base price."""
    if value is None:
        return None
    return float(getattr(value, "base", value))


def tiers(prices: Any) -> list[list[float | None]]:
    """Return `[above_tokens, input, read, write, write_1h, output]` for the base and each tier."""
    starts = {0} | {
        tier.start
        for field in FIELDS
        for tier in getattr(getattr(prices, field, None), "tiers", ())
    }
    rows: list[list[float | None]] = []
    for start in sorted(starts):
        row: list[float | None] = [start]
        for field in FIELDS:
            value = getattr(prices, field, None)
            price = number(value)
            for tier in getattr(value, "tiers", ()):
                if tier.start <= start:
                    price = float(tier.price)
            row.append(price)
        rows.append(row)
    return rows


def condition(constraint: Any) -> list[str] | None:
    """Return when a price holds: `["2026-08-21"]`, `["01:00", "04:00"]` (UTC), or None."""
    if constraint is None:
        return None
    if hasattr(constraint, "start_date"):
        return [constraint.start_date.isoformat()]
    return [constraint.start_time.strftime("%H:%M"), constraint.end_time.strftime("%H:%M")]


def model_entry(model: Any) -> list[Any] | None:
    """Return `[id, pattern, [[condition, tiers], …]]`; None without prices for text."""
    listed = model.prices if isinstance(model.prices, list) else None
    dated = (
        [[condition(entry.constraint), tiers(entry.prices)] for entry in listed]
        if listed is not None
        else [[None, tiers(model.prices)]]
    )
    if all(rows[0][1] is None or rows[0][5] is None for _, rows in dated):
        return None
    return [model.id, pattern(model.match), dated]


def newest_date(today: date) -> str:
    """Return the newest date that the source's notes and prices mention and that is past."""
    text = repr(providers)
    dates = re.findall(r"\b(20\d\d-\d\d-\d\d)\b", text)
    dates += [
        f"{int(y):04}-{int(m):02}-{int(d):02}"
        for y, m, d in re.findall(r"datetime\.date\((\d+), (\d+), (\d+)\)", text)
    ]
    return max(found for found in dates if found <= today.isoformat())


def licence() -> str:
    """Return the licence text that genai-prices ships."""
    files = [path for path in distribution("genai-prices").files or () if path.name == "LICENSE"]
    return Path(str(files[0].locate())).read_text(encoding="utf-8").strip()


def main() -> None:
    """Write the table and say how large it is."""
    by_id = {provider.id: provider for provider in providers}
    table = {
        "unit": "US dollars per million tokens",
        "source": f"genai-prices {version('genai-prices')}, https://github.com/pydantic/genai-prices",
        "licence": licence(),
        "as_of": newest_date(date.today()),
        "compiled": date.today().isoformat(),
        "columns": ["above_tokens", "input", "read", "write", "write_1h", "output"],
        "providers": [
            {
                "id": name,
                "url": by_id[name].api_pattern,
                "names": pattern(by_id[name].model_match) if by_id[name].model_match else None,
                "models": [entry for model in by_id[name].models if (entry := model_entry(model))],
            }
            for name in VENDORS
        ],
    }
    TABLE.write_text(json.dumps(table, separators=(",", ":")) + "\n", encoding="utf-8")
    models = sum(len(provider["models"]) for provider in table["providers"])
    print(f"{TABLE.name}: {models} models, {TABLE.stat().st_size:,} bytes, as of {table['as_of']}")


if __name__ == "__main__":
    main()
