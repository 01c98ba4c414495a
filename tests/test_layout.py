from __future__ import annotations

import pytest

from samplewise.layout import Layout, Rejection, find_layout

TALK = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]


@pytest.mark.parametrize(
    ("row", "exchange"),
    [
        ({"prompt": "a", "response": "b"}, ("a", "b")),
        ({"instruction": "a", "input": "b", "output": "c"}, ("a\nb", "c")),
        ({"instruction": "a", "input": "", "output": "c"}, ("a", "c")),
        ({"prompt": "", "response": "b"}, ("", "b")),
        ({"prompt": "a", "response": ""}, ("a", "")),
        ({"messages": TALK}, ("Hi.", "Hello.")),
        ({"messages": [*TALK, *TALK]}, ("Hi.\nHello.\nHi.", "Hello.")),
        ({"messages": [*TALK, {"role": "assistant", "content": None}]}, ("Hi.\nHello.", "")),
        ({"conversations": [{"value": "a"}, {"value": "b"}]}, ("a", "b")),
        (
            {"messages": [{"content": [{"text": "a"}, {"text": "b"}]}, {"content": "c"}]},
            ("a\nb", "c"),
        ),
        ({"prompt": TALK, "completion": [{"content": "c"}]}, ("Hi.\nHello.", "c")),
    ],
)
def test_a_row_is_split_into_prompt_and_response(row, exchange):
    layout = find_layout([row])
    assert layout.exchange(row) == exchange
    assert "\n".join(part for part in exchange if part) == layout.read(row)[0]


def test_an_optional_field_may_be_missing_from_the_prompt():
    layout = find_layout([{"instruction": "a", "input": "b", "output": "c"}])
    assert layout.exchange({"instruction": "a", "output": "c"}) == ("a", "c")


@pytest.mark.parametrize(
    ("layout", "row", "field", "reason"),
    [
        (Layout(("text",)), {"text": "a"}, "text", "has one part"),
        (Layout(("messages",)), {"messages": TALK[:1]}, "messages", "has one part"),
        (Layout(("messages",)), {"messages": []}, "messages", "has one part"),
        (Layout(("messages",)), {}, "messages", "has one part"),
        (Layout(("instruction", "input"), ("input",)), {"instruction": "a"}, "input", "no field"),
        (Layout(("prompt", "response")), {"prompt": "a", "response": 3}, "response", "not text"),
    ],
)
def test_what_is_no_exchange(layout, row, field, reason):
    with pytest.raises(Rejection, match=reason) as caught:
        layout.exchange(row)
    assert caught.value.field == field
