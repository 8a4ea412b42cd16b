"""Which bindings of a name may hold at a point: order of statements, branches, rounds of loops.

Knows places in one scope. Knows nothing of modules, of values or of what a name stands for.
"""

from __future__ import annotations

from stemfirst_lint.scopes import LOOP, Bind, Binding, Path, Use


def reaching_at(bindings: list[Binding], use: Use) -> tuple[Binding, ...]:
    """Return the bindings of a scope that may hold at a point in it, in order of place."""
    found: list[Binding] = []
    last_certain: Binding | None = None
    for binding in reversed(bindings):
        if binding.use.tick >= use.tick and binding.how is not Bind.PARAMETER:
            continue
        if excludes(binding.use.path, use.path):
            continue
        found.append(binding)
        is_certain = use.path[: len(binding.use.path)] == binding.use.path
        if is_certain and binding.how is not Bind.AUGMENT:
            last_certain = binding
            break
    if found and use.loops:
        found = [*_carried(bindings, use, last_certain), *found]
    if not found:  # used before its only binding: a loop jumped back, or a later call
        return tuple(bindings)
    return tuple(reversed(found))


def _carried(bindings: list[Binding], use: Use, certain: Binding | None) -> list[Binding]:
    """Return, last first, what a round of a loop binds behind a point and the next round sees."""
    found: list[Binding] = []
    for binding in reversed(bindings):
        if binding.use.tick < use.tick:
            break
        loop = shared_loop(binding.use.path, use.path)
        if loop is None or binding.how is Bind.PARAMETER or binding.value is None:
            continue
        if certain is not None and (
            certain.use.path[: len(loop)] == loop or certain.how is Bind.ELEMENT
        ):
            continue  # each round binds it anew before it is read
        found.append(binding)
    return found


def shared_loop(one: Path, other: Path) -> Path | None:
    """Return the path of the innermost loop that two points stand in, or None."""
    found: Path | None = None
    for at, (step, other_step) in enumerate(zip(one, other, strict=False)):
        if step != other_step:
            break
        if step[1] == LOOP:
            found = one[: at + 1]
    return found


def excludes(one: Path, other: Path) -> bool:
    """Return True if two points stand in different arms of one branch."""
    for (compound, arm), (other_compound, other_arm) in zip(one, other, strict=False):
        if compound != other_compound:
            return False
        if arm != other_arm:
            return True
    return False
