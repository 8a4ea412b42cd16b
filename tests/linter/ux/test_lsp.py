"""The language server, driven by a real client over a real pipe."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pygls")
from lsprotocol import types
from pygls.lsp.client import LanguageClient
from stemfirst_lint.lsp.server import make_server
from stemfirst_lint.lsp.state import State
from stemfirst_lint.source import lines_of

ROOT = Path(__file__).parents[3]
WAIT_S = 60


class Editor:
    """An editor with one workspace; remembers the newest diagnostics of each file."""

    def __init__(self, client: LanguageClient, folder: Path) -> None:
        self.client, self.folder = client, folder
        self.published: asyncio.Queue[types.PublishDiagnosticsParams] = asyncio.Queue()
        self.texts: dict[str, str] = {}
        self.registered: asyncio.Queue[types.Registration] = asyncio.Queue()

        @client.feature(types.CLIENT_REGISTER_CAPABILITY)
        def _registered(params: types.RegistrationParams) -> None:
            for each in params.registrations:
                self.registered.put_nowait(each)

        @client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
        def _published(params: types.PublishDiagnosticsParams) -> None:
            self.published.put_nowait(params)

    def uri(self, name: str) -> str:
        return (self.folder / name).as_uri()

    def open(self, name: str, text: str) -> None:
        self.texts[name] = text
        self.client.text_document_did_open(
            types.DidOpenTextDocumentParams(
                types.TextDocumentItem(self.uri(name), "python", 1, text)
            )
        )

    def change(self, name: str, text: str) -> None:
        self.texts[name] = text
        self.client.text_document_did_change(
            types.DidChangeTextDocumentParams(
                types.VersionedTextDocumentIdentifier(2, self.uri(name)),
                [types.TextDocumentContentChangeWholeDocument(text)],
            )
        )

    async def diagnostics(
        self, name: str, wanted: Callable[[list[types.Diagnostic]], bool]
    ) -> list[types.Diagnostic]:
        """Wait until a file's diagnostics are as wanted."""
        while True:
            params = await asyncio.wait_for(self.published.get(), WAIT_S)
            if params.uri == self.uri(name) and wanted(list(params.diagnostics)):
                return list(params.diagnostics)

    async def actions(self, name: str, place: types.Range) -> dict[str, types.CodeAction]:
        found = await self.client.text_document_code_action_async(
            types.CodeActionParams(
                types.TextDocumentIdentifier(self.uri(name)), place, types.CodeActionContext([])
            )
        )
        return {action.title: action for action in found or [] if not isinstance(
            action, types.Command)}  # fmt: skip

    def applied(self, name: str, action: types.CodeAction) -> str:
        """The text of a file after an edit, in UTF-16 units as a client counts."""
        assert action.edit is not None
        assert action.edit.changes is not None
        (edit,) = action.edit.changes[self.uri(name)]
        lines = lines_of(self.texts[name])
        assert edit.range.start.character == edit.range.end.character == 0
        lines[edit.range.start.line : edit.range.end.line] = [edit.new_text]
        return "".join(lines)


def drive(folder: Path, script: Callable[[Editor], Awaitable[None]]) -> None:
    """Start the server as an editor would, run a script, and end it properly."""

    async def session() -> None:
        client = LanguageClient("editor", "1")
        editor = Editor(client, folder)
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'sdk'}{os.pathsep}{ROOT / 'linter'}"}
        await client.start_io(sys.executable, "-m", "stemfirst.cli", "lsp", env=environment)
        uri = folder.as_uri()
        await asyncio.wait_for(
            client.initialize_async(
                types.InitializeParams(
                    types.ClientCapabilities(
                        workspace=types.WorkspaceClientCapabilities(
                            did_change_watched_files=types.DidChangeWatchedFilesClientCapabilities(
                                dynamic_registration=True
                            )
                        )
                    ),
                    root_uri=uri,
                    workspace_folders=[types.WorkspaceFolder(uri, "project")],
                )
            ),
            WAIT_S,
        )
        client.initialized(types.InitializedParams())
        try:
            await script(editor)
        finally:
            await asyncio.wait_for(client.shutdown_async(None), WAIT_S)
            client.exit(None)
            await client.stop()

    asyncio.run(session())


def codes(diagnostics: list[types.Diagnostic]) -> list[Any]:
    return [diagnostic.code for diagnostic in diagnostics]


def test_an_editor_sees_findings_of_what_is_typed_with_evidence_and_fixes(
    tmp_path, sources
) -> None:
    (tmp_path / "app.py").write_text(sources.good)

    async def script(editor: Editor) -> None:
        editor.open("app.py", sources.good)
        assert await editor.diagnostics("app.py", lambda found: True) == []
        editor.change("app.py", sources.bad)
        (found,) = await editor.diagnostics("app.py", lambda found: bool(found))
        assert (found.code, found.source) == ("SF301", "stemfirst")
        line = sources.bad.splitlines()[1]
        place = found.range
        assert line[place.start.character : place.end.character] == "{question}"
        assert found.related_information
        hover = await editor.client.text_document_hover_async(
            types.HoverParams(types.TextDocumentIdentifier(editor.uri("app.py")), place.start)
        )
        assert isinstance(hover.contents, types.MarkupContent)
        assert "`question` is a parameter of `ask`" in hover.contents.value
        nothing = await editor.client.text_document_hover_async(
            types.HoverParams(
                types.TextDocumentIdentifier(editor.uri("app.py")), types.Position(0, 0)
            )
        )
        assert nothing is None
        actions = await editor.actions("app.py", place)
        assert list(actions) == ["Move stable text to the front (SF301)", "Silence SF301 here"]
        fixed = editor.applied("app.py", actions["Move stable text to the front (SF301)"])
        assert fixed.index("Answer politely") < fixed.index("{question}")
        editor.change("app.py", fixed)
        assert await editor.diagnostics("app.py", lambda found: not found) == []
        assert (tmp_path / "app.py").read_text() == sources.good, "the server writes no file"

    drive(tmp_path, script)


def test_silencing_and_files_that_are_not_open(tmp_path, sources) -> None:
    (tmp_path / "prompts.py").write_text(
        f'PROMPT = "é𝄞 {{question}}\\n\\n{sources.long}"\n', "utf-8"
    )
    (tmp_path / "clean.py").write_text("x = 1\n")
    app = (
        "from prompts import PROMPT\n\ndef ask(client, question):\n"
        "    text = PROMPT.format(question=question)\n"
        '    client.create(messages=[{"role": "user", "content": text}])\n'
    )
    (tmp_path / "app.py").write_text(app)

    async def script(editor: Editor) -> None:
        editor.open("clean.py", "x = 1\n")
        (found,) = await editor.diagnostics("prompts.py", lambda found: bool(found))
        assert found.range.start.character == len('PROMPT = "é') + 2 + 1, "UTF-16 units"
        editor.texts["prompts.py"] = (tmp_path / "prompts.py").read_text("utf-8")
        actions = await editor.actions("prompts.py", found.range)
        silenced = editor.applied("prompts.py", actions["Silence SF301 here"])
        assert silenced.endswith('"  # stemfirst: ignore[SF301] reason\n')
        editor.open("prompts.py", silenced)
        assert await editor.diagnostics("prompts.py", lambda found: not found) == []
        editor.change("clean.py", "def f(:\n")
        (broken,) = await editor.diagnostics("clean.py", lambda found: bool(found))
        assert broken.severity == types.DiagnosticSeverity.Error
        assert "does not parse" in broken.message

    drive(tmp_path, script)


def test_what_does_not_parse_is_shown_where_and_what_changes_on_disk_is_seen(
    tmp_path, sources
) -> None:
    (tmp_path / "other.py").write_text(sources.bad)

    async def script(editor: Editor) -> None:
        editor.client.text_document_did_open(
            types.DidOpenTextDocumentParams(
                types.TextDocumentItem("untitled:Untitled-1", "python", 1, sources.bad)
            )
        )
        editor.open("app.py", "x = 1\n\ndef (\n")
        (found,) = await editor.diagnostics("app.py", lambda found: bool(found))
        assert found.range.start.line == 2
        await editor.diagnostics("other.py", lambda found: bool(found))
        asked = await asyncio.wait_for(editor.registered.get(), WAIT_S)
        assert asked.method == types.WORKSPACE_DID_CHANGE_WATCHED_FILES
        assert isinstance(asked.register_options, dict)
        patterns = [each["globPattern"] for each in asked.register_options["watchers"]]
        assert "**/*.{py,pyi,ipynb}" in patterns
        assert any(".md," in each and ".toml" in each for each in patterns)
        (tmp_path / "other.py").write_text(sources.good)
        editor.client.workspace_did_change_watched_files(
            types.DidChangeWatchedFilesParams(
                [types.FileEvent(editor.uri("other.py"), types.FileChangeType.Changed)]
            )
        )
        await editor.diagnostics("other.py", lambda found: not found)

    drive(tmp_path, script)


def test_edits_reach_the_lines_and_the_letters_that_the_editor_shows(tmp_path, sources) -> None:
    """Form feeds end no line for an editor, and a file's own encoding is not ours to judge."""
    text = "# coding: latin-1\nimport os\n\f\nNAME = 'é\u2028'\n".replace("\u2028", "\x85")
    text += sources.bad.replace("Answer politely", "Answer polïtely")

    async def script(editor: Editor) -> None:
        editor.open("app.py", text)
        (found,) = await editor.diagnostics("app.py", lambda found: bool(found))
        line = lines_of(text)[found.range.start.line]
        assert line[found.range.start.character :].startswith("{question}")
        actions = await editor.actions("app.py", found.range)
        fixed = editor.applied("app.py", actions["Move stable text to the front (SF301)"])
        assert fixed.index("Answer polïtely") < fixed.index("{question}")
        assert lines_of(fixed)[:4] == lines_of(text)[:4]
        editor.change("app.py", text.replace("é\x85", "€"))
        (refused,) = await editor.diagnostics("app.py", lambda found: found[0].code is None)
        assert refused.range.start.line == 3
        assert "'€' is not in latin-1, which the file declares" in refused.message

    drive(tmp_path, script)


def test_a_check_that_breaks_is_told_once_and_logged(caplog) -> None:
    class Broken(State):
        def check(self) -> set[str]:
            raise RuntimeError("a rule broke")

    async def run() -> list[str]:
        server = make_server()
        server.state = Broken(())
        told: list[str] = []
        server.window_show_message = lambda params: told.append(params.message)
        for _ in range(2):
            server._start()
            await asyncio.gather(*server._checks, return_exceptions=True)
            await asyncio.sleep(0)
        assert not server._checks
        return told

    (message,) = asyncio.run(run())
    assert "RuntimeError: a rule broke" in message
    assert caplog.text.count("RuntimeError: a rule broke") == 2


def test_work_on_files_waits_for_its_turn_beside_the_loop() -> None:
    gate = threading.Event()
    order: list[str] = []

    def first() -> None:
        assert threading.current_thread() is not threading.main_thread()
        gate.wait(30)
        order.append("first")

    async def run() -> None:
        server = make_server()
        waiting = asyncio.create_task(server.beside(first))
        then = asyncio.create_task(server.beside(lambda: order.append("second")))
        await asyncio.sleep(0)  # the loop goes on
        order.append("the loop")
        gate.set()
        await asyncio.gather(waiting, then)

    asyncio.run(run())
    assert order == ["the loop", "first", "second"]
