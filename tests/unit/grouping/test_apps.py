"""apps_groups.conf is read as Netdata reads it, and matches what Netdata matches."""

import pytest

from taskstream import resource
from taskstream.errors import ConfigError
from taskstream.grouping.apps import AppGroups, parse


def groups(text: str) -> AppGroups:
    return AppGroups(parse(text.splitlines(), "FILE"))


def words(line: str) -> list[str]:
    """Return group and patterns of a line, as they were read."""
    rules = parse([line], "FILE")
    stars = [f"{'*' * r.ends}{r.text.decode()}{'*' * r.begins}" for r in rules]
    return [rules[0].group, *stars] if rules else []


# --- syntax --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "read"),
    [
        ("web: nginx apache2", ["web", "nginx", "apache2"]),
        ("web:nginx", ["web", "nginx"]),
        ("web nginx", ["web", "nginx"]),
        ("\tweb :\t nginx\t", ["web", "nginx"]),
        ("web: a:b", ["web", "a", "b"]),
        ("web: 'a:b'", ["web", "a:b"]),
        ('web: "a b" c', ["web", "a b", "c"]),
        ("web: it's", ["web", "it's"]),
        ("web: 'it''s'", ["web", "it", "s"]),
        ("web: 'a'b", ["web", "a", "b"]),
        ("web: '' a", ["web", "a"]),
        ("'my group': a", ["my group", "a"]),
        ("web: a # b c", ["web", "a"]),
        ("web: a#b", ["web", "a#b"]),
        ("web: a* *b *c*", ["web", "a*", "*b", "*c*"]),
        ("web: a**", ["web", "a**"]),
        ("# web: a", []),
        ("  # web: a", []),
        ("", []),
        (" : ", []),
        ("web:", []),
    ],
)
def test_a_line_is_a_group_and_its_patterns(line, read):
    assert words(line) == read


@pytest.mark.parametrize("flags", ["-", "+", "-+", "+-"])
def test_flags_before_a_pattern_are_no_part_of_it(flags):
    (rule,) = parse([f"web: {flags}*nginx"], "FILE")
    assert (rule.text, rule.ends, rule.hidden) == (b"nginx", True, "-" in flags)


def test_a_group_may_be_hidden():
    rules = parse(["-web: a b"], "FILE")
    assert [(r.group, r.hidden) for r in rules] == [("web", True), ("web", True)]


def test_a_rule_knows_its_line():
    assert [r.line for r in parse(["", "web: a", "#", "db: b c"], "FILE")] == [2, 4, 4]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("web: 'nginx apache2", "FILE, line 2: the quote 'nginx apache2 is not closed"),
        (f"web: {'n' * 96}", f"FILE, line 2: pattern `{'n' * 96}` is longer than 95 bytes"),
        (f"{'w' * 101}: n", f"FILE, line 2: group `{'w' * 101}` is longer than 100 bytes"),
    ],
)
def test_a_wrong_line_is_told_with_its_place(line, said):
    with pytest.raises(ConfigError) as raised:
        parse(["", line], "FILE")
    assert str(raised.value) == said


def test_groups_are_listed_once_in_order_and_other_comes_last():
    assert groups("web: a\ndb: b\nweb: c\n").groups == ("web", "db", "other")
    assert groups("other: a\nweb: b\n").groups == ("other", "web")


# --- matching ------------------------------------------------------------------------------------

RULES = """\
exact: nginx
begin: ng*
end: *inx
line: *--web*
late: nginx postgres
"""


@pytest.mark.parametrize(
    ("comm", "group"),
    [
        ("nginx", "exact"),
        ("ng", "begin"),
        ("ngin", "begin"),
        ("inx", "end"),
        ("sphinx", "end"),
        ("sphin", None),
        ("NGINX", None),
        ("--web", None),
        ("postgres", "late"),
        ("postgres2", None),
        ("", None),
    ],
)
def test_the_first_rule_that_matches_the_name_wins(comm, group):
    assert groups(RULES).match(comm.encode()) == group


def test_a_rule_with_two_stars_looks_into_the_command_line():
    assert groups(RULES).match(b"python3", b"python3\0app.py\0--web\0") == "line"
    assert groups(RULES).match(b"python3", b"python3\0app.py\0") is None
    assert groups(RULES).match(b"--web", b"other\0") is None


def test_an_argument_ends_where_a_blank_stands_in_the_rule():
    rules = groups("web: '*app.py --web*'")
    assert rules.match(b"python3", b"python3\0app.py\0--web\0") == "web"


def test_names_and_command_lines_take_turns_in_the_order_of_the_file():
    assert groups(RULES).match(b"nginx", b"nginx\0--web\0") == "exact"
    assert groups(RULES).match(b"postgres", b"postgres\0--web\0") == "line"


def test_of_two_command_line_rules_the_first_wins():
    rules = groups("a: *x*\nb: *y*\n")
    assert rules.match(b"z", b"y x") == "a"


def test_without_a_command_line_the_names_decide():
    assert groups(RULES).match(b"postgres", None) == "late"


def test_a_star_alone_matches_everything():
    rules = groups("web: nginx\nother: *\n")
    assert rules.match(b"anything") == "other"
    assert rules.match(b"nginx") == "web"


def test_a_name_is_matched_the_same_however_often_it_is_asked_for():
    rules = groups(RULES)
    for number in range(10_000):
        rules.match(b"n%d" % number)
    assert [rules.match(b"nginx") for _ in range(3)] == ["exact"] * 3


def test_a_command_line_is_matched_the_same_however_often_it_is_asked_for():
    rules = groups(RULES)
    for number in range(500):
        assert rules.match(b"python3", b"%d\0--web\0" % number) == "line"
        assert rules.match(b"python3", b"%d\0" % number) is None
    long = b"x" * 5000
    for _ in range(2):
        assert rules.match(b"python3", b"--web" + long) == "line"
        assert rules.match(b"postgres", b"--web" + long) == "line"
        assert rules.match(b"nginx", b"--web" + long) == "exact"


def test_the_stock_file_is_right_and_puts_common_programs_where_they_belong():
    path = resource.stock("apps_groups.conf")
    rules = AppGroups(parse(path.read_text().splitlines(), str(path)))
    for comm, group in {
        "nginx": "web",
        "postgres": "databases",
        "sshd": "ssh",
        "systemd": "init",
        "kworker/0:1": "kernel",
        "cc1plus": "build",
        "python3.11": "python",
    }.items():
        assert rules.match(comm.encode()) == group
    assert rules.match(b"java", b"java\0-cp\0x\0kafka.Kafka\0server.properties\0") == "queues"
    assert rules.match(b"java", b"java\0-jar\0x.jar\0") == "java"
