"""Assertions about prompts and their cache, for tests of apps.

    assert_prefix_stable(make_prompt, vary=[{"user": "Ada"}, {"user": "Bob"}])
    assert_cache_hit(client.ask(prompt, question="..."), at_least=0.8)

Knows what a stable prefix is. Does not need pytest; the plugin adds the server as a fixture.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from stemfirst.causes import cause_of
from stemfirst.divergence import diverge, runs_of
from stemfirst.prompt import Prompt
from stemfirst.rebuilding import built_anew
from stemfirst.rendered import Rendered
from stemfirst.savings import Savings, savings_of
from stemfirst.tiers import Tier


def assert_prefix_stable(
    prompt: Prompt | Callable[..., Prompt | Rendered],
    vary: Iterable[Mapping[str, Any]] = ({}, {}),
    *,
    tier: Tier = Tier.STATIC,
) -> None:
    """Fail where text that should stay the same, or its place, differs between renderings.

    Args:
        prompt: a function that returns a prompt, called with each of `vary`; or a prompt that is
            rendered with each of them. A built prompt's own text stays whatever happens, so it is
            also built anew in another process with another hash seed, by importing the module
            that holds it under a name.
        vary: values that change between requests; by default two renderings with none, which
            catches clocks, random ids and unordered iteration.
        tier: text of this tier and of those more stable must stay.

    Raises:
        AssertionError: the message shows the first differing byte in both texts.
        ValueError: `vary` has fewer than two entries, nothing of the prompt is that stable, or a
            built prompt can neither vary nor be built anew: no module holds it.
        TypeError: this is no prompt, and no function that returns one.
    """
    __tracebackhide__ = True  # pytest shows the caller's line
    vary = tuple(vary)
    if len(vary) < 2:
        raise ValueError(f"a comparison needs two renderings, vary has {len(vary)}")
    renderings = [_rendered(prompt, values) for values in vary]
    first = [run for run in runs_of(renderings[0]) if run.tier is not None and run.tier <= tier]
    if not first:
        raise ValueError(f"the prompt has no {tier.label} text to compare")
    others = [
        (f"with {dict(values)}", made)
        for values, made in zip(vary[1:], renderings[1:], strict=True)
    ]
    if isinstance(prompt, Prompt):
        anew = built_anew(prompt)
        if anew is not None:
            others.append(("in a new process", anew.render(vary[0])))
        elif not any(run.hole for run in first):
            raise ValueError(
                "this prompt is built already, so its text cannot differ: pass a function that "
                "builds it, or give it a name in a module, where another process can import it"
            )
    for how, other in others:
        stable = [run for run in runs_of(other) if run.tier is not None and run.tier <= tier]
        found = diverge(first, stable) or diverge(stable, first)
        if found is not None:
            cause = cause_of(found, stable)
            lost = found.lost_bytes
            place = found.run.origin if found.run else None
            where = f"`{place.short}`" if place else ".".join(map(str, found.at))
            raise AssertionError(
                f"the {tier.label} prefix differs {how} at {found}\n"
                f"{cause.clause(where)} ({cause.rule})"
                + (f"; {lost:,} bytes of stable text stand behind it" if lost else "")
            )


def assert_cache_hit(
    answer: object, *, at_least: float = 0.5, within_tokens: int | None = None
) -> None:
    """Fail where too little of a call's prompt came from the cache.

    Args:
        answer: what `ask` or `stream` returned, a response of a client package, or savings.
        at_least: share of the prompt's tokens, 0 to 1.
        within_tokens: in place of the share: how many tokens may have been computed.

    Raises:
        AssertionError: the message says what was read again, and why.
        ValueError: `at_least` is no share.
    """
    __tracebackhide__ = True
    if not 0 <= at_least <= 1:
        raise ValueError(f"at_least is a share of the prompt from 0 to 1, got {at_least}")
    savings = answer if isinstance(answer, Savings) else savings_of(answer)
    if savings.cached_tokens is None or not savings.prompt_tokens:
        raise AssertionError(f"the call reported no cached tokens. {savings}")
    if within_tokens is not None:
        computed = savings.prompt_tokens - savings.cached_tokens
        if computed > within_tokens:
            raise AssertionError(
                f"{computed:,} tokens were computed, at most {within_tokens:,} expected. "
                f"{savings.explain()}"
            )
        return
    ratio = savings.cached_tokens / savings.prompt_tokens
    if ratio < at_least:
        raise AssertionError(
            f"{ratio:.0%} of the prompt came from the cache, at least {at_least:.0%} expected. "
            f"{savings.explain()}"
        )


def _rendered(
    prompt: Prompt | Callable[..., Prompt | Rendered], values: Mapping[str, Any]
) -> Rendered:
    __tracebackhide__ = True
    if isinstance(prompt, Prompt):
        return prompt.render(values)
    if not callable(prompt):
        raise TypeError(
            f"a Prompt or a function that builds one is compared, got {type(prompt).__name__}"
        )
    made: object = prompt(**values)
    if isinstance(made, Coroutine):
        made.close()
        raise TypeError(
            "the function is async: pass one that builds the prompt and awaits nothing, "
            "or lambda **values: asyncio.run(build(**values))"
        )
    if not isinstance(made, Prompt | Rendered):
        raise TypeError(
            f"the function returned {type(made).__name__}, not a Prompt: "
            "wrap a list of messages in Prompt.from_messages(...)"
        )
    return made.render() if isinstance(made, Prompt) else made
