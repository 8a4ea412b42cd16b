"""The rule SF109."""

from __future__ import annotations

from collections.abc import Iterator

from stemfirst_lint.model import Finding, Kind, Request
from stemfirst_lint.rules.rule import Case, Limits, Rule


class VaryingCacheKey(Rule):
    """The cache key of a request is random or holds a clock.

    Why: the key says which requests belong together, so that they reach a server that has their
    prefix. A key that is new in every call sends each one somewhere else.

    Fix: derive the key from the conversation, the user or the version of the prompt.
    """

    code = "SF109"
    name = "varying-cache-key"
    cases = (
        Case(
            "a uuid for each call",
            "import uuid\n\n"
            + "def ask(client, history):\n"
            + "    return client.chat.completions.create(\n"
            + "        messages=history, prompt_cache_key=str(uuid.uuid4()))\n",
            finds=1,
        ),
        Case(
            "a new session in a header",
            "import uuid\n\n"
            + "def ask(client, history):\n"
            + "    return client.chat.completions.create(\n"
            + '        messages=history, extra_headers={"x-session-id": uuid.uuid4().hex})\n',
            finds=1,
        ),
        Case(
            "the conversation's own id",
            "def ask(client, history, conversation_id):\n"
            + "    return client.chat.completions.create(\n"
            + "        messages=history, prompt_cache_key=conversation_id)\n",
        ),
        Case(
            "an id made once",
            "import uuid\n\n"
            + "RUN = uuid.uuid4().hex\n\n"
            + "def ask(client, history):\n"
            + "    return client.chat.completions.create(\n"
            + "        messages=history, prompt_cache_key=RUN)\n",
        ),
    )

    def check_request(self, request: Request, limits: Limits) -> Iterator[Finding]:
        """Yield a finding for each key that no two calls share."""
        for key in request.cache_keys:
            if key.verdict.kind in (Kind.CLOCK, Kind.RANDOM):
                yield self.finding_at(
                    key.location,
                    f"`{key.name}` is new in every call, so no two calls share a cache",
                    "derive it from the conversation",
                    key,
                )
