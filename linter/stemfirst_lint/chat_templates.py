"""Chat templates: in which order they render, whether they read a clock, what they drop later.

Knows the Jinja that `transformers` offers to chat templates, and `transformers` itself where it is
installed: it is asked in another process, because it would load torch. Knows where a model's folder
and a module's source keep a template. Knows nothing of rules.
"""

from __future__ import annotations

import ast
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from stemfirst_lint.known import strftime_resolution
from stemfirst_lint.patterns import pattern
from stemfirst_lint.places import Location

if TYPE_CHECKING:
    from stemfirst_lint.index import ModuleIndex
    from stemfirst_lint.model import Resolution

_CLOCK = pattern(r"strftime_now\s*\(\s*\\*[\"']([^\"'\\]*)")
_NAMED = pattern(r"chat_?template", re.IGNORECASE)
_LAYOUT = "probe_clock("
_SYSTEM = {"role": "system", "content": "probe_system"}
_USER = {"role": "user", "content": "probe_user"}
_ANSWER = {
    "role": "assistant",
    "content": "<think>\nprobe_thought\n</think>\n\nprobe_answer",
}
_TOOL = {
    "type": "function",
    "function": {
        "name": "probe_tool",
        "description": "d",
        "parameters": {"type": "object", "properties": {}},
    },
}
_TIMEOUT_S = 60.0
_MAX_ROUNDS = 1_000
_ASK_TRANSFORMERS = """
import json, sys
sys.modules["torch"] = None  # templates need none, and it takes seconds to load
from transformers import AutoTokenizer
folder, messages, tools = json.loads(sys.stdin.read())
tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
text = tokenizer.apply_chat_template(
    messages, tools=tools, tokenize=False, add_generation_prompt=True)
print()
print(json.dumps(text))
"""


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A chat template and what it does.

    Attributes:
        location: where it is kept; of a template of many lines the first.
        clock: where it reads the clock, if what it reads stands in a prompt.
        resolution: how finely that moves; set exactly where `clock` is.
        rewrites_turns: True if an answer is rendered otherwise once a turn follows it.
    """

    location: Location
    clock: Location | None = None
    resolution: Resolution | None = None
    rewrites_turns: bool = False


def of_model(model: str) -> ChatTemplate | None:
    """Return what the chat template of a model's folder does, or None if it has none."""
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        path = os.path.join(_folder(model), name)
        try:
            with open(path, encoding="utf-8") as file:
                raw = file.read()
        except (OSError, UnicodeDecodeError):
            continue
        text: Any = raw
        if name.endswith(".json"):
            text = _in_json(raw)
        if isinstance(text, str):
            return _read(text, raw, path)
    return None


def in_modules(modules: Iterable[ModuleIndex]) -> Iterator[ChatTemplate]:
    """Yield the chat templates that source holds: constants that are named so."""
    for module in modules:
        if "chat_template" not in module.source.text.lower():
            continue
        for value in _constants(module.tree):
            place = module.source.place(value)
            found = _read(value.value, None, module.path)
            if found is not None:
                clock = place if found.clock is not None else None
                yield ChatTemplate(place, clock, found.resolution, found.rewrites_turns)


def _constants(tree: ast.Module) -> Iterator[Any]:
    """Constant strings bound to, or passed as, something that is named for a chat template."""
    for node in ast.walk(tree):
        named: list[tuple[str | None, ast.expr | None]] = []
        if isinstance(node, ast.Assign):
            named = [(getattr(t, "id", getattr(t, "attr", None)), node.value) for t in node.targets]
        elif isinstance(node, ast.keyword):
            named = [(node.arg, node.value)]
        for name, value in named:
            if (
                name is not None
                and _NAMED.search(name)
                and isinstance(value, ast.Constant)
                and isinstance(value.value, str)
                and "{%" in value.value
            ):
                yield value


@lru_cache(maxsize=16)
def renders_tools_first(model: str) -> bool:
    """Return True if a model's folder has a template that renders tools before the system message.

    `transformers` renders a probe where it is installed and can load the tokenizer; else our own
    Jinja does, and where there is none, what the template mentions first decides.
    """
    text = through_transformers(_folder(model))
    if text is None:
        template = _text_of(model)
        if template is None:
            return False
        try:
            text = rendering(template)([_SYSTEM, _USER], tools=[_TOOL])
        except ImportError:
            return _mentions_tools_first(template)
    if text is None:
        return False  # the template asks for what we do not know
    tools_at, system_at = text.find("probe_tool"), text.find("probe_system")
    return 0 <= tools_at < system_at


def through_transformers(folder: str) -> str | None:
    """Return what `transformers` makes of the probe; None where it is missing or cannot."""
    import subprocess  # here: most runs name no model
    from importlib.util import find_spec

    if find_spec("transformers") is None:
        return None
    asked = json.dumps([folder, [_SYSTEM, _USER], [_TOOL]])
    try:
        done = subprocess.run(
            [sys.executable, "-c", _ASK_TRANSFORMERS],
            input=asked,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"},
        )
        text = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None  # no tokenizer that it knows, or no template: ours has a look
    return text if isinstance(text, str) else None


def rendering(template: str) -> Callable[..., str | None]:
    """Return a function that renders messages with a template; None where it refuses them.

    Raises:
        ImportError: Jinja is not installed.
    """
    from jinja2.exceptions import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> str:
        raise TemplateError(message)

    class Environment(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset({"*", "**"})

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            raise TemplateError(f"{operator} could make a text of any length")

    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )

    def few(*limits: int) -> range:
        counted = range(*limits)
        if len(counted) > _MAX_ROUNDS:
            raise TemplateError(f"{len(counted)} rounds")
        return counted

    environment.globals.update(
        raise_exception=refuse,
        strftime_now=lambda layout: f"{_LAYOUT}{layout})",
        range=few,  # a template may be anybody's
    )

    def render(
        messages: list[dict[str, Any]],
        *,
        tools: list[dict[str, Any]] | None = None,
        is_asked: bool = True,
    ) -> str | None:
        try:
            return environment.from_string(template).render(
                messages=messages,
                tools=tools,
                add_generation_prompt=is_asked,
                bos_token="",
                eos_token="",
            )
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError):
            return None
        except RecursionError:
            return None  # a macro that calls itself

    return render


def _read(text: str, raw: str | None, path: str) -> ChatTemplate | None:
    """What a template does; `raw` is its file's text, by which places are told."""
    whole = Location(path, 1, 1, 1, 1)
    try:
        render = rendering(text)
    except ImportError:
        return None
    asked = render([_SYSTEM, _USER])
    if asked is None:
        asked = render([_USER])  # some refuse a system message
    clock = _CLOCK.search(raw if raw is not None else text)
    is_read = clock is not None and asked is not None and _LAYOUT in asked
    layouts = re.findall(re.escape(_LAYOUT) + r"([^)]*)\)", asked or "")
    finest = min((strftime_resolution(layout) for layout in layouts), key=_fineness, default=None)
    place = whole
    if clock is not None and raw is not None:
        line = raw.count("\n", 0, clock.start()) + 1
        column = clock.start() - (raw.rfind("\n", 0, clock.start()) + 1) + 1
        place = Location(path, line, column, line, column + len("strftime_now"))
    return ChatTemplate(
        whole, place if is_read else None, finest if is_read else None, _rewrites_turns(render)
    )


def _fineness(resolution: Resolution) -> int:
    return ["second", "minute", "day"].index(resolution.value)


def _rewrites_turns(render: Callable[..., str | None]) -> bool:
    """True if an answer, or what stands before it, is rendered otherwise in the next turn."""
    first = render([_SYSTEM, _USER, _ANSWER], is_asked=False)
    second = render([_SYSTEM, _USER, _ANSWER, _USER], is_asked=False)
    if first is None or second is None or "probe_answer" not in first:
        return False
    return not second.startswith(first[: first.find("probe_answer") + len("probe_answer")])


def _mentions_tools_first(template: str) -> bool:
    tools = re.search(r"\{[{%][^}]*\btool(s|\.|\s*\|)", template)
    system = re.search(r"\{\{[^}]*\b(system_message|content)\b", template)
    return bool(tools and system and tools.start() < system.start())


def _folder(model: str) -> str:
    return model if os.path.isdir(model) else os.path.dirname(model) or os.curdir


def _in_json(raw: str) -> Any:
    try:
        found = json.loads(raw).get("chat_template")
    except (ValueError, AttributeError):
        return None
    if isinstance(found, list):  # several, by name
        found = next((one.get("template") for one in found if one.get("name") == "default"), None)
    return found


def _text_of(model: str) -> str | None:
    """The template's text; older checkpoints keep it in tokenizer_config.json."""
    folder = _folder(model)
    try:
        with open(os.path.join(folder, "chat_template.jinja"), encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError):
        pass
    try:
        with open(os.path.join(folder, "tokenizer_config.json"), encoding="utf-8") as file:
            found = _in_json(file.read())
    except (OSError, UnicodeDecodeError):
        return None
    return found if isinstance(found, str) else None
