"""Counts tokens: with the target's tokenizer where one can be had, else from bytes.

Of hosted models it asks `hosted`, of chat templates `chat_templates`. Knows tokenizer files and
tiktoken's cache. Never opens a connection. Loads a tokenizer only when something is counted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemfirst_lint.errors import TokenizerError

if TYPE_CHECKING:
    from stemfirst_lint.hosted import Hosted

_O200K_NAME = "fb374d419588a4632f3f557e76b4b70aebbca790"
_O200K_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
_BYTES_PER_TOKEN = 4.85
"""Used only without the rank file.

Source: `benchmarks/bytes_per_token.py` over 13 published packages and the example app, November
2026: the median of 188 prompts; nine in ten lie between 4.0 and 6.2.
"""


@dataclass(frozen=True, slots=True)
class Count:
    """A number of tokens, and whether it was estimated from bytes."""

    tokens: int
    is_estimate: bool

    def __str__(self) -> str:
        """Return the number, with `~` before an estimate."""
        return f"{'~' if self.is_estimate else ''}{self.tokens:,}"


class Counter:
    """Counts tokens of texts for one target; loads the target's tokenizer at the first count.

    Args:
        model: a folder with `tokenizer.json`, such a file, or the name of a hosted model; None
            for the default target, `o200k_base`, whose rank file is taken from tiktoken's cache
            if it lies there. Hosted models are counted with it, too.

    Attributes:
        hosted: what is known of a hosted model; None for other targets.
    """

    def __init__(self, model: str | None = None) -> None:
        self.model = model
        self.hosted: Hosted | None = None
        self._encode: Callable[[str], int] | None = None
        self._is_estimate = False
        self._counted: dict[str, int] = {}
        if model is not None and not os.path.isfile(self._tokenizer_file(model)):
            self.hosted = _hosted(model)
            if self.hosted is None:
                raise TokenizerError(
                    f"no tokenizer.json in {model}, and no price of a model by that name; --model "
                    "takes a model's folder, the file itself or the name of a hosted model"
                )

    def count(self, *texts: str) -> Count:
        """Return the tokens of texts, each counted by itself.

        Raises:
            TokenizerError: the model's tokenizer cannot be loaded.
        """
        tokens = sum(self._one(text) for text in texts)
        return Count(tokens, self._is_estimate)

    def is_surely_below(self, texts: tuple[str, ...], tokens: int) -> bool:
        """Return True if texts are too short for a number of tokens, whatever the tokenizer."""
        return sum(len(_encodable(text).encode()) for text in texts) < tokens

    def unremembered(self, text: str) -> Count:
        """Return the tokens of a text, and keep no copy of it; for callers with a memo."""
        if self._encode is None:
            self._encode = self._load()
        return Count(self._encode(_encodable(text)), self._is_estimate)

    def _one(self, text: str) -> int:
        if text not in self._counted:
            self._counted[text] = self.unremembered(text).tokens
        return self._counted[text]

    def _load(self) -> Callable[[str], int]:
        if self.hosted is not None:
            self._is_estimate = not self.hosted.is_o200k
        elif self.model is not None:
            return _hugging_face(self._tokenizer_file(self.model))
        folder = _rank_folder()
        if folder is None:
            self._is_estimate = True
            return _estimate
        os.environ["TIKTOKEN_CACHE_DIR"] = folder
        import tiktoken

        encoding = tiktoken.get_encoding("o200k_base")
        return lambda text: len(encoding.encode_ordinary(text))

    @staticmethod
    def _tokenizer_file(model: str) -> str:
        return os.path.join(model, "tokenizer.json") if os.path.isdir(model) else model

    def tools_come_first(self) -> bool:
        """Return True if the target renders tool definitions before the system message.

        Anthropic's models do. Most open-weights chat templates render them behind it; so does
        the default target.
        """
        if self.model is None:
            return False
        if self.hosted is not None:
            return self.hosted.renders_tools_first
        from stemfirst_lint.chat_templates import renders_tools_first

        return renders_tools_first(self.model)


def _hosted(model: str) -> Hosted | None:
    from stemfirst_lint.hosted import hosted

    is_path = os.path.exists(model) or model.startswith((os.sep, os.curdir, "~"))
    return None if is_path else hosted(model)


def _encodable(text: str) -> str:
    """The text as it can be sent: source may write half of a surrogate pair, UTF-8 may not."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _estimate(text: str) -> int:
    return max(1, round(len(text.encode()) / _BYTES_PER_TOKEN)) if text else 0


def _hugging_face(path: str) -> Callable[[str], int]:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise TokenizerError(
            "--model needs the package `tokenizers`: pip install 'stemfirst[tokenizers]'"
        ) from None
    try:
        tokenizer = Tokenizer.from_file(path)
    except Exception as error:  # noqa: BLE001  the package raises bare Exception
        raise TokenizerError(f"{path} is no tokenizer: {error}") from None
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def rank_files() -> list[str]:
    """Return the files that may be the ranks of o200k_base, as tiktoken caches them."""
    return [path for path in rank_places() if os.path.isfile(path)]


def rank_places() -> list[str]:
    """Return where the ranks of o200k_base may lie, whether they do or not."""
    import tempfile

    folders = [
        os.environ.get("TIKTOKEN_CACHE_DIR"),
        os.environ.get("DATA_GYM_CACHE_DIR"),
        os.path.join(tempfile.gettempdir(), "data-gym-cache"),
    ]
    folders += [os.path.join(p, "litellm", "litellm_core_utils", "tokenizers") for p in sys.path]
    folders += [
        os.path.join(p, "llama_index", "core", "_static", "tiktoken_cache") for p in sys.path
    ]
    return [os.path.join(folder, _O200K_NAME) for folder in folders if folder]


def _rank_folder() -> str | None:
    """Return a folder with the true rank file of o200k_base.

    The digest is checked because tiktoken deletes a file with another one and downloads it anew.
    """
    for path in rank_files():
        if _sha256(path) == _O200K_SHA256:
            return os.path.dirname(path)
    return None


def _sha256(path: str) -> str:
    import hashlib

    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
