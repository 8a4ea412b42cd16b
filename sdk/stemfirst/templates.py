r"""Prompts from templates: Jinja, and the t-strings of Python 3.14.

    POLICY = JinjaPrompt("You are …\n\nPlan: {{ plan }}\n\n{{ question }}",
                         tiers={"plan": "tenant", "question": "request"})
    client.ask(POLICY.prompt(plan="gold", question="Where is it?"))

Knows how a template's text and values become segments: text is static, a value has the tier that
it is given, and text behind a value belongs to that value's block as far as its paragraph goes.
Static text in a later paragraph then stands behind what varies, and `Prompt` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from stemfirst.errors import MissingValueError, PromptError
from stemfirst.prompt import Prompt, system, user
from stemfirst.segments import Origin, Segment, Tool, caller
from stemfirst.tiers import Tier
from stemfirst.tools import tools_of
from stemfirst.values import text_of

MOST_CUE = 80
"""Characters of text at a template's end that may close it ("Answer:") without an inversion."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One run of a template's result; `tier` is None for its fixed text."""

    text: str
    tier: Tier | None = None
    name: str | None = None


def prompt_of(
    pieces: Iterable[Piece], origin: Origin | None = None, tools: Iterable[Tool] = ()
) -> Prompt:
    """Return the prompt of a template's pieces: a system message, and a user message behind it.

    Raises:
        InversionError: a paragraph of fixed text, or a more stable value, stands behind a less
            stable one.
    """
    segments: list[Segment] = []
    before: Tier | None = None  # of the value whose paragraph goes on
    held = list(pieces)
    for index, piece in enumerate(held):
        if piece.tier is not None:
            segments.append(Segment(piece.tier, piece.text, piece.name, origin))
            before = piece.tier
            continue
        head, gap, rest = piece.text.partition("\n\n")
        is_cue = index + 1 == len(held) and len(piece.text) <= MOST_CUE
        if before is None:
            head, gap, rest = "", "", piece.text
        elif is_cue or not rest.strip():
            head, gap, rest = piece.text, "", ""
        if head + gap:
            assert before is not None
            segments.append(Segment(before, head + gap, None, origin))
        if rest:
            segments.append(Segment(Tier.STATIC, rest, None, origin))
            before = None
    first = next((i for i, item in enumerate(segments) if item.tier >= Tier.REQUEST), len(segments))
    front, turn = segments[:first], segments[first:]
    return Prompt(
        *([system(*front, separator="")] if front else []),
        *([user(*turn, separator="")] if turn else []),
        tools=tools,
    )


class JinjaPrompt:
    """A Jinja template whose variables have tiers; `prompt(**values)` gives the prompt.

    Conditions and loops move as a whole and have the least stable tier of their variables.

    Args:
        source: the template's text.
        tiers: tier of each variable, by its name.
        environment: a `jinja2.Environment` of yours, for its filters and globals.
        tools: what the prompt offers, as in `Prompt`.

    Raises:
        PromptError: a variable has no tier, the template is no Jinja, it uses what has no place
            in a prompt by tiers (`set`, `extends`, `import`, `macro` at the top), or Jinja is
            not installed.
    """

    def __init__(
        self,
        source: str,
        *,
        tiers: Mapping[str, str],
        environment: Any | None = None,
        tools: Iterable[Tool | Mapping[str, Any] | Callable[..., Any]] = (),
    ) -> None:
        try:
            import jinja2
            from jinja2 import nodes
        except ModuleNotFoundError:
            raise PromptError(
                "a Jinja template needs jinja2: pip install 'stemfirst[templates]'"
            ) from None
        # Prompts are no HTML: escaping would change their text.
        made = environment or jinja2.Environment(keep_trailing_newline=True, autoescape=False)  # noqa: S701
        self._origin = caller()
        self._tools = tools_of(tools)
        self._environment = made.overlay(
            undefined=jinja2.StrictUndefined, finalize=self._finalize(made.finalize)
        )
        self._undefined = jinja2.UndefinedError
        try:
            self._tiers = {name: Tier.parse(label) for name, label in tiers.items()}
        except ValueError as error:
            raise PromptError(str(error)) from None
        try:
            parsed = self._environment.parse(source)
        except jinja2.TemplateSyntaxError as error:
            raise PromptError(f"line {error.lineno} is no Jinja: {error.message}") from None
        self._pieces: list[tuple[str | Any, Tier | None, str | None]] = [
            (node.data, None, None)
            if isinstance(node, nodes.TemplateData)
            else self._compiled(node, nodes)
            for node in _flat(parsed.body, nodes)
        ]

    def _finalize(self, theirs: Callable[..., Any] | None) -> Callable[[object], object]:
        """Return what looks at each value that a template shows."""
        from jinja2 import Undefined

        place = f" (built at {self._origin})" if self._origin else ""

        def finalize(value: object) -> object:
            shown = theirs(value) if theirs is not None else value
            # What is undefined says so itself, with its name.
            return shown if isinstance(shown, Undefined) else text_of(shown, f"a value{place}")

        return finalize

    def _compiled(self, node: Any, nodes: Any) -> tuple[Any, Tier, str | None]:
        """Return a value or a block as a template of its own, its tier and its name."""
        import jinja2
        from jinja2 import meta

        unfit = ("Assign", "AssignBlock", "Extends", "Macro", "Import", "FromImport", "Block")
        kind = type(node).__name__
        if kind in unfit:
            raise PromptError(
                f"line {node.lineno}: {kind.lower()} at a template's top has no place in a prompt "
                "by tiers; compute the value, and pass it"
            )
        alone = nodes.Template(
            [node if isinstance(node, nodes.Stmt) else nodes.Output([node])], lineno=node.lineno
        )
        alone.set_environment(self._environment)
        for inner in alone.find_all((nodes.Include, nodes.Import, nodes.FromImport)):
            raise PromptError(
                f"line {inner.lineno}: what {type(inner).__name__.lower()} brings in has no tier "
                "here; render it, and pass its text"
            )
        try:
            unknown = meta.find_undeclared_variables(alone)
            code = self._environment.compile(alone)
        except jinja2.TemplateError as error:
            raise PromptError(f"line {node.lineno} is no Jinja: {error.message}") from None
        # A function of the environment may be a clock: so it needs a tier, as a variable does.
        found = self._environment.globals
        called = {
            item.name
            for item in alone.find_all(nodes.Name)
            if item.ctx == "load" and callable(found.get(item.name)) and item.name not in _PURE
        }
        names = sorted(unknown | called)
        for name in names:
            if name not in self._tiers:
                raise PromptError(
                    f"line {node.lineno}: the variable {name!r} has no tier: pass "
                    f"tiers={{{name!r}: 'request'}} or another one"
                )
        template = self._environment.template_class.from_code(
            self._environment, code, self._environment.make_globals(None)
        )
        tier = max((self._tiers[name] for name in names), default=Tier.STATIC)
        if any(used.name == "random" for used in alone.find_all(nodes.Filter)):
            tier = Tier.VOLATILE
        return template, tier, names[0] if len(names) == 1 else None

    def prompt(self, **values: object) -> Prompt:
        """Return the prompt with these values.

        Raises:
            MissingValueError: a variable got no value, or None where it is shown.
            InversionError: a paragraph of fixed text stands behind a value.
            PromptError: a value was given that no tier was named for, or has no text that stays.
        """
        unknown = [name for name in values if name not in self._tiers]
        if unknown:
            known = ", ".join(sorted(self._tiers)) or "none"
            raise PromptError(f"no variable is called {unknown[0]!r}; this template's: {known}")
        pieces = []
        for made, tier, name in self._pieces:
            if isinstance(made, str):
                pieces.append(Piece(made))
                continue
            try:
                pieces.append(Piece(made.render(values), tier, name))
            except self._undefined as error:
                place = f" (built at {self._origin})" if self._origin else ""
                raise MissingValueError(f"{error.message}{place}: pass it to prompt(...)") from None
        return prompt_of(pieces, self._origin, self._tools)


def _flat(body: Iterable[Any], nodes: Any) -> Iterable[Any]:
    """Yield a template's parts one by one: texts and values stand together in its tree."""
    for node in body:
        if isinstance(node, nodes.Output):
            yield from node.nodes
        else:
            yield node


class Interpolation(Protocol):
    """A value in a t-string (`string.templatelib.Interpolation`)."""

    value: object
    expression: str
    conversion: str | None
    format_spec: str


class TemplateString(Protocol):
    """A t-string (`string.templatelib.Template`)."""

    strings: tuple[str, ...]
    interpolations: tuple[Interpolation, ...]


_PURE = frozenset({"range", "dict", "cycler", "joiner", "namespace"})
"""Jinja's own functions that give the same text each time; `lipsum` does not."""

_CONVERSIONS: dict[str | None, Callable[[object], str]] = {
    "s": str,
    "r": repr,
    "a": ascii,
    None: str,
}


def from_template_string(template: TemplateString, tools: Iterable[Tool] = ()) -> Prompt:
    """Return the prompt of a t-string whose format specs are tiers: `t"… {plan:tenant}"`.

    Raises:
        PromptError: this is no t-string, or a value's format spec is no tier.
        InversionError: a paragraph of fixed text stands behind a value.
    """
    if not hasattr(template, "interpolations"):
        raise PromptError(
            f"Prompt.t takes a t-string of Python 3.14, got {type(template).__name__}: "
            "before it, write Prompt(static(...), ...) or JinjaPrompt(...)"
        )
    pieces = []
    for text, value in zip(template.strings, (*template.interpolations, None), strict=True):
        if text:
            pieces.append(Piece(text))
        if value is None:
            continue
        try:
            tier = Tier.parse(value.format_spec)
        except ValueError as error:
            raise PromptError(f"{{{value.expression}:{value.format_spec}}}: {error}") from None
        given = value.value
        shown = (
            text_of(given, f"{{{value.expression}}}")
            if value.conversion is None
            else _CONVERSIONS[value.conversion](given)
        )
        name = value.expression if value.expression.isidentifier() else None
        pieces.append(Piece(shown, tier, name))
    return prompt_of(pieces, caller(), tools)
