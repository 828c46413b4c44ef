"""``--kafka key=value``: split at the first equals sign, secrets looked up, errors without them."""

import pytest

from taskstream.cli.option import kafka_settings
from taskstream.errors import ConfigError


def test_a_setting_is_split_at_its_first_equals_sign():
    given = ("linger.ms=50", "sasl.oauthbearer.config=a=b c=d", " client.id = x ", "empty=")
    assert kafka_settings(given) == {
        "linger.ms": "50",
        "sasl.oauthbearer.config": "a=b c=d",
        "client.id": "x",
        "empty": "",
    }


def test_the_last_of_two_settings_of_one_name_counts():
    assert kafka_settings(("linger.ms=5", "linger.ms=50")) == {"linger.ms": "50"}


def test_a_secret_is_looked_up(monkeypatch):
    monkeypatch.setenv("TASKSTREAM_TEST_SECRET", "hunter2")
    given = ("sasl.password=${env:TASKSTREAM_TEST_SECRET}",)
    assert kafka_settings(given) == {"sasl.password": "hunter2"}


def test_a_secret_that_is_not_there_is_told_with_its_setting(monkeypatch):
    monkeypatch.delenv("TASKSTREAM_TEST_SECRET", raising=False)
    with pytest.raises(ConfigError, match=r"^--kafka sasl.password: the environment has no"):
        kafka_settings(("sasl.password=${env:TASKSTREAM_TEST_SECRET}",))


@pytest.mark.parametrize("text", ["linger.ms", "=50", "", "linger.ms:50"])
def test_what_is_no_setting_is_told(text):
    with pytest.raises(ConfigError, match=r"^--kafka: expected KEY=VALUE"):
        kafka_settings((text,))


@pytest.mark.parametrize("text", ["sasl.password hunter2", "sasl.password:hunter2", "=hunter2"])
def test_no_error_shows_what_may_be_a_secret(text):
    with pytest.raises(ConfigError) as raised:
        kafka_settings((text,))
    assert "hunter2" not in str(raised.value)
