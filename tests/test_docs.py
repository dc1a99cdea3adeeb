"""The texts tell the truth: reference pages, commands, options, settings, links and the list of files."""

import os
import re
import shlex
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest
from typer import Typer

from filters.copies import FIELD
from policy.limits import Limits
from policy.options import BY_HEADER, BY_NAME, TAGS_HEADER, Options, settled
from smtpeter import reference
from smtpeter.__main__ import COMMANDS as SUBCOMMANDS
from smtpeter.__main__ import app, register, run
from smtpeter.commands.login import read_words
from smtpeter.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("policy", "journal", "filters", "web", "smtpeter")
NOT_OURS = {"var", "node_modules", "build", "dist"}

FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*?)$", re.MULTILINE)


def texts(root: Path) -> list[Path]:
    """Every Markdown file of the project."""
    found = []
    for folder, below, names in os.walk(root):
        below[:] = [name for name in below if not name.startswith(".") and name not in NOT_OURS]
        found += [Path(folder, name) for name in names if name.endswith(".md")]
    return sorted(found)


def prose(text: str) -> str:
    """A text without its code."""
    return CODE.sub("", FENCE.sub("", text))


def command_of(line: str) -> list[str]:
    """The words behind `smtpeter` of a line that runs it, by `./run` or by name; empty for other lines."""
    words = shlex.split(line, comments=True)
    if words[:1] == ["sudo"]:
        words = words[1:]
    match words:
        case ["./run", "--demo", *rest]:
            return ["demo", *rest]
        case ["./run", *rest]:
            return ["up", "--first-login", *rest]
        case ["smtpeter" | ".venv/bin/smtpeter", *rest]:
            return rest
    return []


def commands(text: str) -> Iterator[str]:
    """The lines of fenced `sh` blocks, and the code within sentences and tables, that run the command."""
    lines = [
        line.strip()
        for language, block in FENCE.findall(text)
        if language == "sh"
        for line in block.replace("\\\n", " ").splitlines()
    ]
    for line in [*lines, *CODE.findall(FENCE.sub("", text))]:
        if re.match(r"(?:sudo )?(?:\./run|(?:\.venv/bin/)?smtpeter)(?: |$)", line) and command_of(line):
            yield line


def leaves(typer: Typer, *before: str) -> Iterator[str]:
    """Every command a user sees, as it is typed."""
    for each in typer.registered_commands:
        if not each.hidden and each.callback is not None:
            yield " ".join((*before, each.name or each.callback.__name__))
    for group in typer.registered_groups:
        if group.typer_instance is not None:
            yield from leaves(group.typer_instance, *before, str(group.name))


def anchors(text: str) -> set[str]:
    """What the headings of a text can be linked by, as GitHub makes it."""
    titles = HEADING.findall(FENCE.sub("", text))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


TEXTS = [str(path.relative_to(ROOT)) for path in texts(ROOT)]
COMMANDS = sorted({(name, line) for name in TEXTS for line in commands((ROOT / name).read_text())})


@pytest.mark.parametrize("name", sorted(reference.pages()))
def test_a_reference_page_is_what_the_code_says(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == reference.pages()[name], "run tools/docs"


def test_the_reference_is_written_where_it_is_asked_for(tmp_path: Path) -> None:
    assert sorted(path.name for path in reference.main([str(tmp_path)])) == sorted(reference.pages())
    for name, text in reference.pages().items():
        assert (tmp_path / name).read_text() == text


def test_the_reference_has_every_option_and_every_key() -> None:
    options, settings = reference.options_page(), reference.settings_page()
    assert all(f"`{name}`" in options for name in (*BY_NAME, *BY_HEADER, TAGS_HEADER))
    for name, info in Settings.model_fields.items():
        assert f"`{name}`" in settings or f"`[{name}]`" in settings
        below = getattr(info.annotation, "model_fields", {})
        assert all(f"| `{key}` |" in settings for key in below)


@pytest.mark.parametrize(("text", "line"), COMMANDS)
def test_a_command_in_a_text_exists(text: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = command_of(line)
    # The help of a command is shown only where the command, and every option before --help, exists.
    assert run([*words, "--help"]) == 0, f"{text}: {line}: {capsys.readouterr().err}"
    given = [
        (before, word)
        for before, word in pairwise(words)
        if "=" in word and not word.startswith("-") and word not in ("OPTION=VALUE", "LIMIT=N")
    ]
    if words[:2] in (["login", "add"], ["login", "set"]):
        settled(Options(), frozenset(), read_words([word for before, word in given if before != "--limit"]))
    limits = [word for before, word in given if before == "--limit" or words[:2] == ["account", "limit"]]
    Limits().with_words(read_words(limits))


@pytest.mark.parametrize("line", ["smtpeter nosuch", "smtpeter login forget NAME", "smtpeter up --port 25", "sudo ./run --test"])
def test_a_command_that_does_not_exist_would_be_noticed(line: str) -> None:
    assert list(commands(f"```sh\n{line}\n```\n")) == [line]
    assert run([*command_of(line), "--help"]) == 2


def test_the_readme_has_every_command() -> None:
    told = {line for name, line in COMMANDS if name == "README.md"}
    register(*SUBCOMMANDS)
    for command in leaves(app):
        assert any(f"{line} ".startswith(f"smtpeter {command} ") for line in told), (
            f"README.md does not tell of smtpeter {command}"
        )


@pytest.mark.parametrize("name", TEXTS)
def test_a_field_named_in_a_text_is_one_of_ours(name: str) -> None:
    for field in re.findall(r"(?i)x-smtpeter-\w+", (ROOT / name).read_text()):
        # CONTRIBUTING has an option of its own to show how one is added.
        known = {*BY_HEADER, TAGS_HEADER, FIELD.decode().lower(), *(["x-smtpeter-emptyalt"] if name == "CONTRIBUTING.md" else [])}
        assert field.lower() in known, f"{name}: {field}"


def test_the_readme_has_every_option() -> None:
    text = (ROOT / "README.md").read_text()
    named = {field.lower() for field in re.findall(r"(?i)x-smtpeter-\w+", text)}
    assert named >= {*BY_HEADER, TAGS_HEADER}
    assert all(f"`{name}`" in text for name in BY_NAME)


@pytest.mark.parametrize("name", TEXTS)
def test_settings_in_a_text_are_settings(name: str) -> None:
    for language, block in FENCE.findall((ROOT / name).read_text()):
        if language == "toml":
            Settings(**tomllib.loads(block))


@pytest.mark.parametrize("name", TEXTS)
def test_no_link_is_dead(name: str) -> None:
    path = ROOT / name
    for target in LINK.findall(prose(path.read_text())):
        if re.match(r"[a-z]+:", target):
            continue  # elsewhere
        file, _, anchor = unquote(target).partition("#")
        there = path.parent / file if file else path
        assert there.exists(), f"{name}: {target}"
        assert not anchor or anchor in anchors(there.read_text()), f"{name}: {target}"


def test_every_decision_is_linked() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for page in (ROOT / "docs" / "adr").glob("*.md"):
        assert f"(docs/adr/{page.name})" in text


def test_the_architecture_lists_the_files_that_are_there() -> None:
    listed = set(re.findall(rf"^\| `((?:{'|'.join(ROOMS)})/\S+\.py)` \|", (ROOT / "ARCHITECTURE.md").read_text(), re.MULTILINE))
    # A package's own file is empty but for a sentence, unless it is a contract; then it is listed.
    there = {str(path.relative_to(ROOT)) for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    assert listed <= there, f"gone: {sorted(listed - there)}"
    missing = {path for path in there - listed if not path.endswith("__init__.py")}
    assert not missing, f"not listed in ARCHITECTURE.md: {sorted(missing)}"
