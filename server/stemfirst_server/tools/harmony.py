"""OpenAI's harmony, as the gpt-oss models write: messages on channels, each with a header.

    <|channel|>analysis<|message|>...<|end|><|start|>assistant<|channel|>final<|message|>...
    <|channel|>commentary to=functions.name <|constrain|>json<|message|>{...}<|call|>

What is said on `final`, or on `commentary` to nobody, is the answer; `analysis` is not shown; what
goes to `functions.<name>` is a call. Source: OpenAI's harmony response format, as in the chat
template of gpt-oss-20b (2025).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from stemfirst_server.tokens.grammar_text import json_rule
from stemfirst_server.tools.calls import Reading, Tool, ToolCall, ToolUse
from stemfirst_server.tools.formats import Format, Spell, closed
from stemfirst_server.tools.reading import Reader, undecided

_MESSAGE = "<|message|>"
_ENDS = ("<|end|>", "<|call|>", "<|return|>", "<|start|>")
_TO = re.compile(r"to=functions\.([\w.-]+)")
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")


class Harmony(Format):
    """Channels and headers; every answer is read, with tools or without."""

    name = "openai"
    begins = ("<|channel|>",)
    is_always_read = True
    tokens = ("<|channel|>", "<|constrain|>", _MESSAGE, *_ENDS)

    def calls(self, raw: str, tools: Sequence[Tool]) -> list[ToolCall] | None:
        """Return the calls in a whole answer."""
        reader = HarmonyReader(self, is_parallel=True)
        found = reader.feed(raw).calls + reader.finish().calls
        return list(found) or None

    def reader(self, asked: ToolUse) -> Reader:
        """Return a reader of channels."""
        return HarmonyReader(self, is_parallel=asked.is_parallel)

    def answer(self, spell: Spell) -> str:
        """Return how an answer that is no call begins."""
        return f'{spell("<|channel|>")} "final" {spell(_MESSAGE)}'

    def grammar(self, asked: ToolUse, spell: Spell) -> str:
        """Return the grammar of one call, after which this family waits for its result."""
        rules = []
        for index, tool in enumerate(asked.tools):
            to = json.dumps(f"commentary to=functions.{tool.name} ")
            rules.append(
                f"o{index}: {spell('<|channel|>')} {to} {spell('<|constrain|>')} "
                f'"json" {spell(_MESSAGE)} a{index}\n'
                f"a{index}: {json_rule(closed(tool.parameters))}"
            )
        names = " | ".join(f"o{index}" for index in range(len(asked.tools)))
        return f"start: {names}\n" + "\n".join(rules)


class HarmonyReader:
    """Reads one answer; text that begins with no header is shown as it is."""

    def __init__(self, form: Harmony, *, is_parallel: bool) -> None:
        self._form = form
        self._most = None if is_parallel else 1
        self._held = ""
        self._is_plain: bool | None = None
        self._is_inside = False
        self._function: str | None = None
        self._is_shown = True
        self._body = ""
        self._told = 0

    def feed(self, text: str) -> Reading:
        """Return what became certain with this text."""
        self._held += text
        return self._read(is_last=False)

    def finish(self) -> Reading:
        """Return the rest; a call whose end is its answer's end is whole."""
        return self._read(is_last=True)

    def _read(self, *, is_last: bool) -> Reading:
        if self._is_plain is None:
            begin = self._held.lstrip()[:2]
            if is_last or len(begin) == 2 or (begin and begin[0] != "<"):
                self._is_plain = begin != "<|" or (is_last and _MESSAGE not in self._held)
        if self._is_plain is None:
            return Reading()
        if self._is_plain:
            text, self._held = self._held, ""
            return Reading(text)
        shown: list[str] = []
        calls: list[ToolCall] = []
        while self._held:
            before = len(self._held), self._is_inside
            if self._is_inside:
                self._read_body(shown, calls, is_last=is_last)
            else:
                self._read_header()
            if (len(self._held), self._is_inside) == before:
                break
        if is_last and self._is_inside:
            self._end_message(calls)
        return Reading("".join(shown), tuple(calls))

    def _read_header(self) -> None:
        place = self._held.find(_MESSAGE)
        if place < 0:
            return
        header, self._held = self._held[:place], self._held[place + len(_MESSAGE) :]
        to, channel = _TO.search(header), _CHANNEL.search(header)
        self._function = to[1] if to else None
        self._is_shown = channel is None or channel[1] != "analysis"
        self._is_inside = True

    def _read_body(self, shown: list[str], calls: list[ToolCall], *, is_last: bool) -> None:
        places = [(self._held.find(end), end) for end in _ENDS]
        found = min(((place, end) for place, end in places if place >= 0), default=None)
        if found is None:
            cut = len(self._held) - (0 if is_last else undecided(self._held, _ENDS))
        else:
            cut = found[0]
        text, self._held = self._held[:cut], self._held[cut:]
        if self._function is not None:
            self._body += text
        elif self._is_shown:
            shown.append(text)
        if found is not None:
            self._held = self._held[len(found[1]) :]
            self._end_message(calls)

    def _end_message(self, calls: list[ToolCall]) -> None:
        if self._function is not None and (self._most is None or self._told < self._most):
            calls.append(self._form.call(self._function, self._body.strip() or "{}"))
            self._told += 1
        self._function = None
        self._body = ""
        self._is_inside = False
