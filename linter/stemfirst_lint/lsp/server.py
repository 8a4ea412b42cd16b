"""The protocol's side of the language server: messages in, diagnostics, hovers and edits out.

Knows positions in the client's units and when to check again. All work on files runs on one thread
beside the loop's, so that typing and hovers never wait for a check: files are stood in for by
documents meanwhile, and two checks at once would see each other's.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from typing import Any, TypeVar

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.uris import from_fs_path, to_fs_path
from pygls.workspace import ServerTextPosition, ServerTextRange

from stemfirst_lint.data_files import TEXT_SUFFIXES
from stemfirst_lint.errors import LintError
from stemfirst_lint.lsp.state import Change, State
from stemfirst_lint.model import Finding, Location, Severity
from stemfirst_lint.source import lines_of
from stemfirst_lint.value_files import VALUE_SUFFIXES

_DELAY_S = 0.2
"""An author types; a check of every key would be one too many."""

_STACK_BYTES = 64 * 2**20
"""Deeply nested expressions recurse once a level; a thread's usual stack is small."""

SOURCE = "stemfirst"

_WATCHED = types.Registration(
    "stemfirst-files",
    types.WORKSPACE_DID_CHANGE_WATCHED_FILES,
    types.DidChangeWatchedFilesRegistrationOptions(
        [
            types.FileSystemWatcher("**/*.{py,pyi,ipynb}"),
            types.FileSystemWatcher(f"**/*{{{','.join((*TEXT_SUFFIXES, *VALUE_SUFFIXES))}}}"),
            types.FileSystemWatcher("**/.gitignore"),
        ]
    ),
)
"""What a check reads; clients tell of no change on disk unless they are asked to."""

T = TypeVar("T")


class Server(LanguageServer):
    """A language server with the state of its workspace."""

    def __init__(self) -> None:
        # Whole texts: pygls would apply changes to lines that it also ends at form feeds.
        super().__init__(
            SOURCE,
            version("stemfirst"),
            text_document_sync_kind=types.TextDocumentSyncKind.Full,
        )
        self.state = State(())
        self._pending: asyncio.TimerHandle | None = None
        self._checks: set[asyncio.Task[None]] = set()  # the loop itself keeps no hold of them
        self._told: set[str] = set()
        before = threading.stack_size(_STACK_BYTES)
        self._worker = ThreadPoolExecutor(1, "stemfirst-check")
        self._worker.submit(int).result()  # the thread is made here, with this stack
        threading.stack_size(before)

    async def beside(self, work: Callable[[], T]) -> T:
        """Do what reads and parses files, and nothing else of that kind meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    def soon(self) -> None:
        """Check when the author has stopped typing."""
        if self._pending is not None:
            self._pending.cancel()
        self._pending = asyncio.get_running_loop().call_later(_DELAY_S, self._start)

    def _start(self) -> None:
        self._pending = None
        task = asyncio.get_running_loop().create_task(self.check())
        self._checks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Log what a check broke at, and say it once: what is shown is older than the text."""
        self._checks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        logging.getLogger(__name__).error("a check failed", exc_info=error)
        words = f"{type(error).__name__}: {error}"
        if words not in self._told:
            self._told.add(words)
            self.window_show_message(
                types.ShowMessageParams(
                    types.MessageType.Error,
                    f"stemfirst could not check ({words}); the server's log says where",
                )
            )

    async def check(self) -> None:
        """Check now and publish what changed."""
        try:
            shown = await self.beside(self.state.check)
        except LintError as error:
            self.window_show_message(
                types.ShowMessageParams(types.MessageType.Error, f"stemfirst: {error}")
            )
            return
        for path in sorted(shown):
            self.text_document_publish_diagnostics(
                types.PublishDiagnosticsParams(_uri(path), self._diagnostics(path))
            )

    def _diagnostics(self, path: str) -> list[types.Diagnostic]:
        found = [self._diagnostic(finding) for finding in self._of(path)]
        if path in self.state.failures:
            reason = self.state.failures[path]
            found.append(
                types.Diagnostic(
                    self._range_of_failure(reason, path),
                    reason,
                    severity=types.DiagnosticSeverity.Error,
                    source=SOURCE,
                )
            )
        return found

    def _range_of_failure(self, reason: str, path: str) -> types.Range:
        """Return the line that a reason names ("does not parse: line 59"), or the first place."""
        told = re.search(r"\bline (\d+)", reason)
        line = int(told[1]) - 1 if told else 0
        lines = lines_of(self.state.text(path))
        if not told or line >= len(lines):
            return types.Range(types.Position(0, 0), types.Position(0, 0))
        return self._in_client_units(lines, line, 0, line, len(lines[line].rstrip("\r\n")))

    def client_range(self, place: Location) -> types.Range:
        """Return a place in the client's units; beyond the text it ends where the text ends."""
        return self._in_client_units(
            lines_of(self.state.text(os.path.realpath(place.path))),
            place.line - 1,
            place.column - 1,
            place.end_line - 1,
            place.end_column - 1,
        )

    def _in_client_units(
        self, lines: list[str], line: int, column: int, end_line: int, end_column: int
    ) -> types.Range:
        wanted = ServerTextRange(
            ServerTextPosition(line, column), ServerTextPosition(end_line, end_column)
        )
        return self.workspace.position_codec.range_to_client_units(lines, wanted)

    def _diagnostic(self, finding: Finding) -> types.Diagnostic:
        related = [
            types.DiagnosticRelatedInformation(
                types.Location(
                    _uri(step.location.path),
                    self.client_range(step.location),
                ),
                step.text,
            )
            for step in finding.evidence
            if step.location is not None
        ]
        return types.Diagnostic(
            self.client_range(finding.location),
            finding.message,
            severity=(
                types.DiagnosticSeverity.Information
                if finding.severity is Severity.INFO
                else types.DiagnosticSeverity.Warning
            ),
            code=finding.code,
            source=SOURCE,
            related_information=related,
        )

    def at(self, uri: str, wanted: types.Range) -> list[Finding]:
        """Return the findings whose place meets a range of a document."""
        if not _is_file(uri):
            return []
        found: list[Finding] = []
        for finding in self._of(os.path.realpath(_path(uri))):
            place = self.client_range(finding.location)
            if _order(place.start) <= _order(wanted.end) and _order(wanted.start) <= _order(
                place.end
            ):
                found.append(finding)
        return found

    def _of(self, path: str) -> tuple[Finding, ...]:
        return self.state.findings.get(path, ())


def make_server() -> Server:
    """Return a server with all its features; the caller starts it."""
    server = Server()

    @server.feature(types.INITIALIZED)
    async def _initialized(ls: Server, params: types.InitializedParams) -> None:
        folders = [_path(uri) for uri in ls.workspace.folders]
        root = ls.workspace.root_path
        ls.state.folders = tuple(folders or ([root] if root else []))
        workspace = ls.client_capabilities.workspace
        watching = workspace.did_change_watched_files if workspace is not None else None
        if watching is not None and watching.dynamic_registration:
            await ls.client_register_capability_async(types.RegistrationParams([_WATCHED]))

    @server.feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)
    def _changed_on_disk(ls: Server, params: types.DidChangeWatchedFilesParams) -> None:
        ls.soon()

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def _opened(ls: Server, params: types.DidOpenTextDocumentParams) -> None:
        if not _is_file(params.text_document.uri):
            return  # not saved yet: it has no folder, no settings and no module name
        ls.state.documents[os.path.realpath(_path(params.text_document.uri))] = (
            params.text_document.text
        )
        ls.soon()

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def _changed(ls: Server, params: types.DidChangeTextDocumentParams) -> None:
        uri = params.text_document.uri
        if not _is_file(uri):
            return
        text = ls.workspace.get_text_document(uri).source
        ls.state.documents[os.path.realpath(_path(uri))] = text
        ls.soon()

    @server.feature(types.TEXT_DOCUMENT_DID_SAVE)
    def _saved(ls: Server, params: types.DidSaveTextDocumentParams) -> None:
        ls.soon()

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def _closed(ls: Server, params: types.DidCloseTextDocumentParams) -> None:
        path = os.path.realpath(_path(params.text_document.uri))
        ls.state.documents.pop(path, None)
        ls.text_document_publish_diagnostics(
            types.PublishDiagnosticsParams(params.text_document.uri, [])
        )
        ls.soon()

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    def _hover(ls: Server, params: types.HoverParams) -> types.Hover | None:
        here = types.Range(params.position, params.position)
        found = ls.at(params.text_document.uri, here)
        if not found:
            return None
        text = "\n\n---\n\n".join(_markdown(finding) for finding in found)
        return types.Hover(types.MarkupContent(types.MarkupKind.Markdown, text))

    @server.feature(
        types.TEXT_DOCUMENT_CODE_ACTION,
        types.CodeActionOptions(code_action_kinds=[types.CodeActionKind.QuickFix]),
    )
    async def _actions(ls: Server, params: types.CodeActionParams) -> list[types.CodeAction]:
        found = ls.at(params.text_document.uri, params.range)
        return [
            _action(ls, change, finding, params.context.diagnostics)
            for finding in found
            for change in await ls.beside(partial(ls.state.changes, finding))
        ]

    return server


def _action(ls: Server, change: Change, finding: Finding, diagnostics: Any) -> types.CodeAction:
    edit = types.TextEdit(*_difference(ls.state.text(os.path.realpath(change.path)), change.text))
    return types.CodeAction(
        change.title,
        kind=types.CodeActionKind.QuickFix,
        is_preferred=change.is_safe,
        diagnostics=[each for each in diagnostics if each.code == finding.code],
        edit=types.WorkspaceEdit(changes={_uri(change.path): [edit]}),
    )


def _difference(old: str, new: str) -> tuple[types.Range, str]:
    """The lines that differ, as one edit: cursors and folds elsewhere stay."""
    old_lines, new_lines = lines_of(old), lines_of(new)
    shorter = min(len(old_lines), len(new_lines))
    head = next((i for i in range(shorter) if old_lines[i] != new_lines[i]), shorter)
    tail = next(
        (i for i in range(shorter - head) if old_lines[-1 - i] != new_lines[-1 - i]),
        shorter - head,
    )
    end = len(old_lines) - tail
    text = "".join(new_lines[head : len(new_lines) - tail])
    return types.Range(types.Position(head, 0), types.Position(end, 0)), text


def _markdown(finding: Finding) -> str:
    lines = [f"**{finding.code}** `{finding.name}`: {finding.message}", ""]
    for step in finding.evidence:
        where = ""
        if step.location is not None:
            where = f" (`{os.path.basename(step.location.path)}:{step.location.line}`)"
        lines.append(f"- {step.text}{where}")
    if finding.remedy:
        lines += ["", finding.remedy]
    return "\n".join([*lines, "", f"`stemfirst rule {finding.code}` explains the rule."])


def _order(position: types.Position) -> tuple[int, int]:
    return position.line, position.character


def _uri(path: str) -> str:
    uri = from_fs_path(os.path.abspath(path))
    assert isinstance(uri, str)
    return uri


def _is_file(uri: str) -> bool:
    return uri.startswith("file:")


def _path(uri: str) -> str:
    path = to_fs_path(uri)
    return path if isinstance(path, str) else uri
