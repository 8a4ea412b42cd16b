"""A request as a cache sees it: blocks in render order, with links and token positions.

Knows the order in which a provider renders, how text becomes a chain of links, and how many
tokens stand before a place. Does not remember other requests.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate
from sys import getsizeof

import xxhash

from stemfirst_lint.audit.bounded import RecentMap
from stemfirst_lint.audit.provider_rules import Level, Rules
from stemfirst_lint.audit.records import Block, Request
from stemfirst_lint.gain import Counter

CHUNK_BYTES = 256
"""Text covered by one link: sharing is known to this resolution without the other's text."""

SETTING = "setting"
"""Role of a block that stands for what a cache depends on besides text; it has no tokens."""

_REMEMBERED_COUNTS = 65_536
_BLOCK_BYTES, _LINK_BYTES = 400, 48
_LEAST_SCALE, _MOST_SCALE = 0.25, 4.0


class TokenCounts:
    """Tokens of texts; remembers counts by digest, and no text."""

    def __init__(self, model: str | None = None) -> None:
        self._counter = Counter(model)
        self._known: RecentMap[int, int] = RecentMap(_REMEMBERED_COUNTS)
        self.is_estimate = False

    def of(self, text: str, data: bytes) -> int:
        """Return the tokens of a text, given also as UTF-8."""
        if not data:
            return 0
        digest = xxhash.xxh3_64_intdigest(data)
        tokens = self._known.get(digest)
        if tokens is None:
            try:
                count = self._counter.unremembered(text)
            except UnicodeEncodeError:  # lone surrogates, which JSON can carry
                count = self._counter.unremembered(text.encode("utf-8", "replace").decode())
            self.is_estimate = self.is_estimate or count.is_estimate
            tokens = count.tokens or 1
            self._known.put(digest, tokens)
        return tokens


@dataclass(frozen=True, slots=True)
class Stream:
    """One request, laid out.

    Attributes:
        request: what it was made from.
        rules: of the provider that it went to.
        blocks: in render order, settings included.
        ends: tokens of the prompt up to the end of each block; scaled to what the response
            reported, where it did.
        links: the chain, one link a chunk; equal links mean equal text up to there.
        last_links: for each block, the index in `links` of its last link.
        digests: for each block, a digest of role and text.
        memory_bytes: roughly what keeping it costs.
    """

    request: Request
    rules: Rules
    blocks: tuple[Block, ...]
    ends: tuple[float, ...]
    links: tuple[int, ...]
    last_links: tuple[int, ...]
    digests: tuple[int, ...]
    memory_bytes: int

    @property
    def prompt_tokens(self) -> float:
        """Tokens of the whole prompt."""
        return self.ends[-1]

    @property
    def ttl_s(self) -> int | None:
        """Seconds for which the provider is expected to keep this prompt after its use."""
        if self.rules.ttl_s is None:
            return None
        asked = [block.marker_ttl_s for block in self.blocks if block.marker_ttl_s is not None]
        if self.request.automatic_ttl_s is not None:
            asked.append(self.request.automatic_ttl_s)
        return max(asked, default=self.rules.ttl_s)

    def start(self, block: int) -> float:
        """Return the tokens before a block."""
        return self.ends[block - 1] if block else 0.0

    def tokens(self, block: int) -> float:
        """Return a block's tokens."""
        return self.ends[block] - self.start(block)

    def tokens_before(self, block: int, offset: int) -> float:
        """Return the tokens before a character of a block, in proportion to its length."""
        length = len(self.blocks[block].text)
        return self.start(block) + (self.tokens(block) * offset / length if length else 0.0)

    def tokens_of_link(self, link: int) -> float:
        """Return the tokens up to the end of the chunk that a link closes."""
        block = _block_of(self.last_links, link)
        first = self.last_links[block - 1] + 1 if block else 0
        chunks = self.last_links[block] - first
        if link == self.last_links[block]:
            return self.ends[block]
        # The first link of a block closes its header; the last chunk may be short.
        share = (link - first) / chunks if chunks else 1.0
        return self.start(block) + self.tokens(block) * share


def stream_of(request: Request, rules: Rules, counts: TokenCounts) -> Stream:
    """Return a request laid out as the provider's cache sees it."""
    blocks = _in_render_order(request, rules)
    links: list[int] = []
    last_links: list[int] = []
    digests: list[int] = []
    sizes: list[int] = []
    link, memory_bytes, message = 0, 0, -1
    for block in blocks:
        data = block.text.encode("utf-8", "surrogatepass")
        memory_bytes += getsizeof(block.text) + _BLOCK_BYTES
        sizes.append(0 if block.role == SETTING else counts.of(block.text, data))
        number = -1 if block.message is None else block.message
        header = f"{block.role}{'+' if number == message else ''}".encode()
        message = number
        role = xxhash.xxh3_64_intdigest(block.role.encode())
        digests.append(xxhash.xxh3_64_intdigest(data, seed=role))
        link = xxhash.xxh3_64_intdigest(header, seed=link)
        links.append(link)
        for start in range(0, len(data), CHUNK_BYTES):
            link = xxhash.xxh3_64_intdigest(data[start : start + CHUNK_BYTES], seed=link)
            links.append(link)
        last_links.append(len(links) - 1)
    scale = _scale(request, sum(sizes))
    return Stream(
        request,
        rules,
        blocks,
        tuple(accumulate(size * scale for size in sizes)),
        tuple(links),
        tuple(last_links),
        tuple(digests),
        memory_bytes + _LINK_BYTES * len(links),
    )


def _scale(request: Request, counted: int) -> float:
    """Return what makes our count agree with the provider's; 1 where that is not credible.

    A prompt that the provider continued (`previous_response_id`) is longer than its record.
    """
    reported = request.usage.prompt_tokens
    if not reported or not counted:
        return 1.0
    scale = reported / counted
    return scale if _LEAST_SCALE <= scale <= _MOST_SCALE else 1.0


def _in_render_order(request: Request, rules: Rules) -> tuple[Block, ...]:
    """Return the blocks as rendered, with what the cache depends on as blocks among them."""
    tools = [block for block in request.blocks if block.role == "tool definition"]
    others = [block for block in request.blocks if block.role != "tool definition"]
    head = 0
    while head < len(others) and others[head].role == "system":
        head += 1
    settings: dict[Level, list[Block]] = {level: [] for level in Level}
    settings[Level.START].append(Block(SETTING, ("model",), request.model))
    if request.cache_key is not None:
        settings[Level.START].append(Block(SETTING, ("prompt_cache_key",), request.cache_key))
    for name, value in request.settings:
        if name in rules.settings:
            settings[rules.settings[name]].append(Block(SETTING, (name,), value))
    ordered = [*settings[Level.START]]
    if rules.tools_first:
        ordered += [*tools, *settings[Level.SYSTEM], *others[:head]]
    else:
        ordered += [*settings[Level.SYSTEM], *others[:head], *tools]
    return (*ordered, *settings[Level.MESSAGES], *others[head:])


def _block_of(last_links: tuple[int, ...], link: int) -> int:
    return bisect_left(last_links, link)
