"""The exceptions of both packages hang on one root each, and stand in the tree that is drawn."""

import re
from pathlib import Path

import pytest
import stemfirst
import stemfirst_lint

_CLASS = re.compile(r"^class (\w+)\((\w+)[,)]", re.MULTILINE)


@pytest.mark.parametrize(
    ("package", "root"), [(stemfirst, "StemfirstError"), (stemfirst_lint, "LintError")]
)
def test_every_exception_is_drawn_below_the_root(package, root):
    folder = Path(package.__file__).parent
    texts = [path.read_text("utf-8") for path in folder.rglob("*.py")]
    parents = {name: parent for text in texts for name, parent in _CLASS.findall(text)}
    drawn = (folder / "errors.py").read_text("utf-8").split('"""')[1]
    found = {name for name in parents if name.endswith("Error") or parents[name] == root}
    assert len(found) > 5
    for name in found - {root}:
        above = name
        while above in parents:
            above = parents[above]
            if above == root:
                break
        assert above == root, f"{name} hangs on {above}"
        assert re.search(rf"── {name}\b", drawn), f"{name} is not drawn"
