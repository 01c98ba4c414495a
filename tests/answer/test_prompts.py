"""The wording of strategies: ours, a user's, and the blanks in it."""

import pytest

from samplewise.answer import prompts
from samplewise.answer.prompts import Prompts, Wording, load_prompts
from samplewise.errors import InputError, UsageError


@pytest.fixture
def ours(tmp_path, monkeypatch):
    folder = tmp_path / "ours"
    (folder / "greeter").mkdir(parents=True)
    (folder / "greeter" / "greet.txt").write_text("version 3\nHello, {name}!\n")
    (folder / "greeter" / "part.txt").write_text("version 1\nBye.\n\nCome {when}.\n")
    monkeypatch.setattr(prompts, "files", lambda _: folder)
    return folder


def test_blanks_are_filled_once():
    text = Prompts({"ask": Wording("{a} and {b}, {a}; {{x}} {1}", "1")})
    assert text.fill("ask", a="{b}", b="B", x="X") == "{b} and B, {b}; {X} {1}"
    with pytest.raises(KeyError):
        text.fill("ask", a="A", x="")


def test_the_version_is_no_part_of_the_text(ours):
    found = load_prompts("greeter")
    assert found.fill("greet", name="you") == "Hello, you!"
    assert found.fill("part", when="again") == "Bye.\n\nCome again."
    assert found.versions == {"greet": "3", "part": "1"}


def test_a_users_text_takes_the_place_of_ours(ours, tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "greet.txt").write_text("Ahoy, {name}.\n")
    found = load_prompts("greeter", tmp_path / "own")
    assert found.fill("greet", name="you") == "Ahoy, you."
    assert found.versions == {"greet": "own", "part": "1"}


def test_what_cannot_be_used_is_told(ours, tmp_path):
    own = tmp_path / "own"
    with pytest.raises(UsageError, match="no folder"):
        load_prompts("greeter", own)
    own.mkdir()
    (own / "greet.txt").write_text("Ahoy, {nmae}.\n")
    with pytest.raises(InputError, match=r"(?s)nmae.*use \{name\}"):
        load_prompts("greeter", own)
    (own / "greet.txt").rename(own / "gret.txt")
    with pytest.raises(UsageError, match=r"(?s)'gret'.*greet, part"):
        load_prompts("greeter", own)
