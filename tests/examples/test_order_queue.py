"""examples/order_queue does what its README says."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests.examples.running import Example, wait_for


def _names(directory: Path) -> set[str]:
    return set(os.listdir(directory)) if directory.exists() else set()


def _dead(example: Example, function: str, number: str) -> dict[str, Any] | None:
    """Return the dead letter of an order or parcel."""
    for letter in example.dead_letters(function=function):
        shown = example.client.invocation(letter["id"])
        if shown["event"]["body"]["id"] == number:
            return shown
    return None


def test_good_orders_are_taken_and_a_poison_one_becomes_a_dead_letter(
    order_queue: Example,
) -> None:
    """A poison event costs its own attempts and holds nobody else up."""
    orders = (order_queue.folder / "orders.ndjson").read_text()
    assert len(order_queue.faasd("enqueue", "orders", "-", text=orders).split()) == 4

    letter = wait_for("a dead letter", lambda: _dead(order_queue, "take_order", "A-3"))
    assert [record["outcome"] for record in letter["attempt_records"]] == ["error"] * 3
    taken = {"A-1.json", "A-2.json", "A-4.json"}
    wait_for("the others are taken", lambda: _names(order_queue.folder / "out/orders") == taken)
    shown = order_queue.json("dead-letters", "show", letter["id"])
    assert "0 pieces" in json.dumps(shown)
    [row] = [row for row in order_queue.json("queues") if row["queue"] == "orders"]
    assert row["dead"] == 1


def test_a_redriven_order_succeeds_once_the_world_is_repaired(order_queue: Example) -> None:
    """A dead letter keeps its event, so nothing is lost while the bank is closed."""
    closed = order_queue.folder / "out" / "bank-is-closed"
    closed.parent.mkdir(exist_ok=True)
    closed.touch()
    order = {"id": "A-5", "article": "pears", "pieces": 2}
    order_queue.faasd("enqueue", "orders", json.dumps(order))
    letter = wait_for("a dead letter", lambda: _dead(order_queue, "take_order", "A-5"))
    closed.unlink()
    order_queue.faasd("dead-letters", "redrive", letter["id"])
    wait_for("it is taken", (order_queue.folder / "out" / "orders" / "A-5.json").exists)
    wait_for("it is no dead letter", lambda: _dead(order_queue, "take_order", "A-5") is None)


def test_only_the_parcel_without_an_address_is_tried_again(order_queue: Example) -> None:
    """In a batch, what the handler does not name as failed is done."""
    parcels = (order_queue.folder / "parcels.ndjson").read_text()
    order_queue.faasd("enqueue", "parcels", "-", text=parcels)
    letter = wait_for("a dead letter", lambda: _dead(order_queue, "ship_parcels", "P-2"))
    assert letter["attempt_records"][0]["batch_size"] == 3
    assert _names(order_queue.folder / "out" / "parcels") == {"P-1.json", "P-3.json"}
    rows = order_queue.invocations(function="ship_parcels")
    assert sorted((row["state"], row["attempts"]) for row in rows) == [
        ("dead", 3),
        ("done", 1),
        ("done", 1),
    ]


def test_bookings_of_one_key_keep_their_order(order_queue: Example) -> None:
    """One at a time, in order of arrival, however many slots are free."""
    numbers = [str(number) for number in range(1, 6)]
    for number in numbers:
        booking = {"article": "apples", "number": int(number)}
        order_queue.faasd("enqueue", "stock", json.dumps(booking), "--key", "apples")
    file = order_queue.folder / "out" / "stock-apples.txt"
    wait_for(
        "all bookings are made",
        lambda: file.exists() and len(file.read_text().splitlines()) == len(numbers),
    )
    assert file.read_text().split() == numbers


def test_the_same_order_twice_is_taken_once(order_queue: Example) -> None:
    """The second enqueue is acknowledged with the first one's id."""
    order = json.dumps({"id": "A-6", "article": "plums", "pieces": 5})
    first = order_queue.faasd("enqueue", "orders", order, "--dedup", "A-6")
    second = order_queue.faasd("enqueue", "orders", order, "--dedup", "A-6")
    assert first == second
    wait_for("it is taken", (order_queue.folder / "out" / "orders" / "A-6.json").exists)
    shown = order_queue.client.invocation(first.strip())
    assert shown["attempts"] == 1
    [duplicate] = order_queue.invocations(state="skipped")
    assert duplicate["outcome"] == "duplicate"


def test_an_order_enqueued_without_a_daemon_waits_for_one(order_queue: Example) -> None:
    """A script never loses an event because the daemon happens to be down."""
    order_queue.stop()
    order = {"id": "A-7", "article": "pears", "pieces": 1}
    order_queue.faasd("enqueue", "orders", json.dumps(order))
    taken = order_queue.folder / "out" / "orders" / "A-7.json"
    assert not taken.exists()
    order_queue.start()
    wait_for("the order is taken", taken.exists)
