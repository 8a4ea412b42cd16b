"""What an answer must look like, and how its tool calls are read.

Turns what a request asks, `tool_choice` and formats of text, into a constraint on tokens and a
reader of text. Knows no field names of any API.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stemfirst_server.errors import InvalidRequestError
from stemfirst_server.tokens.grammar_text import choice_rule, json_rule, regex_rule
from stemfirst_server.tools.calls import NO_TOOLS, Mode, ToolUse
from stemfirst_server.tools.families import format_of

if TYPE_CHECKING:
    from stemfirst_server.engine.constraint import Constraint
    from stemfirst_server.tokens.grammar import Grammars
    from stemfirst_server.tools.formats import Format
    from stemfirst_server.tools.reading import Reader


@dataclass(frozen=True, slots=True)
class TextAsked:
    """What the text of an answer must be.

    Attributes:
        rule: as a term of a grammar; or a whole grammar.
        parameter: where it stands in the request.
        is_grammar: whether it is a whole grammar.
        schema: that its JSON must fit, if it is JSON.
    """

    rule: str
    parameter: str
    is_grammar: bool = False
    schema: Mapping[str, Any] | None = None

    def compiled(self, grammars: Grammars) -> Constraint:
        """Return it as a constraint by itself.

        Raises:
            InvalidRequestError: it cannot be enforced; names the part.
        """
        if self.is_grammar:
            return grammars.of_any(self.rule, self.parameter)
        if self.schema is not None:
            return grammars.of_schema(self.schema, self.parameter)
        return grammars.of_lark(f"start: {self.rule}", self.parameter)


def json_asked(asked: object, parameter: str, schema_path: str) -> TextAsked | None:
    """Return the JSON that a format asks for, or None for text.

    Args:
        asked: `{"type": "text"}`, `json_object` or `json_schema`; None is text.
        parameter: the field that it stands in.
        schema_path: where in it the schema stands, such as `json_schema.schema`.

    Raises:
        InvalidRequestError: it is none of these; names the part.
    """
    match asked:
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return _fitting(_OBJECT, parameter)
        case {"type": "json_schema"}:
            place = f"{parameter}.{schema_path}"
            schema: object = asked
            for step in schema_path.split("."):
                schema = schema.get(step) if isinstance(schema, Mapping) else None
            return _fitting(schema, place)
    raise InvalidRequestError(
        f"{parameter}.type must be text, json_object or json_schema", parameter=f"{parameter}.type"
    )


def text_asked(asked: Mapping[str, Any] | None, parameter: str) -> TextAsked | None:
    """Return what vLLM's `structured_outputs`, or a field of its older ones, asks for.

    Args:
        asked: one of `json` (a schema, or its text), `json_object`, `regex`, `choice` and
            `grammar` (in Lark or GBNF); what is null or false asks for nothing.
        parameter: the field that it stands in.

    Raises:
        InvalidRequestError: it is none of these, or several; names the part.
    """
    given = {kind: value for kind, value in (asked or {}).items() if value not in (None, False)}
    kinds = [kind for kind in given if kind in _KINDS]
    if len(kinds) != len(given) and not kinds:
        raise InvalidRequestError(
            f"{parameter} must hold one of {', '.join(_KINDS)}, got {', '.join(given)[:60]}",
            parameter=parameter,
        )
    if not kinds:
        return None
    if len(kinds) > 1:
        raise InvalidRequestError(
            f"{parameter} must hold one of {', '.join(_KINDS)}, got {' and '.join(kinds)}",
            parameter=parameter,
        )
    kind = kinds[0]
    place = parameter if parameter.endswith(f"_{kind}") else f"{parameter}.{kind}"
    match kind, given[kind]:
        case "json_object", _:
            return _fitting(_OBJECT, place)
        case "json", value:
            with suppress(ValueError, RecursionError):
                value = json.loads(value) if isinstance(value, str) else value
            return _fitting(value, place)
        case "regex", str(pattern) if pattern:
            return TextAsked(regex_rule(pattern), place)
        case "choice", list(words) if words and all(isinstance(w, str) and w for w in words):
            return TextAsked(choice_rule(words), place)
        case "grammar", str(grammar) if grammar.strip():
            return TextAsked(grammar, place, is_grammar=True)
    wanted = "a list of strings" if kind == "choice" else "a string"
    raise InvalidRequestError(f"{place} must be {wanted}, and not empty", parameter=place)


def _fitting(schema: object, place: str) -> TextAsked:
    """Return JSON that fits a schema, once that is an object."""
    if not isinstance(schema, Mapping):
        raise InvalidRequestError(f"{place} must be a JSON schema, an object", parameter=place)
    return TextAsked(json_rule(schema), place, schema=schema)


_OBJECT = {"type": "object"}
_KINDS = ("json", "json_object", "regex", "choice", "grammar")


@dataclass(frozen=True, slots=True)
class OutputAsked:
    """What a request asks of its answer."""

    tools: ToolUse = NO_TOOLS
    text: TextAsked | None = None


TEXT = OutputAsked()
"""Nothing in particular."""


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """How one request's answers are made and read.

    Attributes:
        constraint: for the engine; None: anything may be written.
        form: of tool calls; None: none are looked for.
        tools: that may be called.
        shown: control tokens that are text to the reader.
    """

    constraint: Constraint | None = None
    form: Format | None = None
    tools: ToolUse = NO_TOOLS
    shown: frozenset[int] = field(default=frozenset())

    def reader(self) -> Reader | None:
        """Return a reader for one answer, or None where its text is shown as it is."""
        if self.form is None:
            return None
        return self.form.reader(self.tools)


ANYTHING = OutputPlan()


class Outputs:
    """Plans answers of one model.

    Args:
        grammars: of the model's tokenizer.
        template: its chat template's source.
        token_ids: control tokens by text.
        form: of tool calls; None: the one that the template teaches.
    """

    def __init__(
        self,
        grammars: Grammars,
        template: str,
        token_ids: Mapping[str, int],
        form: Format | None = None,
    ) -> None:
        self._grammars = grammars
        self.form = form or format_of(template)
        tokens = self.form.tokens if self.form else ()
        self._shown = frozenset(token_ids[token] for token in tokens if token in token_ids)

    async def plain(self, text: TextAsked | None) -> OutputPlan:
        """Return how answers are made that know neither tools nor a form of their own.

        Raises:
            InvalidRequestError: what is asked cannot be enforced; names the part.
        """
        if text is None:
            return ANYTHING
        return OutputPlan(await asyncio.to_thread(text.compiled, self._grammars))

    async def plan(self, asked: OutputAsked) -> OutputPlan:
        """Return how the answers are made.

        Raises:
            InvalidRequestError: what is asked cannot be enforced; names the part.
        """
        tools, form = asked.tools, self.form
        if tools.mode is Mode.REQUIRED and form is None:
            raise InvalidRequestError(
                "tool_choice cannot force a call: this model's chat template spells none that is "
                "known here; --tool-call-parser names one",
                parameter="tool_choice",
            )
        is_read = form is not None and (tools.is_read or form.is_always_read)
        constraint = None
        if asked.text is not None or tools.mode is Mode.REQUIRED:
            # Compiling may take a second, which nobody else should wait for.
            constraint = await asyncio.to_thread(self._constraint, asked)
        return OutputPlan(
            constraint,
            form if is_read else None,
            tools,
            self._shown if is_read else frozenset(),
        )

    def _constraint(self, asked: OutputAsked) -> Constraint:
        tools, form, text = asked.tools, self.form, asked.text
        calls = None
        if tools.is_read and form is not None:
            calls = form.grammar(tools, self._grammars.text)
        if tools.mode is Mode.REQUIRED:
            assert calls is not None
            for tool in tools.tools:
                # Named one by one: a fault in the whole would say nothing about whose it is.
                self._grammars.of_schema(tool.parameters, tool.path)
            return self._grammars.of_lark(calls, "tools")
        assert text is not None
        prefix = form.answer(self._grammars.text) if form is not None else ""
        if text.is_grammar:
            if calls is not None or prefix:
                raise InvalidRequestError(
                    f"{text.parameter} cannot be enforced beside tools: set tool_choice to none, "
                    "or ask for a regex, a choice or a schema",
                    parameter=text.parameter,
                )
            return text.compiled(self._grammars)
        # By itself first, so that what is wrong in it is said of it.
        whole = text.compiled(self._grammars)
        if calls is None and not prefix:
            return whole
        answer = f"{prefix} {text.rule}"
        if calls is None:
            return self._grammars.of_lark(f"start: {answer}", text.parameter)
        both = calls.replace("start:", "calls:", 1)
        return self._grammars.of_lark(
            f"start: calls | answer\n{both}\nanswer: {answer}", text.parameter
        )
