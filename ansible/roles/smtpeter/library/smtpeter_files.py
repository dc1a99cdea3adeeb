#!/usr/bin/python
"""The module smtpeter_files: several small files in one step, where one module call for each would take most of a run's time."""

import os
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
---
module: smtpeter_files
short_description: Several small text files in one step
description:
  - Writes files that differ and removes those that must not be there. Folders of files are made where they are missing.
  - A file changes in one step; check mode and diff are known.
options:
  files:
    description: The text of each file, by its path.
    type: dict
    default: {}
  absent:
    description: Paths of files that must not be there.
    type: list
    elements: path
    default: []
  mode:
    description: Mode of files and, with the bit to pass where there is one to read, of folders that are made. In octal.
    type: str
    default: "0644"
author:
  - the smtpeter authors
"""

EXAMPLES = """
- name: Copy the units
  smtpeter_files:
    files:
      /etc/systemd/system/smtpeter.target: "{{ lookup('ansible.builtin.file', 'systemd/smtpeter.target') }}\\n"
    absent: [/etc/systemd/system/smtpeter-old.service]
"""

RETURN = """
written:
  description: Paths that were written.
  returned: always
  type: list
removed:
  description: Paths that were removed.
  returned: always
  type: list
"""


def before(path):
    """What the file holds now; None where there is none."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def write(path, text, mode):
    """Puts the file in place in one step."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=mode | (mode & 0o444) >> 2)
    descriptor, name = tempfile.mkstemp(prefix=".smtpeter.", dir=path.parent)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        os.fchmod(file.fileno(), mode)
    Path(name).replace(path)


def main():
    """Runs the module."""
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "dict", "default": {}},
            "absent": {"type": "list", "elements": "path", "default": []},
            "mode": {"type": "str", "default": "0644"},
        },
        supports_check_mode=True,
    )
    mode = int(module.params["mode"], 8)
    written, removed, diff = [], [], []
    try:
        for name, text in sorted(module.params["files"].items()):
            path = Path(name)
            found = before(path)
            if found == text and path.stat().st_mode & 0o7777 == mode:
                continue
            written.append(name)
            diff.append({"before_header": name, "after_header": name, "before": found or "", "after": text})
            if not module.check_mode:
                write(path, text, mode)
        for name in module.params["absent"]:
            path = Path(name)
            if not path.is_file():
                continue
            removed.append(name)
            diff.append({"before_header": name, "after_header": name, "before": before(path), "after": ""})
            if not module.check_mode:
                path.unlink()
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}")
    module.exit_json(changed=bool(written or removed), written=written, removed=removed, diff=diff)


if __name__ == "__main__":
    main()
