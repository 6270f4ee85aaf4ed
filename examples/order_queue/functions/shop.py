"""Takes orders, keeps the stock in order, and ships parcels in batches."""

from __future__ import annotations

import json
from pathlib import Path

from faasd import function, queue

OUT = Path(__file__).resolve().parent.parent / "out"


@function(triggers=[queue("orders")])
def take_order(event, context):
    order = event["body"]
    if order["pieces"] < 1:
        raise ValueError(f"order {order['id']} is for {order['pieces']} pieces")
    if (OUT / "bank-is-closed").exists():
        raise ConnectionError("the bank does not answer")
    # Named after the order, so that a repeated attempt writes the same file and not a second one.
    write_whole(OUT / "orders" / f"{order['id']}.json", json.dumps(order), event)
    print(f"order {order['id']} taken at attempt {context.attempt}")
    return {"order": order["id"], "attempt": context.attempt}


@function(triggers=[queue("stock")])
def book_stock(event, context):
    # One group key per article: the bookings of one article run one at a time, in order of arrival.
    booking = event["body"]
    OUT.mkdir(exist_ok=True)
    with (OUT / f"stock-{booking['article']}.txt").open("a", encoding="utf-8") as file:
        file.write(f"{booking['number']}\n")


@function(triggers=[queue("parcels", batch_size=10, batch_window="1s")])
def ship_parcels(event, context):
    failures = []
    for record in event["records"]:
        parcel = record["body"]
        if not parcel.get("address"):
            print(f"parcel {parcel['id']} has no address")
            failures.append({"itemIdentifier": record["id"]})
            continue
        write_whole(OUT / "parcels" / f"{parcel['id']}.json", json.dumps(parcel), record)
    # Only these are tried again; the others are done.
    return {"batchItemFailures": failures}


def write_whole(path: Path, text: str, event) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not the process id: in a sandbox it is nearly always the same small number.
    unfinished = path.with_name(f".{path.name}.{event['id']}")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
