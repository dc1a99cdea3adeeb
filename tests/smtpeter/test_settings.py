import socket
from pathlib import Path
from urllib.parse import unquote

import pytest

from smtpeter.errors import UserError
from smtpeter.settings import _own_name, load


def test_every_key_has_a_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load(None)
    assert settings.data == tmp_path / "var"
    assert settings.listen.ports == (25, 587, 465)
    assert settings.database_url == f"sqlite:///{tmp_path}/var/policy.db"
    assert settings.contact == f"postmaster@{settings.hostname}"
    assert settings.milter_workers >= 2


def test_the_file_in_the_current_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("smtpeter.toml").write_text('hostname = "mail.example.com"\n')
    assert load(None).contact == "postmaster@mail.example.com"


def test_the_name_of_the_host_comes_from_the_host_alone(tmp_path: Path) -> None:
    name, hosts = socket.gethostname(), tmp_path / "hosts"
    for text, expected in (
        (f"127.0.1.1 {name}.example.com {name} # ours\n", f"{name}.example.com"),
        (f"127.0.0.1 localhost\n# 10.0.0.1 {name}.example.com {name}\n", name),
        ("", name),
    ):
        hosts.write_text(text)
        assert _own_name(hosts) == expected
    assert _own_name(tmp_path / "none") == name


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text('data = "here"\n[tls]\ncertificate = "c.pem"\nkey = "/k.pem"\n')
    settings = load(file)
    assert settings.data == tmp_path / "here"
    assert settings.certificate == tmp_path / "c.pem"
    assert settings.certificate_key == Path("/k.pem")


def test_the_folder_on_the_command_line_wins(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text('data = "here"\n')
    assert load(file, tmp_path / "there").data == tmp_path / "there"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("colour = 1", "there is no setting 'colour'"),
        ("[listen]\nport = 25", "there is no setting 'listen.port'"),
        ("[listen]\nports = [25, 587]", r"listen\.ports\.2 .*required|listen\.ports.2"),
        ("[listen]\nports = [25, 587, 70000]", r"listen\.ports\.2 cannot be 70000: .*65535"),
        ("[milter]\nworkers = 'many'", r"milter\.workers cannot be 'many'"),
        ("[milter]\ndeadline = 60", r"milter\.deadline cannot be 60: .*25"),
        ("[keys]\nreload = 'rndc reload'", r"keys\.reload cannot be 'rndc reload': it takes a list such as"),
        ("[tls]\nkey = 'k.pem'", "go together"),
        ("hostname =", "is no TOML"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "s.toml"
    file.write_text(text)
    with pytest.raises(UserError, match=sentence) as caught:
        load(file)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.toml cannot be read: No such file"):
        load(tmp_path / "none.toml")


def test_a_secret_comes_from_the_service_manager_where_it_hands_one_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, handed = tmp_path / "s.toml", tmp_path / "credentials"
    file.write_text(
        'data = "here"\ndatabase = "postgresql://smtpeter@db.example.com/smtpeter"\ndatabase_password_file = "secret/database"\n'
        '[canary]\nlogin = "x"\npassword_file = "secret/canary"\n'
    )
    settings = load(file)
    assert settings.master_key_file == tmp_path / "here" / "master.key"
    assert settings.canary.password_file == tmp_path / "secret" / "canary"
    assert unquote(settings.database_url).endswith(f"/smtpeter?password_file={tmp_path}/secret/database")
    assert settings.usage_url == settings.database_url
    handed.mkdir()
    for name in ("master.key", "database"):
        (handed / name).write_text("x")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(handed))
    settings = load(file)
    assert settings.master_key_file == handed / "master.key"
    assert settings.ring_file == tmp_path / "here" / "keys.ring"
    assert settings.database_password_file == handed / "database"
    assert settings.canary.password_file == tmp_path / "secret" / "canary"
