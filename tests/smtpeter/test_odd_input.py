"""Words of a command line that nobody means, such as a folder for a file or octets that are no UTF-8: never a traceback."""

import json
from pathlib import Path

import pytest

from journal.store import JournalStore
from smtpeter.output import print_json
from smtpeter.settings import Settings

NO_UTF8 = "\udcff"  # what Python makes of the octet 0xff (PEP 383)
EXPORT = ("journal", "export", "--type", "attempts", "--date", "2023-11-15")
LATIN = (
    b"From: a@example.com\r\nSubject: \xe9\r\nContent-Type: text/html; charset=iso-8859-1\r\n\r\n"
    b'<a href="http://example.com/">\xe9</a>\r\n'
)


@pytest.mark.parametrize("place", [".", "/", ""])
def test_an_export_into_a_folder_is_refused(smtpeter, store: JournalStore, place: str) -> None:
    assert "cannot be written: Is a directory" in smtpeter(*EXPORT, "--output", place, status=2)


def test_an_export_through_a_link_leaves_the_link(smtpeter, store: JournalStore, mailed, tmp_path: Path) -> None:
    store.insert([("", mailed)])
    file, link = tmp_path / "attempts.log", tmp_path / "latest.log"
    file.write_text("of yesterday")
    link.symlink_to(file.name)
    assert smtpeter(*EXPORT, "--output", str(link)) == ""
    assert link.is_symlink()
    assert mailed.id in file.read_text()
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix in (".log", ".new")) == ["attempts.log", "latest.log"]


@pytest.mark.parametrize("words", [("trace",), ("link", "disable"), ("link", "enable"), ("link", "show")])
@pytest.mark.parametrize("url", ["http://example.com/{}", "http://{}.example.com/", "http://example.com/?{}", "{}"])
def test_an_address_that_is_no_utf8(smtpeter, store: JournalStore, settings: Settings, words: tuple[str, ...], url: str) -> None:
    assert "\\udcff" in smtpeter(*words, url.format(NO_UTF8), status=2)


def test_json_of_octets_that_are_no_utf8(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    text = LATIN.decode("utf-8", "surrogateescape")
    print_json({"message": text, "plain": "\u00e9"})
    printed = capfdbinary.readouterr().out
    assert json.loads(printed.decode("utf-8"))["message"].encode("utf-8", "surrogateescape") == LATIN
    assert "\u00e9".encode() in printed


def test_a_message_that_is_no_utf8_is_previewed(shop, settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "message.eml"
    file.write_bytes(LATIN)
    name = json.loads(shop("login", "add", "--account", "shop", "--json", "trackclicks=true"))["name"]
    found = json.loads(shop("preview", str(file), "--login", name, "--to", f"{NO_UTF8}@example.net", "--json"))
    assert [link["before"] for link in found["links"]] == ["http://example.com/"]
    assert found["message"].encode("utf-8", "surrogateescape").startswith(b"From: a@example.com\r\nSubject: \xe9\r\n")
