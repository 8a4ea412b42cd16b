"""Reads the content of a message: one text, or the text blocks of a list in their order.

Knows lists that are written down, bound to names, returned by functions of the project and grown by
`append`. A block that cannot be read, an image say, differs from request to request. Knows nothing
of rules.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemfirst.tiers import Tier

from stemfirst_lint.arguments import Call
from stemfirst_lint.growth import Grown, grown_list
from stemfirst_lint.model import Form, Hole, Location, Template
from stemfirst_lint.project import Defined, Values
from stemfirst_lint.scopes import Bind, ScopeKind, Use
from stemfirst_lint.wording import stable_texts

if TYPE_CHECKING:
    from stemfirst_lint.project import Project
    from stemfirst_lint.templates import Reader

_MAX_HOPS = 4


@dataclass(frozen=True, slots=True)
class Block:
    """One part of a content: the expression of its text, None for what is no text.

    `call` holds the arguments of the function that made the list, if one did; `is_repeated` tells
    that a loop adds it any number of times.
    """

    node: ast.expr | None
    use: Use
    call: Call | None
    is_repeated: bool


@dataclass(frozen=True, slots=True)
class Placed:
    """A template in a content, and what stands around it there.

    Attributes:
        template: the text.
        is_behind: True if an image or a text that differs in every request stands before it.
        is_behind_text: True if such a text does.
        texts: constant texts of the blocks behind it.
        location: of the text where its list is made elsewhere, else None.
        at: which block it is of; one block may have several templates, its variants.
    """

    template: Template
    is_behind: bool = False
    is_behind_text: bool = False
    texts: tuple[str, ...] = ()
    location: Location | None = None
    at: int = 0


class Contents:
    """Answers for one project."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def of(self, node: ast.expr, use: Use, call: Call | None = None) -> list[Placed]:
        """Return the templates of a content, in order."""
        blocks = blocks_of(self.reader.project, node, use, call)
        if blocks is None:
            return [Placed(template) for template in self.reader.templates(node, use, call)]
        read = [self._read(block) for block in blocks]
        found: list[Placed] = []
        is_behind = is_behind_text = False
        for at, (block, templates) in enumerate(zip(blocks, read, strict=True)):
            behind = tuple(
                text
                for later in (read[at + 1 :] if block.node is not None else ())
                if len(later) == 1
                for text in stable_texts(later[0])
            )
            if block.node is not None and not templates and behind and not block.is_repeated:
                templates = self._whole(block.node, block)
            place = None
            if block.node is not None and not isinstance(node, ast.List):
                place = block.use.scope.module.source.place(block.node)
            found += [
                Placed(template, is_behind, is_behind_text, behind, place, at)
                for template in templates
            ]
            varies = bool(templates) and all(map(varies_by_request, templates))
            is_behind_text = is_behind_text or varies
            is_behind = is_behind or varies or block.node is None or block.is_repeated
        return found

    def _read(self, block: Block) -> list[Template]:
        if block.node is None or block.is_repeated:
            return []
        return self.reader.templates(block.node, block.use, block.call)

    def _whole(self, node: ast.expr, block: Block) -> list[Template]:
        """The template of a block that is one value and nothing else."""
        pieces = self.reader.assembler.operand(node, block.use, block.call)
        tiers = [piece.verdict.tier for piece in pieces if isinstance(piece, Hole)]
        if not any((tier or Tier.STATIC) > Tier.STATIC for tier in tiers):
            return []
        place = block.use.scope.module.source.place(node)
        return [Template(Form.CONCAT, place, tuple(pieces))]


def blocks_of(
    project: Project, node: ast.expr, use: Use, call: Call | None = None, hops: int = 0
) -> list[Block] | None:
    """Return the blocks of a content that is a list of them, or None for any other."""
    if hops > _MAX_HOPS:
        return None
    match node:
        case ast.List():
            return _spread(project, grown_list(project, node, use) or [], use, call, hops)
        case ast.Name():
            parts = grown_list(project, node, use) or []
            blocks = _spread(project, parts, use, call, hops)
            if any(block.node is not None for block in blocks):
                return blocks
            bindings = project.reaching(node.id, use) or ()
            if not parts and len(bindings) == 1:
                only = bindings[0]
                if only.how is Bind.ASSIGN and isinstance(only.value, ast.Call | ast.Attribute):
                    return blocks_of(project, only.value, only.use, call, hops + 1)
        case ast.Attribute():
            meaning = project.meaning(node, use)
            if isinstance(meaning, Values) and len(meaning.bindings) == 1:
                only = meaning.bindings[0]
                if only.how is Bind.ASSIGN and isinstance(only.value, ast.List | ast.Call):
                    return _texts_only(blocks_of(project, only.value, only.use, None, hops + 1))
        case ast.Call():
            meaning = project.meaning(node.func, use)
            if isinstance(meaning, Defined) and meaning.scope.kind is ScopeKind.FUNCTION:
                inside = Call.inside(call, node, meaning.scope, use, is_bound=meaning.is_bound)
                made = [
                    blocks_of(project, value, value_use, inside, hops + 1)
                    for value, value_use in meaning.scope.returns
                ]
                return _texts_only(made[0]) if len(made) == 1 else None
    return None


def _spread(
    project: Project, parts: list[Grown], use: Use, call: Call | None, hops: int
) -> list[Block]:
    """The blocks of a list's parts; `*others` and `extend(others)` bring theirs."""
    inner = call.within(use.scope) if call is not None else None
    found: list[Block] = []
    for part in parts:
        others: list[Block] | None = None
        if part.is_repeated and part.use.loops <= use.loops:
            others = blocks_of(project, part.node, part.use, call, hops + 1)
        found += others if others is not None else [_block(project, part, inner)]
    return found


def _texts_only(blocks: list[Block] | None) -> list[Block] | None:
    """The blocks if one of them is a text: other lists are no content."""
    return blocks if any(block.node is not None for block in blocks or ()) else None


def _block(project: Project, part: Grown, call: Call | None) -> Block:
    node, use = part.node, part.use
    if isinstance(node, ast.Name):
        bindings = project.reaching(node.id, use) or ()
        if len(bindings) == 1 and bindings[0].how is Bind.ASSIGN and bindings[0].value is not None:
            node, use = bindings[0].value, bindings[0].use
    text: ast.expr | None = None
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == "text":
                text = value
    inner = call if call is not None and use.scope is call.function else None
    return Block(text, use, inner, part.is_repeated)


def varies_by_request(template: Template) -> bool:
    """Return True if a hole of a template differs in every request."""
    return any((hole.verdict.tier or Tier.STATIC) >= Tier.REQUEST for hole in template.holes)


def variants(placed: list[Placed]) -> list[list[Template]]:
    """Return the templates of a content, block by block."""
    return [
        [one.template for one in placed if one.at == at]
        for at in dict.fromkeys(one.at for one in placed)
    ]
