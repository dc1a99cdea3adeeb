"""The role without a host: its variables, what it refuses and how it says so, what it writes; the linter of its trade.

Nothing of this host is changed: the role runs in check mode, and of its phases only the one that looks.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from base64 import b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

BIN = Path(sys.executable).parent
# What a test of one variable starts from.
GOOD: dict[str, Any] = {
    "smtpeter_hostname": "mail.example.com",
    "smtpeter_cluster": False,
    "smtpeter_minimum_memory": 1,
    "smtpeter_minimum_disk": 1,
}
SEVERAL = {
    "smtpeter_cluster": True,
    "smtpeter_master_key": b64encode(bytes(64)).decode(),
    "smtpeter_key_ring": f"0 1 1 {b64encode(bytes(64)).decode()}",
    "smtpeter_settings": {
        "database": "postgresql://db.example.com/policy",
        "journal": {"database": "postgresql://db.example.com/j"},
    },
}
# What is wrong, and what is said about it: by the role as a whole ...
WHOLE: dict[str, tuple[dict[str, Any], str]] = {
    "a choice": ({"smtpeter_tls": "starttls"}, "value of smtpeter_tls must be one of: own, acme, self-signed, got: starttls"),
    "a number": ({"smtpeter_keep_versions": "many"}, "smtpeter_keep_versions"),
    "a truth": ({"smtpeter_canary": "perhaps"}, "smtpeter_canary"),
    "a dictionary": ({"smtpeter_settings": ["web"]}, "smtpeter_settings"),
    "a part of a dictionary": ({"smtpeter_proxy_ports": {"imap": 143}}, "imap"),
    "a name without a domain": ({"smtpeter_hostname": "mail"}, "smtpeter_hostname cannot be mail"),
    "a name in capitals": ({"smtpeter_hostname": "Mail.example.com"}, "smtpeter_hostname cannot be Mail.example.com"),
    "a version": ({"smtpeter_version": "../1"}, "smtpeter_version cannot be ../1"),
    "no bundle": ({"smtpeter_bundle": ""}, "smtpeter_bundle is empty and no version is installed"),
    "another folder": ({"smtpeter_bundle": "/usr"}, "smtpeter_bundle is /usr, and there is no bundle"),
    "another bundle": ({"smtpeter_version": "0.0.9"}, "smtpeter 0.0.9 is not on the host and smtpeter_bundle holds"),
    "too little memory": ({"smtpeter_minimum_memory": 10**9}, "less than smtpeter_minimum_memory"),
    "too little disk": ({"smtpeter_minimum_disk": 10**9}, "less than smtpeter_minimum_disk"),
}
# ... and by the part of it that looks at variables together.
TOGETHER: dict[str, tuple[dict[str, Any], str]] = {
    "a list as text": ({"smtpeter_listen_addresses": "192.0.2.1"}, "smtpeter_listen_addresses is text"),
    "a reserved setting": ({"smtpeter_settings": {"data": "/srv"}}, "smtpeter_settings cannot hold data"),
    "a password in a URL": (
        {"smtpeter_settings": {"database": "postgresql://me:canary-4711@db/policy"}},
        "has a password in it: use smtpeter_database_password",
    ),
    "who may relay": (
        {"smtpeter_postfix_parameters": {"mynetworks": "0.0.0.0/0"}},
        "smtpeter_postfix_parameters cannot hold mynetworks",
    ),
    "a parameter of its own": (
        {"smtpeter_postfix_parameters": {"relayhost": "x"}},
        "smtpeter_postfix_parameters cannot hold relayhost",
    ),
    "no certificate": ({"smtpeter_tls": "own"}, "smtpeter_tls_certificate names no file"),
    "no key": ({"smtpeter_tls": "own", "smtpeter_tls_certificate": "/etc/hosts"}, "smtpeter_tls_key names no file"),
    "two on port 80": ({"smtpeter_tls": "acme", "smtpeter_acme_challenge": "standalone"}, "with Caddy on port 80 it is webroot"),
    "Caddy elsewhere": (
        {"smtpeter_caddy": True, "smtpeter_settings": {"web": {"address": "192.0.2.1"}}},
        "smtpeter_caddy goes with",
    ),
    "a secret twice": (
        {"smtpeter_key_ring": "canary-4711", "smtpeter_key_ring_file": "/etc/hosts"},
        "smtpeter_key_ring and smtpeter_key_ring_file exclude each other",
    ),
    "a secret's file": ({"smtpeter_master_key_file": "/nowhere"}, "smtpeter_master_key_file names no file"),
    "proxies unnamed": ({"smtpeter_proxy_ports": {"smtp": 20025}}, "smtpeter_proxy_networks is empty"),
    "several with SQLite": (SEVERAL | {"smtpeter_settings": {}}, "needs PostgreSQL URLs"),
    "several with keys of their own": (
        SEVERAL | {"smtpeter_key_ring": ""},
        "smtpeter_master_key and smtpeter_key_ring come from the vault",
    ),
}
REFUSED = WHOLE | TOGETHER
SETTINGS: dict[str, Any] = {
    "database": "",
    "postmaster": 'a"b\\c é 🎉 $x {{ "y" }}',
    "web": {"port": 8080, "checked": True, "proxies": ["127.0.0.1", "::1"], "https": False},
    "milter": {"deadline": 12.5},
    "keys": {"reload": ["rndc", "reload"]},
    "directory": {
        "attributes": {"label": "cn", "odd key.": "x"},
        "groups": [{"dn": "cn=a,dc=example", "options": {"trackclicks": "on"}}, {"dn": "cn=b", "account": "shop"}],
        "urls": [],
    },
}


@pytest.fixture(scope="session")
def folder(root: Path) -> Path:
    return root / "ansible"


@pytest.fixture(scope="session")
def role(folder: Path) -> Path:
    return folder / "roles" / "smtpeter"


@pytest.fixture(scope="session")
def specified(role: Path) -> dict[str, dict[str, Any]]:
    """The variables of the role, as meta/argument_specs.yml has them."""
    found: dict[str, dict[str, Any]] = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"][
        "options"
    ]
    return found


@pytest.fixture(scope="session")
def defaults(role: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((role / "defaults/main.yml").read_text())
    return found


@pytest.fixture(scope="session")
def bundle(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of this checkout, as another version than any that is installed."""
    made = tmp_path_factory.mktemp("bundle")
    command = (str(root / "tools/release"), "--version", "9.8.7", str(made))
    done = subprocess.run(command, env=os.environ | {"SMTPETER_VENV": sys.prefix}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture(scope="session")
def play(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Runs plays on this host without a change of it but by the plays' own modules; returns what was printed."""

    def run(plays: list[dict[str, Any]], *words: str) -> str:
        made = tmp_path_factory.mktemp("play")
        (made / "plays.json").write_text(json.dumps(plays))
        home = {
            "ANSIBLE_HOME": str(made),
            "ANSIBLE_ROLES_PATH": str(folder / "roles"),
            "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        }
        python = f"ansible_python_interpreter={sys.executable}"
        here = ("--inventory", "localhost,", "--connection", "local", "--extra-vars", python)
        command = (str(BIN / "ansible-playbook"), *here, *words, str(made / "plays.json"))
        environment = os.environ | home | {"ANSIBLE_NOCOLOR": "1", "PATH": f"{BIN}:{os.environ['PATH']}"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=made, timeout=240).stdout

    return run


@pytest.fixture(scope="session")
def answers(play: Callable[..., str], bundle: Path) -> dict[str, str]:
    """What the role said to each of REFUSED; "" where it refused nothing."""
    plays: list[dict[str, Any]] = []
    for name, (variables, _) in REFUSED.items():
        told = {"ansible.builtin.debug": {"msg": f"=={name}== {{{{ ansible_failed_result | to_json }}}}"}, "tags": "always"}
        part = {} if name in WHOLE else {"tasks_from": "combinations", "apply": {"tags": "always"}}
        tried = {"ansible.builtin.include_role": {"name": "smtpeter", **part}, "tags": "always"}
        given = GOOD | {"smtpeter_bundle": str(bundle)} | variables
        tasks = [{"block": [tried], "rescue": [told]}]
        plays.append({"hosts": "localhost", "gather_facts": not plays, "vars": given, "tasks": tasks})
    output = play(plays, "--check", "--diff", "-vvv", "--tags", "preflight")
    found = dict(re.findall(r'"msg": "==(.*?)== (.*)"', output))
    assert found.keys() == REFUSED.keys(), output[-3000:]
    found["everything"] = output
    return found


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_variable_is_refused_with_a_sentence(answers: dict[str, str], name: str) -> None:
    assert REFUSED[name][1] in answers[name]


def test_no_secret_is_printed_when_something_is_refused(answers: dict[str, str]) -> None:
    assert "canary-4711" not in answers["everything"]


def test_the_linter_is_content_with_the_strictest_profile(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "ansible"
    shutil.copytree(folder, copy)
    words = ("--offline", "--nocolor", "--strict", "--profile", "production")
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "ANSIBLE_HOME": str(tmp_path)}
    done = subprocess.run(
        (str(BIN / "ansible-lint"), *words), cwd=copy, env=environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Passed: 0 failure(s), 0 warning(s)" in done.stderr


def test_every_variable_has_a_type_a_meaning_and_a_default(specified: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    assert specified.keys() == defaults.keys()
    for name, option in specified.items():
        assert option["type"], name
        assert option["description"], name
        computed = "{{" in str(defaults[name])
        assert ("default" in option) != computed, name
        if not computed:
            assert option["default"] == defaults[name], name


def test_every_variable_is_used_and_every_used_one_is_specified(role: Path, specified: Mapping[str, Any]) -> None:
    texts = [path.read_text() for room in ("tasks", "templates", "vars", "handlers") for path in (role / room).rglob("*.*")]
    modules = {path.stem for path in (role / "library").glob("*.py")}
    used = {name for text in texts for name in re.findall(r"(?<![\w/.@-])smtpeter_[a-z0-9_]+", text)} - modules
    # Parameters of postfix/main.cf begin the same way, and so does a table of nftables.
    ours = {
        "smtpeter_run",
        "smtpeter_certificate",
        "smtpeter_key",
        "smtpeter_internal_port",
        "smtpeter_advertised_size",
        "smtpeter_proxy",
    }
    # Five names of secrets stand in a list, and each has a twin.
    used |= {f"{name}_file" for name in used if name.endswith(("_password", "_master_key", "_key_ring"))}
    assert used - ours == set(specified)


def test_every_task_that_has_a_secret_in_it_hides_it(role: Path) -> None:
    secret = re.compile(
        r"smtpeter_(?:\w+_password|master_key|key_ring)\b(?!_file)|__smtpeter_(?:password|ring|own_\w+|made_login)\b"
    )
    shown = []
    for path in (role / "tasks").glob("*.yml"):
        pending = list(yaml.safe_load(path.read_text()))
        while pending:
            task = pending.pop()
            pending += [inner for part in ("block", "rescue", "always") for inner in task.get(part, ())]
            words = {key: value for key, value in task.items() if key not in ("block", "rescue", "always", "when", "name")}
            used = secret.search(json.dumps(words))
            # A refusal says whether there is one, not which.
            if used and not task.get("no_log") and "ansible.builtin.assert" not in task:
                shown.append(f"{path.name}: {task['name']}")
    assert shown == []


def test_settings_are_written_as_the_toml_they_mean(play: Callable[..., str], role: Path, tmp_path: Path) -> None:
    target = tmp_path / "smtpeter.toml"
    task = {"ansible.builtin.template": {"src": str(role / "templates/smtpeter.toml.j2"), "dest": str(target), "mode": "0600"}}
    given = {name: value for name, value in SETTINGS.items() if name != "postmaster"}
    (tmp_path / "given.yml").write_text(yaml.safe_dump({"__smtpeter_toml": given}))
    text = {"__smtpeter_toml": "{{ given | combine({'postmaster': postmaster}) }}", "given": given}
    (tmp_path / "postmaster").write_text(SETTINGS["postmaster"])
    text["postmaster"] = f"{{{{ lookup('ansible.builtin.file', '{tmp_path}/postmaster') }}}}"
    output = play([{"hosts": "localhost", "gather_facts": False, "vars": text, "tasks": [task]}])
    assert target.exists(), output
    assert tomllib.loads(target.read_text()) == SETTINGS


def test_files_are_written_once_and_taken_away_once(play: Callable[..., str], folder: Path, tmp_path: Path) -> None:
    kept, gone = tmp_path / "new" / "a.conf", tmp_path / "old.conf"
    gone.write_text("old\n")
    wanted = {"smtpeter_files": {"files": {str(kept): "one\ntwo\n"}, "absent": [str(gone)], "mode": "0640"}, "register": "done"}
    shown = {"ansible.builtin.debug": {"msg": "=={{ done.changed }} {{ done.written }} {{ done.removed }}=="}}
    module = {"ANSIBLE_LIBRARY": str(folder / "roles/smtpeter/library")}
    plays = [{"hosts": "localhost", "gather_facts": False, "tasks": [wanted, shown]}]
    os.environ |= module
    try:
        looked = play(plays, "--check", "--diff")
        assert (kept.exists(), gone.exists()) == (False, True)
        assert "+two" in looked
        assert "-old" in looked
        assert f"==True ['{kept}'] ['{gone}']==" in looked
        assert f"==True ['{kept}'] ['{gone}']==" in play(plays)
        assert (kept.read_text(), kept.stat().st_mode & 0o777, gone.exists()) == ("one\ntwo\n", 0o640, False)
        assert "==False [] []==" in play(plays)
    finally:
        del os.environ["ANSIBLE_LIBRARY"]


@pytest.mark.parametrize(
    ("names", "days", "other_key", "said"),
    [
        ("mail.example.com", "30", True, "is not the key of"),
        ("mail.example.com", "-1", False, "has expired"),
        ("other.example.com", "30", False, "is not for mail.example.com"),
        ("", "30", False, "holds no certificate in PEM form"),
    ],
)
def test_a_certificate_is_looked_at_before_anything_is_replaced(
    role: Path, tmp_path: Path, names: str, days: str, other_key: bool, said: str
) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificate.write_text("nothing")
    new = (
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=x",
        "-keyout",
        str(key),
    )
    if names:
        # `openssl req` makes none that has expired, `openssl x509` does.
        subprocess.run(
            (*new, "-out", str(certificate), "-addext", f"subjectAltName=DNS:{names}"), check=True, capture_output=True
        )
        again = ("openssl", "x509", "-in", str(certificate), "-signkey", str(key), "-days", days, "-out", str(certificate))
        subprocess.run(again, check=True, capture_output=True)
    if other_key or not names:
        subprocess.run((*new, "-out", str(tmp_path / "another.pem")), check=True, capture_output=True)
    command = ("sh", str(role / "files/smtpeter-certificate"), str(certificate), str(key), "mail.example.com")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr


def test_the_examples_hold_no_variable_that_there_is_not(folder: Path, specified: Mapping[str, Any]) -> None:
    for path in (folder / "inventories").rglob("*.yml"):
        if "group_vars" in path.parts:
            names = {name for name in yaml.safe_load(path.read_text()) if not name.startswith("vault_")}
            assert names <= set(specified), path
