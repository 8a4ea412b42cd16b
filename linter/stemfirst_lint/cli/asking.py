"""Asks an OpenAI-compatible server what it says to prompts, for `stemfirst verify`.

Knows the two requests that this takes, which failures pass, and how to read an answer. Does not
know what is compared.
"""

from __future__ import annotations

import json
import secrets
import time

from stemfirst_lint.errors import LintError

TYPE_CHECKING = False  # `typing` costs start-up time
if TYPE_CHECKING:
    from stemfirst_lint.fix.trial import Answer

_TRIES = 3
_MOST_WAIT_S = 30.0
"""However long a server asks us to wait: a person sits before the command."""

_PASSING = (429, 500, 502, 503)
_UNKNOWN_FIELD = (400, 422)
"""With these, servers refuse a request for what it asks; all else says nothing of its fields."""


class ServerError(LintError):
    """The server cannot be asked; the message has its answer, `status` its code if it gave one."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Server:
    """An OpenAI-compatible server; asked for log-probabilities until it refuses them.

    Attributes:
        logprobs_refused: the words with which it refused log-probabilities; None if it did not.

    Raises:
        ServerError: it cannot be asked which model it serves.
    """

    def __init__(
        self, base_url: str, model: str | None, api_key: str | None, max_tokens: int
    ) -> None:
        from stemfirst.discovery import capabilities_of

        self._base_url = base_url.rstrip("/")
        self._api_key = api_key
        self._max_tokens = max_tokens
        self.logprobs_refused: str | None = None
        said = self._call("/stemfirst", None, is_optional=True)
        self._has_namespaces = capabilities_of(said) is not None
        self._model = model or self._first_model()

    def _first_model(self) -> str:
        listed = self._call("/models", None)
        try:
            return str(listed["data"][0]["id"])  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            raise ServerError(f"{self._base_url}/models names no model") from None

    def ask_all(self, role: str, prompts: list[str]) -> list[Answer]:
        """Return the answers, one after the other, in a cache namespace of their own.

        Raises:
            ServerError: it cannot be asked, or answers in another shape.
        """
        salt = secrets.token_hex(8) if self._has_namespaces else None
        return [self._ask(role, prompt, salt) for prompt in prompts]

    def _ask(self, role: str, prompt: str, salt: str | None) -> Answer:
        messages = [{"role": role, "content": prompt}]
        if role != "user":
            messages.append({"role": "user", "content": "Go on."})
        body: dict[str, object] = {
            "model": self._model,
            "messages": messages,
            "temperature": 0,
            "max_tokens": self._max_tokens,
        }
        if salt is not None:
            body["cache_salt"] = salt
        if self.logprobs_refused is not None:
            return _answer_of(self._call("/chat/completions", body), self._base_url)
        try:
            said = self._call("/chat/completions", {**body, "logprobs": True})
        except ServerError as error:
            if error.status not in _UNKNOWN_FIELD:
                raise
            said = self._call("/chat/completions", body)  # raises if something else was wrong
            self.logprobs_refused = str(error)
        return _answer_of(said, self._base_url)

    def _call(self, path: str, body: object, *, is_optional: bool = False) -> dict[str, object]:
        from urllib.error import HTTPError, URLError
        from urllib.request import Request, urlopen

        headers = {"content-type": "application/json"}
        if self._api_key:
            headers["authorization"] = f"Bearer {self._api_key}"
        data = None if body is None else json.dumps(body).encode()
        request = Request(self._base_url + path, data, headers)  # noqa: S310  the user's URL
        for attempt in range(1, _TRIES + 1):
            try:
                with urlopen(request, timeout=300) as response:  # noqa: S310
                    found = json.load(response)
            except HTTPError as error:
                words = error.read(2_000).decode("utf-8", "replace")
                if error.code in _PASSING and attempt < _TRIES:
                    time.sleep(wait_s(error.headers.get("retry-after"), attempt))
                    continue
                if is_optional:
                    return {}
                raise ServerError(
                    f"{self._base_url}{path}: {error.code} {words}", error.code
                ) from None
            except (URLError, OSError, ValueError) as error:
                reason = getattr(error, "reason", error)
                if is_optional:
                    return {}
                raise ServerError(f"{self._base_url}{path}: {reason}") from None
            return found if isinstance(found, dict) else {}
        raise AssertionError("unreachable")


def wait_s(told: str | None, attempt: int) -> float:
    """Return the seconds to wait before the next try, at most half a minute.

    Args:
        told: the header `retry-after`: seconds, or an HTTP date; None if there is none.
        attempt: how often it was tried, from 1; where nothing readable is told, so many seconds.
    """
    try:
        seconds = float(told or attempt)
    except ValueError:
        seconds = _seconds_until(told or "", attempt)
    if seconds != seconds:  # "nan" is a float, too
        seconds = attempt
    return min(max(seconds, 0.0), _MOST_WAIT_S)


def _seconds_until(date: str, otherwise: float) -> float:
    from email.utils import mktime_tz, parsedate_tz

    parsed = parsedate_tz(date)
    if parsed is None:
        return otherwise
    try:
        return mktime_tz(parsed) - time.time()
    except (ValueError, OverflowError):  # no such day
        return otherwise


def _answer_of(said: dict[str, object], where: str) -> Answer:
    from stemfirst_lint.fix.trial import Answer

    try:
        choice = said["choices"][0]  # type: ignore[index]
        text = str(choice["message"]["content"] or "")
        tokens = ((choice.get("logprobs") or {}).get("content")) or []
        usage = said.get("usage") or {}
        assert isinstance(usage, dict)
        details = usage.get("prompt_tokens_details") or {}
        cached = details.get("cached_tokens")
        return Answer(
            text,
            int(usage.get("prompt_tokens") or 0),
            None if cached is None else int(cached),
            tuple(str(token["token"]) for token in tokens),
            tuple(float(token["logprob"]) for token in tokens),
        )
    except (KeyError, IndexError, TypeError, ValueError, AssertionError):
        raise ServerError(f"{where} answered in another shape: {str(said)[:300]}") from None
