"""The one law of a prompt: nothing stands behind what changes more often.

Knows segments and tools in the order in which they are sent, tools first.
"""

from __future__ import annotations

from stemfirst.errors import InversionError
from stemfirst.segments import Message, Segment, Tool


def refuse_inversions(messages: tuple[Message, ...], tools: tuple[Tool, ...] = ()) -> None:
    """Check the order, and show the one to write.

    Raises:
        InversionError: a segment or a tool stands behind a less stable one.
    """
    least_stable: Segment | Tool | None = None
    texts = (segment for message in messages for segment in message.segments)
    flat: tuple[Segment | Tool, ...] = (*tools, *texts)
    for item in flat:
        if least_stable is not None and item.tier < least_stable.tier:
            raise InversionError(_inversion(flat, least_stable, item))
        least_stable = item


def _inversion(
    flat: tuple[Segment | Tool, ...], first: Segment | Tool, second: Segment | Tool
) -> str:
    ordered = sorted(flat, key=lambda item: item.tier)
    place = f" (built at {second.origin})" if second.origin else ""
    told = (
        f"{_shown(second)}{place} stands behind {_shown(first)}, which changes more often: each "
        f"change of the first makes the cache forget the second.\n"
        f"  now:   {' · '.join(map(_shown, flat))}\n"
    )
    if isinstance(first, Tool) and isinstance(second, Segment):
        return told + (
            "Every API reads tools before messages. Offer the same tools in each call "
            "(as static) and say in the request which to use."
        )
    return told + (
        f"  write: {' · '.join(map(_shown, ordered))}\n"
        f"If it must close the turn, give it the tier of what it closes: "
        f"{first.tier.label}(...)."
    )


def _shown(item: Segment | Tool) -> str:
    return f"tool {item.name} [{item.tier.label}]" if isinstance(item, Tool) else str(item)
