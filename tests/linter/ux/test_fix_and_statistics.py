"""`check --fix` changes no text that a model reads; `check --statistics` counts."""

import json


def test_check_fix_sorts_a_set_and_leaves_what_only_a_new_order_would_mend(
    stemfirst, sources, tmp_path
) -> None:
    (tmp_path / "sets.py").write_text(sources.sets)
    (tmp_path / "bad.py").write_text(sources.bad)
    done = stemfirst("check", "--fix")
    assert done.returncode == 1, done.stderr
    assert "Fixed 1 finding. Found 1 finding in 1 file" in done.stdout
    assert "list(sorted(" in (tmp_path / "sets.py").read_text()
    assert (tmp_path / "bad.py").read_text() == sources.bad


def test_check_fix_is_clean_when_nothing_is_left(stemfirst, sources, tmp_path) -> None:
    (tmp_path / "sets.py").write_text(sources.sets)
    done = stemfirst("check", "--fix")
    assert (done.returncode, done.stdout) == (
        0,
        "Fixed 1 finding. No findings in 1 file with 1 prompt.\n",
    )


def test_check_fix_that_cannot_write_says_so_and_fails(stemfirst, sources, tmp_path) -> None:
    (tmp_path / "sets.py").write_text(sources.sets)
    (tmp_path / "broken.py").write_text("def f(:\n")
    done = stemfirst("check", "--fix")
    assert done.returncode == 2
    assert done.stderr.count("broken.py") == 1


def test_statistics_count_by_rule_and_tell_how_many_prompts_were_seen(
    stemfirst, sources, tmp_path
) -> None:
    (tmp_path / "bad.py").write_text(sources.bad)
    (tmp_path / "again.py").write_text(sources.bad)
    (tmp_path / "good.py").write_text(sources.good)
    (tmp_path / "nothing.py").write_text("x = 1\n")
    done = stemfirst("check", "--statistics")
    assert done.returncode == 1
    row, seen = done.stdout.splitlines()
    assert row.split()[:3] == ["2", "SF301", "hole-before-static"]
    assert seen == "3 prompts in 4 files"
    (counted,) = json.loads(stemfirst("check", "--statistics", "--output-format=json").stdout)
    assert (counted["code"], counted["count"], counted["fixable"]) == ("SF301", 2, 2)
