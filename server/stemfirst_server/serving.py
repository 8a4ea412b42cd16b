"""The life of the server process: bind, load, answer, end.

The port is bound first, so that a port in use is said before a model is loaded. The event loop
runs in the main thread from the start and the model loads beside it, so Ctrl-C works at any
time. Knows signals and exit codes; does not know what is loaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import os
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, NoReturn

import uvicorn

from stemfirst_server.api.app import Slot, make_app
from stemfirst_server.errors import ConfigError, ServerError

if TYPE_CHECKING:
    from collections.abc import Generator

    from stemfirst_server.api.service import Service
    from stemfirst_server.settings import ServeSettings

log = logging.getLogger("stemfirst.serve")

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the signal's number."""

_PATIENCE_S = 0.8
"""After Ctrl-C: time for streams to end in order."""

_SEND_BUFFER_BYTES = 256 * 2**10

_LIMIT_S = 1.3
"""After Ctrl-C: the process is gone, whatever still runs."""


_STOP_S = 5.0
"""Time for the engine's last step."""

_SAVE_S = 60.0
"""Most time to write the cache to disk at the end."""

_SAVE_QUICK_S = 4.0
"""The same after Ctrl-C."""


class _Uvicorn(uvicorn.Server):
    """uvicorn without its signal handlers: ours know of the engine."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class ServerProcess:
    """One server from start to end; `run` once."""

    def __init__(self, settings: ServeSettings, listener: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        self._slot = Slot()
        self._error: ServerError | None = None
        self._is_interrupted = False
        self._keys = settings.keys()
        config = uvicorn.Config(
            make_app(self._slot, keys=self._keys, write_timeout_s=settings.write_timeout_s),
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=max(1, round(settings.shutdown_s)),
        )
        self._uvicorn = _Uvicorn(config)

    def run(self) -> NoReturn:
        """Serve until a signal or a failed start, then end the process with its exit code.

        Nothing is taken down in order: the streams have ended, the memory is the system's to
        take, and torch alone needs up to seven seconds for it on a busy machine.
        """
        asyncio.run(self._serve())
        if self._slot.service is not None:
            self._slot.service.sums.close()
            self._save(self._slot.service)
        if self._error is not None:
            print(f"stemfirst serve: {self._error}", file=sys.stderr)
            _leave(2)
        _leave(INTERRUPTED if self._is_interrupted else 0)

    def _save(self, service: Service) -> None:
        """Write the cache to disk, if there is a place for it; a second Ctrl-C ends that too."""
        engine = service.engine
        if engine.tiers is None or not engine.tiers.has_disk:
            return
        most_s = _SAVE_QUICK_S if self._is_interrupted else _SAVE_S
        try:
            if engine.stop(timeout=_STOP_S):
                pages = engine.save(most_s=most_s)
                log.info("%d pages of the cache were written to disk", pages)
        except KeyboardInterrupt:
            return

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal, number)
        loop.add_signal_handler(signal.SIGHUP, self._read_keys_again)
        began = time.monotonic()
        loading = threading.Thread(target=self._load, args=(loop, began), daemon=True)
        loading.start()
        await self._uvicorn.serve(sockets=[self._listener])

    def _load(self, loop: asyncio.AbstractEventLoop, began: float) -> None:
        """Start the service, in a thread of its own; the loop hears how it went."""
        try:
            from stemfirst_server.startup import start_service

            service = start_service(self._settings, lambda text: log.info("%s", text))
        except ServerError as error:
            self._error = error
        except BaseException as error:
            log.debug("start failed", exc_info=True)
            self._error = ServerError(
                f"the model could not be started ({type(error).__name__}: "
                f"{(str(error).splitlines() or [''])[0][:200]}); --log-level debug shows more"
            )
        else:
            self._slot.service = service
            loop.call_soon_threadsafe(self._announce, time.monotonic() - began)
            return
        loop.call_soon_threadsafe(self._end)

    def _announce(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        service = self._slot.get()
        info = service.engine.info
        service.metrics.watch(
            "stemfirst_tasks",
            "Tasks of the event loop: connections, requests and a few of our own.",
            lambda: len(asyncio.all_tasks(loop)),
        )
        log.info(
            "%s, %.1f million parameters, %s on %s, context %d tokens, ready after %.1f s",
            info.architecture,
            info.parameters / 1e6,
            info.dtype,
            info.device,
            service.served.context_tokens,
            seconds,
        )
        if service.served.notice:
            log.warning("%s", service.served.notice)
        url = base_url(self._listener)
        print(f"Serving {service.served.names[0]} at {url}/v1 (Ctrl-C ends it)", flush=True)

    def _read_keys_again(self) -> None:
        """Take the keys as they are in the file now; if it makes no sense, keep the old ones."""
        try:
            self._keys.become(self._settings.keys())
        except ConfigError as error:
            log.error("the keys stay as they were: %s", error)
        else:
            log.info("the keys were read again")

    def _end(self) -> None:
        self._uvicorn.should_exit = True

    def _on_signal(self, number: signal.Signals) -> None:
        service = self._slot.service
        if service is None or self._is_interrupted:
            # Nothing to finish, or asked a second time; a loading thread cannot be stopped.
            print("stemfirst serve: interrupted", file=sys.stderr)
            _leave(INTERRUPTED if number == signal.SIGINT else 0)
        if number == signal.SIGTERM and not self._uvicorn.should_exit:
            log.info("ending when running requests are done (Ctrl-C ends now)")
            self._end()
            return
        self._is_interrupted = True
        log.info("ending")
        has_disk = service.engine.tiers is not None and service.engine.tiers.has_disk
        limit_s = _LIMIT_S + (_SAVE_QUICK_S if has_disk else 0.0)
        watchdog = threading.Timer(limit_s, os._exit, (INTERRUPTED,))
        watchdog.daemon = True
        watchdog.start()
        threading.Thread(target=service.engine.stop, kwargs={"timeout": 1.0}, daemon=True).start()
        loop = asyncio.get_running_loop()
        loop.call_later(_PATIENCE_S, setattr, self._uvicorn, "force_exit", True)
        self._end()


def _leave(code: int) -> NoReturn:
    """End the process now; what was printed is out."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(code)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket bound to the address; port 0 takes a free one.

    Raises:
        ConfigError: the port is in use, may not be used, or the address is not ours.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, OverflowError) as error:
        raise ConfigError(f"the address {host}:{port} cannot be used: {error}") from error
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # What the system holds for a client that does not read; by itself it grows to megabytes.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    try:
        listener.bind(address)
        # Two sockets can be bound to one port until one of them listens.
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {port} on {host} is in use: end what listens there, choose another with "
                "--port, or take any free one with --port 0"
            ) from error
        if error.errno == errno.EACCES:
            raise ConfigError(
                f"port {port} needs rights that this user lacks: choose one above 1023"
            ) from error
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


def base_url(listener: socket.socket) -> str:
    """Return the URL under which this machine reaches the listener."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(listener: socket.socket) -> bool:
    """Return whether only this machine reaches the listener."""
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback
