"""Grammars and JSON schemas as constraints on the tokens of one model.

Wraps llguidance, which follows a grammar and says which tokens may come next. Knows the
tokenizer; does not know requests, tools or sampling.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from llguidance.gbnf_to_lark import any_to_lark

from stemfirst_server.errors import FormatFailedError, InvalidRequestError
from stemfirst_server.tokens.grammar_text import json_rule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenizers import Tokenizer

    from stemfirst_server.engine.constraint import BoolArray

MOST_GRAMMARS = 64
"""Compiled grammars that are kept; a grammar of a large schema takes about a second to compile."""

MOST_TRIES = 64
"""Parts of a schema that are compiled to find the one that is wrong."""

_TRIED_STEPS = 8
_BEGINS = f"{FormatFailedError.BEGINS}: "
_DEFINITIONS = ("$defs", "definitions")

MOST_CHARACTERS = 200_000
"""Of a grammar; larger ones could keep a core busy for longer than a client waits."""


class Grammars:
    """Compiles grammars for one tokenizer; safe to call from several threads.

    Args:
        tokenizer: of the model.
        end_token_ids: that end an output.
    """

    def __init__(self, tokenizer: Tokenizer, end_token_ids: Sequence[int]) -> None:
        self._source = tokenizer.to_str()
        self._end_token_ids = list(end_token_ids)
        self._vocab_size = tokenizer.get_vocab_size()
        self._added = {
            token.content: index for index, token in tokenizer.get_added_tokens_decoder().items()
        }
        self._tokens: LLTokenizer | None = None
        self._known: OrderedDict[str, Grammar] = OrderedDict()
        self._lock = Lock()

    def text(self, literal: str) -> str:
        """Return a literal as a grammar spells it: an added token by its id."""
        if literal in self._added:
            return f"<[{self._added[literal]}]>"
        return json.dumps(literal)

    def of_lark(self, grammar: str, parameter: str) -> Grammar:
        """Return a compiled grammar in llguidance's dialect of Lark.

        Raises:
            InvalidRequestError: it says nothing, or what cannot be enforced; names `parameter`.
        """
        if len(grammar) > MOST_CHARACTERS:
            raise InvalidRequestError(
                f"{parameter} is too large: {len(grammar)} characters as a grammar, of at most "
                f"{MOST_CHARACTERS}",
                parameter=parameter,
            )
        # One thread compiles at a time: a flood of large schemas must not take every core.
        with self._lock:
            known = self._known.get(grammar)
            if known is not None:
                self._known.move_to_end(grammar)
                return known
            made = self._compiled(grammar, parameter)
            self._known[grammar] = made
            if len(self._known) > MOST_GRAMMARS:
                self._known.popitem(last=False)
            return made

    def of_any(self, grammar: str, parameter: str) -> Grammar:
        """Return a compiled grammar in Lark or GBNF.

        Raises:
            InvalidRequestError: it says nothing, or what cannot be enforced; names `parameter`.
        """
        try:
            lark = any_to_lark(grammar)
        except Exception as error:  # its reader of GBNF names none
            raise InvalidRequestError(
                f"{parameter} is no grammar that is known here: {_one_line(str(error))}",
                parameter=parameter,
            ) from error
        return self.of_lark(lark, parameter)

    def of_schema(self, schema: Mapping[str, Any], parameter: str) -> Grammar:
        """Return the grammar of JSON that fits a schema.

        Raises:
            InvalidRequestError: it is no schema, or asks for what cannot be enforced.
        """
        try:
            return self.of_lark(f"start: {json_rule(schema)}", parameter)
        except InvalidRequestError as error:
            place, fault = self._deepest_fault(schema)
            if not place:
                raise
            raise InvalidRequestError(
                f"{parameter} cannot be enforced: at {place}: {fault}", parameter=parameter
            ) from error

    def _deepest_fault(self, schema: Mapping[str, Any]) -> tuple[str, str | None]:
        """Return the path of the smallest part of a schema that is wrong by itself, and why."""
        place, fault = "", None
        shared = {key: schema[key] for key in _DEFINITIONS if key in schema}
        tries = MOST_TRIES
        parts = list(_parts(schema))
        while parts and tries:
            tries -= 1
            path, part = parts.pop(0)
            found = self._fault(f"start: {json_rule({**shared, **part})}")
            if found:
                place, fault = f"{place}/{path}", found
                parts = list(_parts(part))
        return place, fault

    def _fault(self, grammar: str) -> str | None:
        with self._lock:
            fault = LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(grammar), self._tokens)
        return None if not fault or fault.startswith("WARNING") else _one_line(fault)

    def _compiled(self, grammar: str, parameter: str) -> Grammar:
        if self._tokens is None:
            # A plain int for one: older releases take no list.
            ends = self._end_token_ids
            self._tokens = LLTokenizer(
                self._source, eos_token=(ends if len(ends) > 1 else ends[0]) if ends else None
            )
        source = LLMatcher.grammar_from_lark(grammar)
        fault = LLMatcher.validate_grammar(source, self._tokens)
        if fault and not fault.startswith("WARNING"):
            raise InvalidRequestError(
                f"{parameter} cannot be enforced: {_one_line(fault)}", parameter=parameter
            )
        matcher = LLMatcher(self._tokens, source, log_level=0)
        if matcher.is_error():
            raise InvalidRequestError(
                f"{parameter} cannot be enforced: {_one_line(matcher.get_error())}",
                parameter=parameter,
            )
        made = Grammar(matcher, self._vocab_size)
        try:
            _walk(made)
        except FormatFailedError as error:
            raise InvalidRequestError(
                f"{parameter} cannot be enforced: {str(error).removeprefix(_BEGINS)}",
                parameter=parameter,
            ) from error
        return made


def _parts(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the schemas within one, with their paths."""
    for key in (*_DEFINITIONS, "properties"):
        named = schema.get(key)
        for name, part in named.items() if isinstance(named, Mapping) else ():
            if isinstance(part, Mapping):
                yield f"{key}/{name}", part
    for key in ("prefixItems", "anyOf", "oneOf", "allOf"):
        listed = schema.get(key)
        for index, part in enumerate(listed if isinstance(listed, list) else ()):
            if isinstance(part, Mapping):
                yield f"{key}/{index}", part
    for key in ("items", "additionalProperties"):
        part = schema.get(key)
        if isinstance(part, Mapping):
            yield key, part


class Grammar:
    """A compiled grammar: a `Constraint`."""

    def __init__(self, matcher: LLMatcher, vocab_size: int) -> None:
        self._matcher = matcher
        self._vocab_size = vocab_size

    def begin(self) -> GrammarState:
        """Return the state of an output that has not begun."""
        return GrammarState(self._matcher.deep_copy(), self._vocab_size)


class GrammarState:
    """Where one output stands: a `ConstraintState`."""

    def __init__(self, matcher: LLMatcher, vocab_size: int) -> None:
        self._matcher = matcher
        self._vocab_size = vocab_size

    @property
    def is_complete(self) -> bool:
        """Whether nothing more may follow."""
        return bool(self._matcher.is_stopped())

    def allowed(self) -> BoolArray:
        """Return which tokens may come next.

        Raises:
            FormatFailedError: the grammar grew too complex to follow.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        return np.unpackbits(bits, count=self._vocab_size, bitorder="little").view(np.bool_)

    def accept(self, token_id: int) -> None:
        """Go on by a token that was allowed.

        Raises:
            FormatFailedError: it was not.
        """
        self._matcher.consume_token(token_id)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise FormatFailedError(_one_line(self._matcher.get_error()))


def _walk(grammar: Grammar) -> None:
    """Go some steps: what a grammar cannot hold, such as a schema without an end, shows early.

    Raises:
        FormatFailedError: it cannot be followed.
    """
    state = grammar.begin()
    for _ in range(_TRIED_STEPS):
        if state.is_complete:
            return
        allowed = np.flatnonzero(state.allowed())
        if not len(allowed):
            return
        state.accept(int(allowed[0]))


def _one_line(text: str) -> str:
    """Return a fault without the grammar that it was found in, which is ours."""
    # What follows its state is the answer so far.
    first = text.strip().split("<state>", 1)[0].strip().split("\n", 1)[0]
    first = re.sub(r"^at \d+\(\d+\): ", "", first)
    return " ".join(first.removeprefix("failed to compile JSON schema: ").split())[:300]
