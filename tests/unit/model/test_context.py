"""The context is made by hand in a handler's unit test, and speaks to whatever stands behind it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from faasd.errors import FaasdError, UnknownQueue
from faasd.model.context import Context


class Answers:
    def __init__(self, reply: dict[str, Any]) -> None:
        self.reply = reply
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def request(self, op: str, fields: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((op, fields))
        return self.reply

    def notify(self, op: str, fields: dict[str, Any]) -> None:
        self.asked.append((op, fields))


def test_a_context_made_by_hand_has_lambdas_attributes() -> None:
    """memory_limit_in_mb is a string there."""
    context = Context("thumbnail", memory_bytes=512 * 2**20, timeout_s=10)
    assert context.function_name == "thumbnail"
    assert context.memory_limit_in_mb == "512"
    assert context.aws_request_id == context.invocation_id
    assert context.invoked_function_arn.endswith(":function:thumbnail")
    assert 9_000 < context.get_remaining_time_in_millis() <= 10_000
    assert Context(timeout_s=0).get_remaining_time_in_millis() == 0


def test_the_name_of_the_log_stream_is_of_the_day_of_the_attempt() -> None:
    """As Lambda has it; and a unit test may set its own."""
    context = Context("f", invocation_id="i1", function_version="7")
    day = time.strftime("%Y/%m/%d", time.localtime(context.deadline - 60))
    assert context.log_stream_name == f"{day}/[7]i1"
    context.log_stream_name = "mine"
    assert context.log_stream_name == "mine"


def test_requests_without_a_daemon_say_what_to_do() -> None:
    """The first thing that an author of tests meets."""
    with pytest.raises(RuntimeError, match="services="):
        Context().enqueue("q", 1)


def test_answers_become_values_and_refusals_errors_of_their_type() -> None:
    """An unknown type stays readable."""
    assert Context(services=Answers({"id": "q1"})).enqueue("q", 1) == "q1"
    assert Context(services=Answers({"result": [1]})).invoke("f") == [1]
    refused = {"error": {"type": "UnknownQueue", "message": "no q"}}
    with pytest.raises(UnknownQueue, match="no q"):
        Context(services=Answers(refused)).enqueue("q", 1)
    with pytest.raises(FaasdError, match="timeout: too slow"):
        Context(services=Answers({"error": {"type": "timeout", "message": "too slow"}})).invoke("f")


def test_progress_is_told() -> None:
    """Without waiting."""
    answers = Answers({})
    Context(services=answers).progress(0.5)
    assert answers.asked == [("progress", {"value": 0.5})]
    with pytest.raises(ValueError, match=r"takes 1,000 bytes of JSON, and this is 1,001"):
        Context(services=answers).progress("x" * 999)
    assert len(answers.asked) == 1


def test_a_secret_is_text_without_the_newline_of_its_editor_or_all_its_bytes() -> None:
    """One newline and no more: the others are meant."""
    context = Context(secrets={"a": b"x\n\n", "b": "y", "c": b"z\r\n", "raw": b"\xff\n"})
    assert [context.secret(name) for name in "abc"] == ["x\n", "y", "z"]
    assert context.secret_bytes("a") == b"x\n\n"
    assert context.secret_bytes("raw") == b"\xff\n"
    with pytest.raises(ValueError, match=r"use context.secret_bytes\('raw'\)") as caught:
        context.secret("raw")
    assert caught.value.__cause__ is None  # Which would show the bytes.


def test_a_secret_that_was_not_given_is_a_key_error_that_names_the_setting() -> None:
    """A handler's author reads this one line."""
    with pytest.raises(KeyError) as caught:
        Context("mailer", secrets={"a": "x"}).secret("b")
    assert str(caught.value) == (
        "the function 'mailer' is not given the secret 'b' (given: a); "
        'add it to the function\'s settings: secrets = ["b"]'
    )
