"""`stemfirst explain`: where a request leaves another one, or what a server has cached.

Knows request files and how to ask a server. How prompts are compared is `divergence`'s.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from stemfirst.bodies import runs_of_record
from stemfirst.causes import cause_of
from stemfirst.divergence import WINDOW, Difference, Divergence, Run, diverge
from stemfirst.errors import PromptError
from stemfirst.losses import LEAST_LOST_BYTES
from stemfirst.missed import EXPECTED, GONE
from stemfirst.references import KnownPrefixes
from stemfirst.savings import Savings
from stemfirst.tiers import Tier

if TYPE_CHECKING:
    from stemfirst.client import Client
    from stemfirst.discovery import Capabilities
    from stemfirst.rendered import Rendered

EXPLAIN_FEATURE = "explain"
"""What a server says among its features that explains a request without computing it."""

LOCAL_KEY = "none"
"""Sent as API key where the environment holds none: a server of one's own may want none."""


@click.command()
@click.argument("request", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--against", type=click.Path(exists=True, dir_okay=False),
              help="An earlier request to compare with.")  # fmt: skip
@click.option("--server", metavar="URL", help="A stemfirst server to ask what it has cached.")
@click.option("--model", help="The model to name; by default the request's, else the server's.")
def explain(request: str, against: str | None, server: str | None, model: str | None) -> int:
    """Show where REQUEST leaves what was cached before: both texts, and a caret.

    REQUEST is a JSON file: a request's body (chat, responses, Anthropic's messages) or one line
    of a recording. With --server nothing is computed, and the cache stays as it is; an older
    server is sent the request for one token, and has it in its cache afterwards. The key is
    taken from STEMFIRST_API_KEY (the first, where it holds several) or OPENAI_API_KEY.

    Exit codes: 0 nothing diverged, 1 something did, 2 we failed.
    """
    if against is not None and server is not None:
        raise click.UsageError("give --against OTHER.json or --server URL, not both")
    record = _read(request)
    try:
        runs = runs_of_record(record)
        if server is not None:
            return _ask(record, runs, server, model)
        if against is not None:
            earlier = _read(against)
            if record.get("redacted") != earlier.get("redacted"):
                raise PromptError(
                    "one of the two is redacted, or by another key: nothing in them can be equal; "
                    "record both with the same API key, or with record(path, text=True)"
                )
            return _compare(runs_of_record(earlier), runs)
    except PromptError as error:
        raise click.ClickException(str(error)) from None
    raise click.UsageError("compare with --against OTHER.json, or ask with --server URL")


def _read(path: str) -> Mapping[str, Any]:
    with click.open_file(path, encoding="utf-8") as file:
        try:
            text = file.read()
            record = json.loads(text)
        except UnicodeDecodeError as error:
            raise click.ClickException(f"{path} is not UTF-8: {error.reason}") from None
        except ValueError as error:
            lines = [line for line in text.splitlines() if line.strip()]
            more = "; a recording has one request a line: pick one" if len(lines) > 1 else ""
            raise click.ClickException(f"{path} is not JSON: {error}{more}") from None
        except RecursionError:
            raise click.ClickException(f"{path} is nested too deeply") from None
    if not isinstance(record, Mapping):
        raise click.ClickException(f"{path} holds {type(record).__name__}, expected an object")
    return record


def _compare(before: tuple[Run, ...], after: tuple[Run, ...]) -> int:
    found = diverge(before, after)
    if found is None:
        size = sum(_bytes(run.text) for run in before)
        click.echo(f"The request begins with all of the other one: {size:,} bytes can be shared.")
        return 0
    click.echo(told(found, after))
    return 1


def told(found: Divergence, after: tuple[Run, ...]) -> str:
    """Return what a person needs to know of a divergence."""
    whole = sum(_bytes(run.text) for run in after)
    place = ".".join(map(str, found.at)) or "the end"
    lines = [f"The prompts part at {place}, byte {found.byte:,}"]
    if found.run is not None:
        origin = f", built at {found.run.origin.short}" if found.run.origin else ""
        lines[0] += f": {found.run.label}{origin}"
    lines += ["", found.difference.window(), ""]
    share = f" ({100 * found.shared_bytes / whole:.0f} %)" if whole else ""
    lines.append(f"{found.shared_bytes:,} of {whole:,} bytes stand before it{share}.")
    cause = cause_of(found, after)
    tier = found.run.tier if found.run else None
    is_own_text = tier is not None and tier >= Tier.TENANT and tier is not Tier.SESSION
    if tier is not None and is_own_text and cause.behind is None and not found.lost_bytes:
        lines.append(
            f"It is the {tier.label}'s own text, and no stable text stands behind it: no other "
            "order would save anything."
        )
        return "\n".join(lines)
    is_tool = bool(found.at) and found.at[0] == "tools"
    rest_bytes = found.lost_bytes + found.rest_bytes
    if tier is None and not is_tool and rest_bytes < LEAST_LOST_BYTES:
        lines.append("Less than a page of what stands behind it is the same in both: it is new.")
        return "\n".join(lines)
    where = found.run.origin.short if found.run and found.run.origin else place
    clause = cause.clause(f"`{where}`")
    lines.append(f"{clause[0].upper()}{clause[1:]}.")
    lines.append(
        f"`stemfirst rule {cause.rule.code}` ({cause.rule.name}) says what to do about it."
    )
    built = found.run.origin if found.run else None
    if built and cause.rule.is_fixed:
        from stemfirst.mending import is_mended

        knows = is_mended(built, found.difference.after)
        remedy = cause.rule.remedy(built.short_path, is_mended=knows)
        lines.append(f"{remedy[0].upper()}{remedy[1:]}.")
    if rest_bytes:
        are = "byte behind it is" if rest_bytes == 1 else "bytes behind it are"
        again = "is" if rest_bytes == 1 else "are"
        them = "it" if rest_bytes == 1 else "them"
        lines.append(
            f"{rest_bytes:,} {are} the same in both, and {again} read again: move what changes "
            f"behind {them}."
        )
    return "\n".join(lines)


def _ask(record: Mapping[str, Any], runs: tuple[Run, ...], server: str, model: str | None) -> int:
    """Ask the server what it has of the request, and show it."""
    import openai

    from stemfirst.client import Client
    from stemfirst.prompt import Prompt

    if record.get("redacted"):
        raise PromptError(
            "the text of this line is redacted, so no server can know it: record with "
            "record(path, text=True), or give the request's body"
        )
    inner = record.get("request")
    body = inner if isinstance(inner, Mapping) else record
    if not isinstance(body.get("messages"), list) or "system" in body:
        raise PromptError("--server takes chat requests: a body with `messages`")
    tools = body.get("tools")
    built = Prompt.from_messages(body["messages"], tools=tools or ()).render()
    # The place that built it is here, and tells the reader nothing.
    rendered = replace(built, segments=tuple(replace(one, origin=None) for one in built.segments))
    named = model or body.get("model")
    # Where a server reads the keys that it accepts, several may stand.
    ours = os.environ.get("STEMFIRST_API_KEY", "").split()
    key = ours[0] if ours else os.environ.get("OPENAI_API_KEY") or LOCAL_KEY
    url = server.rstrip("/")
    url = url if url.endswith("/v1") else f"{url}/v1"
    with Client(base_url=url, api_key=key, max_retries=0) as client:
        known = client.capabilities()
        if known is None:
            raise click.ClickException(f"{server} is no stemfirst server, or does not answer")
        served = known.fields.get("models") or ()
        if model is None and named not in served:
            named = None  # recorded elsewhere: the server's own model stands in
        try:
            if EXPLAIN_FEATURE in known.features:
                savings, window = _explained(client, rendered, named, known)
            else:
                savings = client.ask(rendered, model=named, max_tokens=1).savings
                window = _window(savings, runs)
        except openai.OpenAIError as error:
            raise click.ClickException(f"{server} refused the request: {error}") from None
    click.echo(str(savings))
    if window:
        click.echo(f"\n{window}")
    missed = savings.missed
    is_own_text = missed is not None and missed.tier is not None and missed.tier >= Tier.REQUEST
    # Nothing is known here of what was sent before, so nothing is blamed; the place is shown.
    if missed is None or is_own_text:
        return 0
    return 0 if missed.reason in EXPECTED or missed.reason in GONE else 1


def _explained(
    client: Client, rendered: Rendered, model: str | None, known: Capabilities
) -> tuple[Savings, str | None]:
    """Ask the server what it has of a request, without its being computed.

    Returns:
        What a call would find, and both texts around the place where they part.
    """
    from stemfirst.asking import question

    asked = question(rendered, model=model, values=None, session_id=None, arguments={})
    ready = asked.ready(
        known,
        KnownPrefixes(),  # names nothing: the body goes as it is
        base_url=str(client.base_url),
        api_key=client.api_key,
        default_headers={},
    )
    body = {name: value for name, value in ready.arguments.items() if not name.startswith("extra")}
    body |= ready.arguments.get("extra_body") or {}
    answer = client.post("/cache/explain", body=body, cast_to=object)
    savings = Savings.of(answer, rendered=rendered)
    return savings, _told_by_server(answer if isinstance(answer, Mapping) else {}, savings)


def _told_by_server(answer: Mapping[str, Any], savings: Savings) -> str | None:
    """Return the server's window: what was cached there, and what stands there now."""
    window = answer.get("window")
    if not isinstance(window, Mapping):
        return None
    shared, here, there = (str(window.get(name) or "") for name in ("before", "here", "there"))
    shared, here, there = shared[-WINDOW:], here[:WINDOW], there[:WINDOW]
    at = savings.missed.at if savings.missed else None
    place = ".".join(map(str, at.path)) if at and at.path else "the prompt"
    difference = Difference(len(shared), shared + there, shared + here)
    lines = [f"  {place}", difference.window(("cached", "now"))]
    why = answer.get("why")
    if isinstance(why, Mapping) and isinstance(why.get("at_s"), int | float):
        reason = str(why.get("reason")).replace("_", " ")
        lines.append(f"  {reason} {_ago(time.time() - why['at_s'])} ago")
    return "\n".join(lines)


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{max(0, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _window(savings: Savings, runs: tuple[Run, ...]) -> str | None:
    """Return the request's text around the place where it left the cache, and a caret."""
    at = savings.missed.at if savings.missed else None
    if at is None or at.path is None or at.byte is None:
        return None
    text = "".join(run.text for run in runs if run.at == at.path)
    data = text.encode("utf-8", "surrogatepass")
    before = data[: at.byte].decode("utf-8", "replace")[-WINDOW:]
    behind = data[at.byte :].decode("utf-8", "replace")[:WINDOW]
    place = ".".join(map(str, at.path))
    shown_before = before.replace("\n", "⏎")
    return f"  {place}  {shown_before}{behind.replace(chr(10), '⏎')}\n" + (
        " " * (4 + len(place) + len(shown_before)) + "^"
    )


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
