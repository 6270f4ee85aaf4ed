"""Sums up yesterday's sales every night, and notes free disk space every two seconds."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from faasd import cron, every, function

HERE = Path(__file__).resolve().parent.parent
REPORTS = HERE / "reports"
ZONE = ZoneInfo("Europe/Berlin")


@function(
    triggers=[
        cron(
            "30 2 * * *",
            timezone="Europe/Berlin",
            catch_up="latest",  # Down at half past two? One report is made at the next start.
            catch_up_window="3d",
            overlap="skip",
            name="nightly",
        )
    ],
    timeout="5m",
    read=["data"],
    write=["reports"],
)
def nightly_report(event, context):
    # The time that was meant, not the time that it is: a report that runs late, or again after
    # a failure, is still the report for its own day.
    meant_for = datetime.fromisoformat(event["scheduled_for"])
    day = (meant_for.astimezone(ZONE) - timedelta(days=1)).date().isoformat()
    totals = Counter()
    with (HERE / "data" / "sales.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            totals[row["article"]] += int(row["pieces"])
    report = {"day": day, "pieces": sum(totals.values()), "by_article": dict(totals)}
    write_whole(REPORTS / f"{day}.json", json.dumps(report, indent=2), context)
    print(f"report for {day}: {report['pieces']} pieces")
    return report


@function(
    triggers=[every("2s", overlap="skip", name="pulse")],
    timeout="10s",
    memory="64MiB",
    write=["reports"],
)
def disk_pulse(event, context):
    usage = shutil.disk_usage(HERE)
    free_percent = round(100 * usage.free / usage.total, 1)
    write_whole(REPORTS / "disk.json", json.dumps({"free_percent": free_percent}), context)
    return {"free_percent": free_percent}


def write_whole(path: Path, text: str, context) -> None:
    path.parent.mkdir(exist_ok=True)
    # Not the process id: in a sandbox it is nearly always the same small number.
    unfinished = path.with_name(f".{path.name}.{context.aws_request_id}")
    unfinished.write_text(text + "\n", encoding="utf-8")
    unfinished.replace(path)
