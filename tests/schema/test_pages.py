"""What the pages point at is there: links, headings, files, verbs, options, targets of make."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from taskstream.cli import taskstream
from taskstream.config.option import OPTIONS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "DECISIONS.md", "CHANGELOG.md")]
PAGES += sorted(p for d in ("docs", "docker", "schemas") for p in (ROOT / d).rglob("*.md"))
TEXTS = {str(page.relative_to(ROOT)): page.read_text() for page in PAGES}

NETDATAS = {"run as user"}
"""Options of netdata.conf, which has sections of the same names."""

OTHERS = {"--add-opens", "--build-arg", "--security-opt"}
"""Options of other programs that stand alone."""

each_page = pytest.mark.parametrize("page", TEXTS)


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    headings = re.findall(r"^#+ (.*)$", prose, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def code(text: str) -> Iterator[str]:
    """Yield every line of code of a page: of fenced and indented blocks, and between backticks."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.S | re.M)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    for block in blocks:
        yield from block.replace("\\\n", " ").splitlines()
    yield from re.findall(r"^ {4,}(\S.*)$", rest.replace("\\\n", " "), re.M)
    yield from (re.sub(r"\s+", " ", span) for span in re.findall(r"`([^`]+)`", rest))


def commands(text: str) -> Iterator[tuple[str, click.Command, list[str]]]:
    """Yield each call of the command on a page: as it stands there, the verb, and what follows."""
    for line in code(text):
        for call in re.findall(r"(?:^|[\s/])taskstream ([a-z][^|>;&#]*)", line):
            try:
                words = shlex.split(call)
            except ValueError:
                continue
            verb: click.Command = taskstream
            while isinstance(verb, click.Group) and words and re.fullmatch(r"[a-z-]+", words[0]):
                found = verb.get_command(click.Context(verb), words.pop(0))
                assert found is not None, f"`taskstream {call}`: no such verb"
                verb = found
            yield f"taskstream {call}", verb, words


def options_of(verb: click.Command) -> set[str]:
    names = (o for p in verb.params for o in (*p.opts, *p.secondary_opts))
    return {"--help", "--version", *(name for name in names if name.startswith("-"))}


def every_command(verb: click.Command) -> Iterator[click.Command]:
    yield verb
    if isinstance(verb, click.Group):
        for name in verb.list_commands(click.Context(verb)):
            found = verb.get_command(click.Context(verb), name)
            assert found is not None
            yield from every_command(found)


@each_page
def test_every_link_leads_to_a_file_and_a_heading(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[page]):
        if "://" in target:
            continue
        name, _, heading = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), target
        if heading:
            assert heading in anchors(path.read_text()), target


@each_page
def test_every_file_that_is_named_exists(page: str) -> None:
    pattern = r"(?<![\w/.-])((?:docs|schemas|tests|docker|dashboards|bpf)/[\w./-]*\w)"
    for name in re.findall(pattern, TEXTS[page]):
        assert (ROOT / name).exists(), name


def test_every_page_that_the_program_names_exists() -> None:
    for path in [*(ROOT / "taskstream").rglob("*.py"), *(ROOT / "bpf").glob("*.[ch]")]:
        for name in re.findall(r"\b((?:docs|schemas)/[\w-]+\.\w+)", path.read_text()):
            assert (ROOT / name).exists(), f"{path}: {name}"


@each_page
def test_every_command_has_a_verb_and_options_that_exist(page: str) -> None:
    for call, verb, words in commands(TEXTS[page]):
        for word in words:
            if re.match(r"--?[a-z]", word):
                assert word.partition("=")[0] in options_of(verb), f"`{call}`: no {word}"


def test_there_are_commands_to_check() -> None:
    verbs = {verb.name for text in TEXTS.values() for _, verb, _ in commands(text)}
    every = (verb for verb in every_command(taskstream) if not isinstance(verb, click.Group))
    assert verbs >= {verb.name for verb in every}


@each_page
def test_every_option_that_is_named_alone_is_one_of_some_verb(page: str) -> None:
    known = set().union(*map(options_of, every_command(taskstream)))
    for line in code(TEXTS[page]):
        if named := re.match(r"--[a-z][a-z-]*", line):
            assert named[0] in known | OTHERS, line


@each_page
def test_every_option_of_a_configuration_that_is_named_exists(page: str) -> None:
    for line in code(TEXTS[page]):
        for section, option in re.findall(r"\[([a-z]+)\] ([a-z][a-z -]*[a-z])", line):
            if section != "kafka" and option not in NETDATAS:
                assert option in OPTIONS[section], line


@each_page
def test_every_target_of_make_exists(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for line in code(TEXTS[page]):
        for target in re.findall(r"(?:^|sudo |; |&& )make ([a-z][\w/-]*)", line):
            assert re.search(rf"^{re.escape(target)}\b.*:", makefile, re.M), line
