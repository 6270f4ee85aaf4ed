"""examples/order_queue does what its README says."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from tests.examples.running import Example, wait_for


def _names(directory: Path) -> set[str]:
    return set(os.listdir(directory)) if directory.exists() else set()


def _queue(example: Example, name: str) -> dict[str, int]:
    [row] = [row for row in example.json("queues") if row["queue"] == name]
    found: dict[str, int] = row
    return found


def test_good_orders_are_taken_and_a_poison_one_becomes_a_dead_letter(
    started: Callable[[str], Example],
) -> None:
    """A poison event costs its own attempts and holds nobody else up."""
    example = started("order_queue")
    orders = (example.folder / "orders.ndjson").read_text()
    assert len(example.faasd("enqueue", "orders", "-", text=orders).split()) == 4

    [letter] = wait_for("a dead letter", lambda: example.json("dead-letters", "list"))
    assert letter["function"] == "take_order"
    assert letter["attempts"] == 3
    assert _names(example.folder / "out" / "orders") == {"A-1.json", "A-2.json", "A-4.json"}
    shown = example.json("dead-letters", "show", letter["id"])
    assert shown["event"]["body"]["id"] == "A-3"
    assert [record["outcome"] for record in shown["attempt_records"]] == ["error"] * 3
    assert _queue(example, "orders")["dead"] == 1


def test_a_redriven_order_succeeds_once_the_world_is_repaired(
    started: Callable[[str], Example],
) -> None:
    """A dead letter keeps its event, so nothing is lost while the bank is closed."""
    example = started("order_queue")
    closed = example.folder / "out" / "bank-is-closed"
    closed.parent.mkdir()
    closed.touch()
    order = {"id": "A-5", "article": "pears", "pieces": 2}
    example.faasd("enqueue", "orders", json.dumps(order))
    [letter] = wait_for("a dead letter", lambda: example.json("dead-letters", "list"))
    closed.unlink()
    example.faasd("dead-letters", "redrive", letter["id"])
    taken = example.folder / "out" / "orders" / "A-5.json"
    wait_for("the order is taken", taken.exists)
    wait_for("no dead letter is left", lambda: not example.json("dead-letters", "list"))


def test_only_the_parcel_without_an_address_is_tried_again(
    started: Callable[[str], Example],
) -> None:
    """In a batch, what the handler does not name as failed is done."""
    example = started("order_queue")
    parcels = (example.folder / "parcels.ndjson").read_text()
    example.faasd("enqueue", "parcels", "-", text=parcels)
    [letter] = wait_for("a dead letter", lambda: example.json("dead-letters", "list"))
    assert _names(example.folder / "out" / "parcels") == {"P-1.json", "P-3.json"}
    rows = example.invocations("--function", "ship_parcels")
    attempts = {row["state"]: row["attempts"] for row in rows}
    assert attempts == {"done": 1, "dead": 3}
    first = example.json("invocations", "show", letter["id"])["attempt_records"][0]
    assert first["batch_size"] == 3


def test_bookings_of_one_key_keep_their_order(started: Callable[[str], Example]) -> None:
    """One at a time, in order of arrival, however many slots are free."""
    example = started("order_queue")
    numbers = [str(number) for number in range(1, 9)]
    for number in numbers:
        booking = {"article": "apples", "number": int(number)}
        example.faasd("enqueue", "stock", json.dumps(booking), "--key", "apples")
    file = example.folder / "out" / "stock-apples.txt"
    wait_for(
        "all bookings are made",
        lambda: file.exists() and len(file.read_text().splitlines()) == len(numbers),
    )
    assert file.read_text().split() == numbers


def test_the_same_order_twice_is_taken_once(started: Callable[[str], Example]) -> None:
    """The second enqueue is acknowledged with the first one's id."""
    example = started("order_queue")
    order = json.dumps({"id": "A-6", "article": "plums", "pieces": 5})
    first = example.faasd("enqueue", "orders", order, "--dedup", "A-6")
    second = example.faasd("enqueue", "orders", order, "--dedup", "A-6")
    assert first == second
    wait_for("it is taken", (example.folder / "out" / "orders" / "A-6.json").exists)
    ran = [row for row in example.invocations() if row["state"] != "skipped"]
    assert len(ran) == 1


def test_an_order_enqueued_without_a_daemon_waits_for_one(
    started: Callable[[str], Example],
) -> None:
    """A script never loses an event because the daemon happens to be down."""
    example = started("order_queue")
    example.stop()
    order = {"id": "A-7", "article": "pears", "pieces": 1}
    example.faasd("enqueue", "orders", json.dumps(order))
    taken = example.folder / "out" / "orders" / "A-7.json"
    assert not taken.exists()
    example.start()
    wait_for("the order is taken", taken.exists)
