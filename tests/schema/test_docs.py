"""The documents say what the code does."""

import re
from pathlib import Path

from taskstream.chart.chart import SCOPES
from taskstream.chart.state import STATES
from taskstream.chart.table import CHARTS
from taskstream.config.option import OPTIONS
from taskstream.sink.kafka_options import DEFAULTS
from taskstream.sink.prometheus import Metrics
from taskstream.stats import Account, RunTotals
from taskstream.topic import TopicPlan
from taskstream.vocabulary import VOCABULARIES
from tests.kernel.guest.table import DOCUMENT, document, kept

ROOT = Path(__file__).parents[2]


def test_docs_kafka_lists_every_setting_with_its_value() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| (\S+) \|", (ROOT / "docs/kafka.md").read_text(), re.M)
    expected = {name: str(value).lower() for name, value in DEFAULTS.items()}
    assert dict(rows) == expected


def test_every_option_of_the_readmes_configuration_exists() -> None:
    example = re.search(r"```ini\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert example
    section = ""
    for line in example[1].splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and section != "kafka":
            assert line.split("=")[0].strip() in OPTIONS[section], line


def test_docs_charts_lists_every_chart_with_both_formulas() -> None:
    rows = []
    for chart in CHARTS:
        for number, dimension in enumerate(chart.dimensions):
            context = "" if number else f"`{chart.context}`"
            name = dimension.name or f"each {SCOPES[chart.scope].groups}"
            theirs = dimension.netdata.text if chart.documented else ""
            rows.append([context, name, dimension.documented.text, theirs])
    text = (ROOT / "docs/charts.md").read_text()
    table = text.partition("| --- | --- | --- | --- |\n")[2].partition("\n\n")[0]
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert found == rows


def test_docs_charts_lists_every_label() -> None:
    text = (ROOT / "docs/charts.md").read_text()
    for name, scope in SCOPES.items():
        if scope.label:
            assert re.search(rf"^\| `{name}\.\*` \|.*\| `{scope.label}` \|$", text, re.M), name


def test_docs_charts_lists_every_state() -> None:
    text = (ROOT / "docs/charts.md").read_text()
    for state in STATES:
        dimensions = ", ".join(state.values)
        row = f"| `{state.chart.context}` | {dimensions} | {state.chart.unit} | "
        assert f"\n{row}{state.chart.title} |\n" in text


def test_docs_kernels_shows_the_results_that_are_kept() -> None:
    assert DOCUMENT.read_text() == document(kept())


def test_every_test_that_docs_delivery_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/delivery.md").read_text()))
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert named
    assert not [name for name in named if f"def {name}(" not in tests]


def test_docs_formats_lists_every_name_of_every_vocabulary() -> None:
    text = (ROOT / "docs/formats.md").read_text()
    for vocabulary in VOCABULARIES.values():
        part = text.partition(f"(`--format {vocabulary.name}`)\n")[2]
        assert vocabulary.version in part.partition("|")[0]
        table = part.partition("| --- | --- | --- |\n")[2].partition("\n\n")[0]
        expected = [
            f"| `{term.path}` | {' '.join(f'`{field}`' for field in term.fields)} | {term.how} |"
            for term in vocabulary.terms
        ]
        assert [re.sub(r" +", " ", row) for row in table.splitlines()] == [
            re.sub(r" +", " ", row) for row in expected
        ]


DELIVERY = (ROOT / "docs/delivery.md").read_text()


def test_every_path_that_docs_delivery_names_exists() -> None:
    paths = re.findall(r"\btests/[\w/]+(?:\.py)?", DELIVERY)
    paths += [f"docs/{target}" for target in re.findall(r"\]\(([^)#]+)", DELIVERY)]
    assert len(paths) > 4
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_knob_of_docs_delivery_is_an_option() -> None:
    knobs = re.findall(r"`\[(\w+)\] ([\w ]+)`", DELIVERY)
    assert len(knobs) > 10
    assert [knob for knob in knobs if knob[1] not in OPTIONS[knob[0]]] == []
    settings = DEFAULTS.keys() | TopicPlan().newer_config().keys()
    assert set(re.findall(r"`(queue\.[\w.]+|message\.[\w.]+)`", DELIVERY)) <= settings


def test_docs_delivery_lists_every_fate_of_the_closing_line() -> None:
    account = Account(received=6, delivered=1, rejected=1, dropped=1, spooled=1)
    totals = RunTotals(counted=9, read=6, lost=2, running=0, missed=1, account=account)
    counters = DELIVERY.partition("## The counters")[2]
    for fate in ("lost", "missed", "dropped", "rejected", "unacknowledged"):
        assert f"`{fate}`" in counters
    for fate in re.findall(r"([a-z]+) [\d,]+", totals.line().partition("= received")[2]):
        assert f"`{fate}`" in DELIVERY or fate == "delivered"


def test_docs_delivery_names_every_cause_of_the_metric_of_losses() -> None:
    metrics = Metrics("host")
    for cause in metrics._lost:
        assert f"`{cause}`" in DELIVERY.partition("`taskstream_lost_events_total`")[2]
