"""What inlining costs: css-inline alone, ours on top of it, the same skeleton again, its splicing and its check, and juice.

    python -m bench.parts_css [--rounds N] [--no-juice]

Prints a Markdown table: medians of interleaved rounds in milliseconds, and what each is to css-inline in the same round.
juice (npm) runs in one long-lived node process that takes its own times; where it is missing, npm puts it into
`bench/node_modules`. The templates of the corpus are used where it is at hand: SMTPETER_CORPUS, or ../shared/corpus.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import css_inline

from bench.newsletter import newsletter
from filters import inline_css
from filters.inline_css import inline
from filters.mail.draft import spliced
from filters.mail.judge import is_sound
from filters.mail.outline import Outline

HERE = Path(__file__).resolve().parent
JUICE = "juice@12.2.0"
SIZES = (3_600, 31_000, 79_000, 118_000)
GOAL, GOAL_OF_JUICE = 2.5, 0.25

# One line of JSON asks for a set of documents to be inlined, one line of JSON answers with the milliseconds it took.
SERVER = """
import juice from "juice";
import { createInterface } from "node:readline";
for await (const line of createInterface({ input: process.stdin })) {
  const documents = JSON.parse(line);
  const begin = process.hrtime.bigint();
  for (const html of documents) juice(html, { removeStyleTags: false });
  console.log(Number(process.hrtime.bigint() - begin) / 1e6);
}
"""

Way = Callable[[list[str]], float]
"""Inlines the documents and returns the milliseconds it took."""


def samples() -> Iterator[tuple[str, list[str]]]:
    """Each sample: what it is, and its documents."""
    generated = {size: newsletter(size) for size in SIZES}
    for size, html in generated.items():
        yield f"newsletter of {size / 1000:g} kB", [html]
    corpus = Path(os.environ.get("SMTPETER_CORPUS") or HERE.parent.parent / "shared" / "corpus") / "html"
    templates = [path.read_text("utf-8") for path in sorted(corpus.glob("*.html"))]
    if templates:
        yield f"{len(templates)} templates", templates
    yield "all", [*templates, *generated.values()]


def timed(call: Callable[[str], object]) -> Way:
    """The way that calls `call` with each document."""

    def run(documents: list[str]) -> float:
        begin = time.perf_counter()
        for html in documents:
            call(html)
        return (time.perf_counter() - begin) * 1e3

    return run


def anew(html: str) -> None:
    """Inlines a document as if it were the first of its skeleton."""
    inline_css._REMEMBERED.clear()
    inline(Outline(html))


def again(documents: list[str]) -> float:
    """The milliseconds of inlining each document as the second of its skeleton."""
    taken = 0.0
    for html in documents:
        inline(Outline(html))
        begin = time.perf_counter()
        inline(Outline(html))
        taken += time.perf_counter() - begin
    return taken * 1e3


def ways(documents: list[str]) -> dict[str, Way]:
    """What is measured in this process; splicing and the check get what `inline` found beforehand."""
    found = {html: inline(Outline(html)).splices for html in documents}
    assert all(is_sound(splices, Outline(html)) and splices for html, splices in found.items())
    return {
        "css-inline": timed(css_inline.CSSInliner(load_remote_stylesheets=False, keep_style_tags=True).inline),
        "inline": timed(anew),
        "again": again,
        "splice": timed(lambda html: spliced(html, found[html])),
        "check": timed(lambda html: is_sound(found[html], Outline(html))),
    }


@contextmanager
def juice() -> Iterator[Way | None]:
    """The way that asks juice; None where there is no node, or no npm to get juice with."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and not (HERE / "node_modules" / "juice").is_dir():
        install = (npm, "install", "--silent", "--no-save", "--no-package-lock", "--no-audit", "--no-fund", JUICE)
        subprocess.run(install, cwd=HERE, check=False)
    if not node or not (HERE / "node_modules" / "juice").is_dir():
        yield None
        return
    command = (node, "--input-type=module", "-e", SERVER)
    with subprocess.Popen(command, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        questions, answers = process.stdin, process.stdout
        assert questions is not None
        assert answers is not None

        def ask(documents: list[str]) -> float:
            questions.write(json.dumps(documents) + "\n")
            questions.flush()
            return float(answers.readline())

        yield ask
        questions.close()


def measure(documents: list[str], asked: dict[str, Way], rounds: int) -> dict[str, tuple[float, float]]:
    """Of each way, the median of its milliseconds and of its ratio to css-inline in the same round; one round warms up."""
    taken: dict[str, list[float]] = {name: [] for name in asked}
    for number in range(rounds + 1):
        for name, way in asked.items():
            milliseconds = way(documents)
            if number:
                taken[name].append(milliseconds)
    base = taken["css-inline"]
    return {
        name: (statistics.median(times), statistics.median(time / alone for time, alone in zip(times, base, strict=True)))
        for name, times in taken.items()
    }


def cell(milliseconds: float, ratio: float) -> str:
    """One cell of the table."""
    return f"{milliseconds:.2f} ({ratio:.2f} x)"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--no-juice", action="store_true", help="leave juice out")
    arguments = parser.parse_args()
    print("| documents | kB | css-inline ms | inlining | again | splicing | check | juice | inlining to juice |")
    print("|---|---|---|---|---|---|---|---|---|")
    with juice() as asking:
        for name, documents in samples():
            asked = ways(documents)
            if asking and not arguments.no_juice:
                asked["juice"] = asking
            found = measure(documents, asked, max(arguments.rounds // len(documents), 10))
            to_juice = found["inline"][0] / found["juice"][0] if "juice" in found else None
            print(
                f"| {name} | {sum(map(len, documents)) / 1000:.0f} | {found['css-inline'][0]:.2f} "
                f"| {' | '.join(cell(*found[way]) for way in ('inline', 'again', 'splice', 'check'))} "
                f"| {cell(*found['juice']) if to_juice else 'not at hand'} | {f'{to_juice:.2f}' if to_juice else ''} |",
                flush=True,
            )
    print(f"\nInlining and splicing all: {_met(found['inline'][1] + found['splice'][1], GOAL)} x css-inline", end="")
    print(f", {_met(to_juice, GOAL_OF_JUICE)} of juice." if to_juice else ".")


def _met(figure: float, goal: float) -> str:
    return f"{figure:.2f} (goal <= {goal:g}, {'met' if figure <= goal else '**missed**'})"


if __name__ == "__main__":
    main()
