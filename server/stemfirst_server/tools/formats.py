"""How model families spell a call: where it begins and ends, what is in it, and its grammar.

Knows markers and JSON. What streams in pieces is `reading`'s. Source: the families' published
chat templates (Hermes 3, Qwen 2.5 and 3, Qwen3-Coder, Llama 3.1, Mistral 7B v0.3 to Large 3,
DeepSeek V3 and V3.1).
"""

from __future__ import annotations

import json
import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from stemfirst_server.tokens.grammar_text import json_rule
from stemfirst_server.tools.calls import MOST_CALLS, Tool, ToolCall, ToolUse, dumped
from stemfirst_server.tools.reading import CallReader, Reader

Spell = Callable[[str], str]
"""From a literal to a term of the grammar; control tokens have terms of their own."""


class Format(ABC):
    """One family's way to write calls.

    Attributes:
        name: as `--tool-call-parser` and vLLM call it.
        begins: texts that begin calls.
        end: text that ends them; None: they go on to the end of the answer.
        is_always_read: answers have a form of their own, with tools or without.
        is_only_first: calls stand at the beginning of an answer or not at all.
        tokens: control tokens that are part of the spelling.
    """

    name: str
    begins: tuple[str, ...]
    end: str | None = None
    is_only_first = False
    is_always_read = False
    tokens: tuple[str, ...] = ()

    @abstractmethod
    def calls(self, raw: str, tools: Sequence[Tool]) -> list[ToolCall] | None:
        """Return the calls in `raw`, which begins with one of `begins`; None if it holds none."""

    @abstractmethod
    def grammar(self, asked: ToolUse, spell: Spell) -> str:
        """Return the grammar of an answer that calls one of the tools, or several."""

    def reader(self, asked: ToolUse) -> Reader:
        """Return a reader for one answer."""
        return CallReader(self, asked.tools, is_parallel=asked.is_parallel)

    def answer(self, spell: Spell) -> str:
        """Return the grammar of what stands before an answer that is no call."""
        return ""

    def call(self, name: str, arguments: object) -> ToolCall:
        """Return a call with an id of its own; arguments that are text already stay as they are."""
        text = arguments if isinstance(arguments, str) else dumped(arguments)
        return ToolCall(self.new_id(), name, text)

    def new_id(self) -> str:
        """Return an id that no other call has."""
        return f"call_{secrets.token_hex(12)}"


class Tagged(Format):
    """`<tool_call>`, with JSON inside (Hermes, Qwen) or tags of its own (Qwen3-Coder)."""

    begins = ("<tool_call>",)
    end = "</tool_call>"
    tokens = ("<tool_call>", "</tool_call>")

    def __init__(self, *, has_tags: bool) -> None:
        self.name = "qwen3_coder" if has_tags else "hermes"
        self._has_tags = has_tags

    def calls(self, raw: str, tools: Sequence[Tool]) -> list[ToolCall] | None:
        """Return the call, in whichever of the two spellings it is."""
        inner = raw.removeprefix("<tool_call>").removesuffix("</tool_call>").strip()
        if inner.startswith("{"):
            return _from_objects(self, [_json(inner)], "arguments")
        found = re.fullmatch(r"<function=([^>\n]+)>(.*?)(?:</function>)?", inner, re.DOTALL)
        if found is None:
            return None
        types = _types(found[1], tools)
        arguments = {
            name: _typed(value.removeprefix("\n").removesuffix("\n"), types.get(name))
            for name, value in re.findall(
                r"<parameter=([^>\n]+)>(.*?)(?:</parameter>|(?=<parameter=)|\Z)",
                found[2],
                re.DOTALL,
            )
        }
        return [self.call(found[1].strip(), arguments)]

    def grammar(self, asked: ToolUse, spell: Spell) -> str:
        """Return the grammar."""
        rules: list[str] = []
        for index, tool in enumerate(asked.tools):
            if self._has_tags:
                rules += _tagged_rules(index, tool)
            else:
                rules += _object_rules(index, tool, "arguments")
        one = f'{spell("<tool_call>")} "\\n" ({_any(asked)}) "\\n" {spell("</tool_call>")}'
        return _start("call", '"\\n" call', asked) + f"call: {one}\n" + "\n".join(rules)


class LlamaJson(Format):
    """A JSON object in place of an answer, `parameters` for arguments (Llama 3.1 and later)."""

    name = "llama3_json"
    begins = ("<|python_tag|>", "{")
    is_only_first = True
    tokens = ("<|python_tag|>",)

    def calls(self, raw: str, tools: Sequence[Tool]) -> list[ToolCall] | None:
        """Return the calls; several stand behind one another, with semicolons."""
        return _from_objects(self, list(_objects(raw.removeprefix("<|python_tag|>"), ";")))

    def grammar(self, asked: ToolUse, spell: Spell) -> str:
        """Return the grammar: one call, which is all that this family was taught."""
        rules = [
            rule
            for index, tool in enumerate(asked.tools)
            for rule in _object_rules(index, tool, "parameters")
        ]
        return f"start: {_any(asked)}\n" + "\n".join(rules)


class Mistral(Format):
    """`[TOOL_CALLS]` and a JSON list, or `[TOOL_CALLS]name[ARGS]{...}` in newer ones."""

    name = "mistral"
    begins = ("[TOOL_CALLS]",)
    tokens = ("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]")

    def __init__(self, *, has_args_token: bool) -> None:
        self._has_args_token = has_args_token

    def new_id(self) -> str:
        """Return nine letters and digits: this family's templates refuse anything else."""
        return secrets.token_hex(5)[:9]

    def calls(self, raw: str, tools: Sequence[Tool]) -> list[ToolCall] | None:
        """Return the calls, in whichever of the two spellings they are."""
        inner = raw.removeprefix("[TOOL_CALLS]").strip()
        if inner.startswith("["):
            listed = _json(inner)
            return _from_objects(self, listed if isinstance(listed, list) else [None])
        calls = []
        for part in inner.split("[TOOL_CALLS]"):
            found = re.fullmatch(
                r"\s*([\w.-]+)(?:\[CALL_ID\]\w+)?(?:\[ARGS\])?\s*(\{.*\})\s*", part, re.DOTALL
            )
            arguments = _json(found[2]) if found else None
            if found is None or not isinstance(arguments, dict):
                return None
            calls.append(self.call(found[1], arguments))
        return calls

    def grammar(self, asked: ToolUse, spell: Spell) -> str:
        """Return the grammar."""
        begin = spell("[TOOL_CALLS]")
        if not self._has_args_token:
            rules = [
                rule
                for index, tool in enumerate(asked.tools)
                for rule in _object_rules(index, tool, "arguments")
            ]
            more = f'("," " " ({_any(asked)})){{0,{MOST_CALLS - 1}}}' if asked.is_parallel else ""
            return f'start: {begin} "[" ({_any(asked)}) {more} "]"\n' + "\n".join(rules)
        rules = []
        for index, tool in enumerate(asked.tools):
            rules.append(
                f"o{index}: {begin} {json.dumps(tool.name)} {spell('[ARGS]')} a{index}\n"
                f"a{index}: {json_rule(closed(tool.parameters))}"
            )
        return _start("call", "call", asked) + f"call: {_any(asked)}\n" + "\n".join(rules)


class DeepSeek(Format):
    """Five control tokens; V3 puts the arguments into a fenced block, V3.1 does not."""

    begins = ("<｜tool▁calls▁begin｜>",)
    end = "<｜tool▁calls▁end｜>"
    tokens = (
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁calls▁end｜>",
        "<｜tool▁call▁begin｜>",
        "<｜tool▁call▁end｜>",
        "<｜tool▁sep｜>",
    )

    def __init__(self, *, has_fence: bool) -> None:
        self.name = "deepseek_v3" if has_fence else "deepseek_v31"
        self._has_fence = has_fence

    def calls(self, raw: str, tools: Sequence[Tool]) -> list[ToolCall] | None:
        """Return the calls, in whichever of the two spellings they are."""
        calls = []
        for part in re.findall(
            r"<｜tool▁call▁begin｜>(.*?)(?:<｜tool▁call▁end｜>|\Z)", raw, re.DOTALL
        ):
            head, _, rest = part.partition("<｜tool▁sep｜>")
            fenced = re.fullmatch(r"\s*([^\n]+)\n```json\n(.*?)\n?```\s*", rest, re.DOTALL)
            name, text = (fenced[1], fenced[2]) if fenced else (head, rest)
            arguments = _json(text)
            if not isinstance(arguments, dict):
                return None
            calls.append(self.call(name.strip(), arguments))
        return calls or None

    def grammar(self, asked: ToolUse, spell: Spell) -> str:
        """Return the grammar."""
        outer, outer_end, begin, end, separator = map(spell, self.tokens)
        rules = []
        for index, tool in enumerate(asked.tools):
            name = json.dumps(tool.name)
            arguments = f"a{index}"
            if self._has_fence:
                inner = f'"function" {separator} {name} "\\n```json\\n" {arguments} "\\n```"'
            else:
                inner = f"{name} {separator} {arguments}"
            rules.append(
                f"o{index}: {begin} {inner} {end}\n"
                f"{arguments}: {json_rule(closed(tool.parameters))}"
            )
        joint = '"\\n" call' if self._has_fence else "call"
        start = _start("call", joint, asked).removeprefix("start: ").rstrip("\n")
        return f"start: {outer} {start} {outer_end}\ncall: {_any(asked)}\n" + "\n".join(rules)


def _start(one: str, more: str, asked: ToolUse) -> str:
    if not asked.is_parallel:
        return f"start: {one}\n"
    return f"start: {one} ({more}){{0,{MOST_CALLS - 1}}}\n"


def _any(asked: ToolUse) -> str:
    return " | ".join(f"o{index}" for index in range(len(asked.tools)))


def _object_rules(index: int, tool: Tool, arguments: str) -> list[str]:
    """Return the rules of `{"name": ..., "<arguments>": {...}}`.

    The schema is a document of its own, so that references inside it hold.
    """
    head = json.dumps(f'{{"name": {dumped(tool.name)}, "{arguments}": ')
    return [f'o{index}: {head} a{index} "}}"', f"a{index}: {json_rule(closed(tool.parameters))}"]


def _tagged_rules(index: int, tool: Tool) -> list[str]:
    properties = tool.parameters.get("properties")
    required = tool.parameters.get("required")
    parts = []
    rules = []
    for number, (name, schema) in enumerate((properties or {}).items()):
        rule = f"p{index}_{number}"
        parts.append(rule if isinstance(required, list) and name in required else f"{rule}?")
        head = json.dumps(f"<parameter={name}>\n")
        if isinstance(schema, Mapping) and schema.get("type") == "string" and "enum" not in schema:
            # Anything but the tag that ends it.
            value, tail = f"v{index}_{number}", json.dumps("</parameter>\n")
            rules.append(f"{rule}: {head} {value} {tail}")
            most = schema.get("maxLength")
            times = f"{{0,{most}}}" if type(most) is int and most >= 0 else "*"
            rules.append(f"{value}: /([^<]|<[^\\/]){times}\\n/")
            continue
        words = schema.get("enum") if isinstance(schema, Mapping) else None
        tail = json.dumps("\n</parameter>\n")
        if isinstance(words, list) and all(isinstance(word, str) for word in words):
            value = "(" + " | ".join(json.dumps(word) for word in words) + ")"
        else:
            value = f"v{index}_{number}"
            document = dict(schema) if isinstance(schema, Mapping) else {}
            for shared in ("$defs", "definitions"):
                if shared in tool.parameters:
                    document[shared] = tool.parameters[shared]
            rules.append(f"{value}: {json_rule(document)}")
        rules.append(f"{rule}: {head} {value} {tail}")
    head = json.dumps(f"<function={tool.name}>\n")
    return [f'o{index}: {head} {" ".join(parts)} "</function>"', *rules]


def closed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema as one of an object that holds what is named, unless it says otherwise."""
    schema = {"type": "object", **parameters}
    has_properties = isinstance(schema.get("properties"), Mapping)
    if has_properties and not ({"additionalProperties", "anyOf", "allOf", "$ref"} & schema.keys()):
        schema["additionalProperties"] = False
    return schema


def _from_objects(form: Format, objects: Sequence[object], *names: str) -> list[ToolCall] | None:
    calls = []
    for item in objects:
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            return None
        found = [item[key] for key in names or ("arguments", "parameters") if key in item]
        arguments = found[0] if found else {}
        if not isinstance(arguments, dict | str):
            return None
        calls.append(form.call(item["name"], arguments))
    return calls or None


def _objects(text: str, separator: str) -> Iterator[object]:
    """Yield the JSON values that make up `text`, None for what is none."""
    decoder = json.JSONDecoder()
    place = 0
    while place < len(text):
        if text[place].isspace() or text[place] == separator:
            place += 1
            continue
        try:
            value, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            yield None
            return
        yield value


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None  # what a model wrote need not be JSON


def _types(name: str, tools: Sequence[Tool]) -> Mapping[str, Any]:
    for tool in tools:
        properties = tool.parameters.get("properties")
        if tool.name == name.strip() and isinstance(properties, Mapping):
            return properties
    return {}


def _typed(text: str, schema: object) -> object:
    """Return a parameter's value as its schema wants it; text where that is what it says."""
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    if kind == "string" or (schema is None and not text.lstrip().startswith(("{", "["))):
        return text
    value = _json(text.strip())
    return text if value is None and text.strip() != "null" else value
