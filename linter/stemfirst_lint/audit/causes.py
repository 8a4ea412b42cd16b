"""Why two prompts part where they do: the cause, by the rule that names it.

Knows what clocks, ids, counters, orders and edited histories look like in two texts. Does not
know what a cause costs. A cause is read off two texts: it is evidence, not proof.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from stemfirst_lint.audit.divergence import Divergence
from stemfirst_lint.audit.sharing import Shortfall
from stemfirst_lint.audit.stream import SETTING, Stream
from stemfirst_lint.audit.templates import lines_of_text

_LOOKED_AT_CHARACTERS = 8_192
"""Behind a difference, to tell text that was looked up from the template's own."""


@dataclass(frozen=True, slots=True)
class Cause:
    """A rule, and what a person can do about it."""

    code: str
    name: str
    what: str
    remedy: str
    is_fault: bool = True
    """False for what may be as it should: it is shown, and does not fail the audit."""


def _cause(code: str, name: str, what: str, remedy: str, is_fault: bool = True) -> Cause:
    return Cause(code, name, what, remedy, is_fault)


_TO_THE_END = "move it behind the stable text, best into the newest user message"

CLOCK = _cause("SF101", "clock-in-prefix", "a time", f"coarsen it to the day, or {_TO_THE_END}")
DATE = _cause("SF102", "date-in-prefix", "a date", _TO_THE_END, is_fault=False)
NONCE = _cause("SF103", "nonce-in-prefix", "a random id", f"drop it, or {_TO_THE_END}")
IDENTITY = _cause("SF104", "identity-in-prefix", "whose request it is", _TO_THE_END)
COUNTER = _cause("SF105", "counter-in-prefix", "a number that counts", _TO_THE_END)
ENVIRONMENT = _cause("SF106", "environment-in-prefix", "the machine's state", _TO_THE_END)
RETRIEVAL = _cause("SF107", "retrieval-in-prefix", "text looked up for the request", _TO_THE_END)
TOOL_SCHEMA = _cause(
    "SF108", "varying-tool-schema", "a tool's definition", "keep live values out of schemas"
)
CACHE_KEY = _cause(
    "SF109", "varying-cache-key", "the cache key", "derive it from the conversation or the tenant"
)
ITEM_ORDER = _cause("SF201", "set-order", "the same items in another order", "sort them")
TOOL_ORDER = _cause(
    "SF203", "tool-order", "the list of tools", "send the same tools in the same order"
)
JSON_ORDER = _cause(
    "SF204", "json-order", "the same JSON with its keys in another order", "serialise it one way"
)
VARYING_TEXT = _cause("SF301", "hole-before-static", "text that varies", _TO_THE_END)
SLIDING_WINDOW = _cause(
    "SF401", "sliding-window", "a history that lost its beginning", "evict rarely, in large blocks"
)
HISTORY_EDIT = _cause(
    "SF402", "history-edit", "an earlier message that was rewritten", "append, never rewrite"
)
REMINDER = _cause(
    "SF403", "unpersisted-reminder", "a message that was sent once and not kept",
    "store it with its turn",
)  # fmt: skip
IDS = _cause(
    "SF404", "regenerated-ids", "ids made anew for the same messages", "keep a message's ids"
)
SETTING_CHANGED = _cause(
    "SF507", "toggled-setting", "a setting that the cache depends on", "keep it for a conversation"
)
MODEL_CHANGED = _cause(
    "SF507", "toggled-model", "the model", "keep it for a conversation", is_fault=False
)

OF_SHORTFALL = {
    Shortfall.EXPIRED: _cause(
        "SF605", "gap-longer-than-ttl", "the gap since the last use",
        "ask for a longer lifetime, or keep the prefix in use", is_fault=False,
    ),
    Shortfall.BELOW_MINIMUM: _cause(
        "SF504", "prefix-below-minimum", "a shared prefix below the provider's minimum",
        "move more stable text to the front", is_fault=False,
    ),
    Shortfall.NO_MARKER: _cause(
        "SF502", "no-marker", "a stable prefix that no marker ends",
        "put a cache marker behind the stable text",
    ),
    Shortfall.MARKER_BEHIND_CHANGE: _cause(
        "SF503", "marker-behind-hole", "a marker that stands behind varying text",
        "put a marker in front of what varies",
    ),
    Shortfall.LOOKBACK: _cause(
        "SF604", "lookback-exceeded", "too many blocks between a marker and the stored prefix",
        "add a marker every 15 blocks",
    ),
    Shortfall.SWITCHED_OFF: _cause(
        "SF508", "caching-off", "explicit mode without a breakpoint", "add a breakpoint"
    ),
}  # fmt: skip

_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[T _]\d\d:?\d\d[\d:.,]*(?:Z|[+-]\d\d:?\d\d)?"
    r"|\b\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?(?:\s*[ap]\.?m\b\.?)?"
    r"|\b1[5-9]\d{8}(?:\d{3}|\.\d+)?\b",
    re.IGNORECASE,
)
_DATE = re.compile(
    rf"\b\d{{4}}[-/.]\d\d?[-/.]\d\d?\b|\b\d\d?[./-]\d\d?[./-]\d{{2,4}}\b"
    rf"|\b\d\d?(?:st|nd|rd|th|\.)? {_MONTH}(?: \d{{4}})?"
    rf"|\b{_MONTH} \d\d?(?:st|nd|rd|th)?,?(?: \d{{4}})?"
    r"|\b(?:mon|tues|wednes|thurs|fri|satur|sun)day\b",
    re.IGNORECASE,
)
_NONCE = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r"|\b(?=[0-9a-f]*[a-f])(?=[0-9a-f]*\d)[0-9a-f]{8,}\b"
    r"|\b(?=[\w-]*\d)(?=[\w-]*[a-z])(?=[\w-]*[A-Z])[\w-]{16,}\b"
    r"|\b(?:[a-z]+[_-])(?=\w*\d)\w{12,}\b"
)
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+")
_PATH = re.compile(r"(?:/(?:home|Users|tmp|var|workspace|root|mnt|private|opt)/|[A-Z]:\\)[^\s\"']*")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?%?")
_OF_IDENTITY = re.compile(
    r"\b(user|customer|tenant|account|session|client|member|employee|profile|org(anization)?|"
    r"company|e-?mail|name|caller|patient|student|locale|language|country)\w*\b[^:=\n]{0,24}[:=]",
    re.IGNORECASE,
)
_OF_ENVIRONMENT = re.compile(
    r"\b(cwd|working dir\w*|directory|host(name)?|pid|branch|commit|git status|platform|os)\b",
    re.IGNORECASE,
)
_OF_COUNT = re.compile(
    r"\b(turn|step|iteration|attempt|round|count|remaining|budget|used|left|progress"
    r"|number of)\b|#",
    re.IGNORECASE,
)
_OF_RETRIEVAL = re.compile(
    r"article|context|memor|document|snippet|retriev|knowledge|search|source|excerpt|passage|"
    r"reference|note|fact|scratchpad",
    re.IGNORECASE,
)
_ID_FIELDS = re.compile(r'"(?:id|call_id|tool_call_id|tool_use_id)":"[^"]*"')


def cause_of(found: Divergence, is_stable: Callable[[str], bool]) -> Cause:
    """Return the cause of a divergence, the most telling one that its texts show."""
    later, earlier = found.later, found.earlier
    block = later.blocks[min(found.block, len(later.blocks) - 1)]
    if block.role == SETTING or (
        found.block < len(earlier.blocks) and earlier.blocks[found.block].role == SETTING
    ):
        return _of_setting(found)
    if block.role == "tool definition":
        return _of_tools(found)
    if block.message is not None and block.role != "system":
        moved = _of_history(found)
        if moved is not None:
            return moved
    return _of_text(found, is_stable)


def label_of(found: Divergence, cause: Cause) -> str:
    """Return the fixed words right before what varies: what a person would search for."""
    _, now = found.texts
    start = now.rfind("\n", 0, found.offset) + 1
    before = now[start : found.offset]
    if len(before) > 80:
        before = before[-80:].partition(" ")[2]
    # What two values share is no label: "2026-11-" of two dates, the first letter of two names.
    words = before.split(" ")
    last = words.pop()
    if cause is ITEM_ORDER:  # the first items may happen to agree
        head, colon, _ = before.partition(": ")
        return head + colon.rstrip()
    while words and any(map(str.isdigit, words[-1])):
        last = words.pop()
    separator = re.match(r"[^\d:=]*[a-z_\"'][:=]+\"?", last)
    label = " ".join([*words, separator[0] if separator else ""]).strip()
    return label[-60:].partition(" ")[2] if len(label) > 60 else label


def _of_setting(found: Divergence) -> Cause:
    names = [
        stream.blocks[found.block].at[0]
        for stream in (found.earlier, found.later)
        if found.block < len(stream.blocks) and stream.blocks[found.block].role == SETTING
    ]
    if "model" in names:
        return MODEL_CHANGED
    return CACHE_KEY if "prompt_cache_key" in names else SETTING_CHANGED


def _of_tools(found: Divergence) -> Cause:
    index = found.block
    if index < min(len(found.earlier.blocks), len(found.later.blocks)):
        first, second = found.earlier.blocks[index], found.later.blocks[index]
        if first.name == second.name and first.role == second.role:
            return JSON_ORDER if _is_same_json(first.text, second.text) else TOOL_SCHEMA
    return TOOL_ORDER


def _of_history(found: Divergence) -> Cause | None:
    """Return what was done to a history, or None where the texts at the place must say."""
    was, now = found.earlier, found.later
    index = found.block
    assert index < len(was.blocks)  # else the one goes on where the other ends
    assert index < len(now.blocks)
    # Does the later history go on with something that the earlier one has further down?
    rest = was.digests[index + 1 :]
    if now.digests[index] in rest:
        skipped = was.blocks[index : index + 1 + rest.index(now.digests[index])]
        first = next(i for i, b in enumerate(was.blocks) if b.message is not None and not b.is_head)
        if index > first and len(skipped) <= 2 and index + 1 < len(now.blocks):
            return REMINDER
        return SLIDING_WINDOW
    old, new = was.blocks[index], now.blocks[index]
    if old.role != new.role:
        return HISTORY_EDIT
    if _ID_FIELDS.sub('""', old.text) == _ID_FIELDS.sub('""', new.text):
        return IDS
    goes_on = index + 1 < len(now.blocks) and now.digests[index + 1] in was.digests[index + 1 :]
    if goes_on and not _is_first_message(now, index):
        return HISTORY_EDIT
    # The opening was cut and both go on alike: a window whose edge moved.
    again = set(was.digests[index:]) & set(now.digests[index + 1 :])
    if len(again) >= 2 and not goes_on:
        return SLIDING_WINDOW
    return None


def _is_first_message(stream: Stream, index: int) -> bool:
    return all(block.role == SETTING or block.is_head for block in stream.blocks[:index])


def _of_text(found: Divergence, is_stable: Callable[[str], bool]) -> Cause:
    was, now = found.texts
    offset = found.offset
    if _is_same_json(was, now):
        return JSON_ORDER
    first, start_first = _line_at(was, offset)
    second, start_second = _line_at(now, offset)
    heading = now[max(0, offset - 160) : start_second]
    label = second[: offset - start_second]
    if _has_same_items(first, second) or _has_same_lines(was[start_first:], now[start_second:]):
        return ITEM_ORDER
    for pattern, cause in ((_TIME, CLOCK), (_NONCE, NONCE), (_DATE, DATE), (_EMAIL, IDENTITY)):
        if _covers(pattern, first, offset - start_first) and _covers(
            pattern, second, offset - start_second
        ):
            return cause
    if _covers(_PATH, second, offset - start_second) or _OF_ENVIRONMENT.search(label):
        return ENVIRONMENT
    if _OF_IDENTITY.search(label + second[offset - start_second :][:1]):
        return IDENTITY
    if _covers(_NUMBER, first, offset - start_first) and _covers(
        _NUMBER, second, offset - start_second
    ):
        return COUNTER
    if _OF_COUNT.search(label) and re.search(r"\d", second):
        return COUNTER
    behind = lines_of_text(now[offset : offset + _LOOKED_AT_CHARACTERS])[:8]
    fresh = [line for line in behind if not is_stable(line)]
    is_long = sum(map(len, fresh)) >= 120
    if found.later.blocks[min(found.block, len(found.later.blocks) - 1)].role == "system" and (
        is_long or _OF_RETRIEVAL.search(heading.rpartition("\n\n")[2])
    ):
        return RETRIEVAL
    return VARYING_TEXT


def _line_at(text: str, offset: int) -> tuple[str, int]:
    """Return the line around an offset, and where it starts."""
    start = text.rfind("\n", 0, offset) + 1
    end = text.find("\n", offset)
    return text[start : end if end >= 0 else len(text)], start


def _covers(pattern: re.Pattern[str], line: str, at: int) -> bool:
    """Whether a match holds a place in a line, or ends right before it."""
    window = line[max(0, at - 80) : at + 80]
    here = at - max(0, at - 80)
    return any(match.start() <= here <= match.end() for match in pattern.finditer(window))


def _has_same_items(first: str, second: str) -> bool:
    """Whether two lines list the same items in another order."""
    if first == second or len(first) != len(second):
        return False
    for separator in (r"[,;|]\s*", r"\s+"):
        sides = [sorted(_items(line, separator)) for line in (first, second)]
        if sides[0] == sides[1] and len(sides[0]) > 1:
            return True
    return False


def _items(line: str, separator: str) -> list[str]:
    _, colon, tail = line.partition(": ")
    return [item.strip(" []{}()'\".") for item in re.split(separator, tail if colon else line)]


def _has_same_lines(first: str, second: str) -> bool:
    """Whether the paragraphs that two texts begin with hold the same lines in another order."""
    sides = [text.split("\n\n", 1)[0].split("\n")[:200] for text in (first, second)]
    return len(sides[0]) > 1 and sides[0] != sides[1] and sorted(sides[0]) == sorted(sides[1])


def _is_same_json(first: str, second: str) -> bool:
    if first == second or first[:1] not in "{[" or second[:1] != first[:1] or not first:
        return False
    try:
        return bool(json.loads(first) == json.loads(second))
    except (ValueError, RecursionError):  # text that only looks like JSON
        return False
