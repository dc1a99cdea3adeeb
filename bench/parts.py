"""Runs the benches of the parts, one after the other: CSS, links, DKIM, MIME, passwords.

    python -m bench.parts [PART...]

Each is a program of its own (`python -m bench.parts_css`) and prints a Markdown table; see bench/README.md.
"""

import argparse
import subprocess
import sys

PARTS = ("css", "links", "dkim", "mime", "auth")


def main() -> int:
    """The exit status: 0, or the highest of the parts that failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}; all without it")
    wanted = parser.parse_args().parts or PARTS
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    worst = 0
    for part in wanted:
        print(f"\n## {part}\n", flush=True)
        # A process each: what one of them imports or leaves in memory is not in the figures of the next.
        worst = max(worst, abs(subprocess.run((sys.executable, "-m", f"bench.parts_{part}"), check=False).returncode))
    return worst


if __name__ == "__main__":
    sys.exit(main())
