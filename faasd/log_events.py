"""Every event of the daemon's own log, and what it tells somebody who runs a server.

docs/log-events.md is made of this; levels and fields are read from where the events are logged.
"""

from __future__ import annotations

__all__ = ["EVENTS"]

EVENTS = {
    # The daemon.
    "problem_found": (
        "The configuration or a function has a mistake; what it concerns is left out, the rest runs. "
        "`faasd check` shows all of them."
    ),
    "function_refused": (
        "A strict function is promised a wall that this host cannot build. Its events wait; the reason "
        "says what to do."
    ),
    "function_kept": "The function's new code is broken, so what was in service before stays; the reason says why.",
    "wall_missing": "Functions run without a wall that they are promised. `faasd doctor` has the remedy.",
    "daemon_ready": "Events are accepted and run.",
    "daemon_stopping": "No new work is begun; what runs may finish for `drain_timeout`.",
    "attempts_drained": "These attempts were ended by the stop. They go back to their queues, uncharged.",
    "daemon_stopped": "The stop was orderly.",
    "daemon_broke": (
        "A part of the daemon failed by a mistake of faasd's; it stops and ends with 1, so that a "
        "supervisor starts it again. Please report it."
    ),
    "configuration_reloaded": "What the configuration and the code say now is in force; so many functions have changed.",
    "reload_refused": "The configuration has a mistake that concerns everything; what was in force stays so.",
    "reload_incomplete": "Part of a reload could not be done; the rest is in force. The reason says what.",
    "intake_rules_not_kept": "What an enqueue without a daemon goes by could not be written; it goes by what was in force before.",
    "reload_broke": "A reload failed by a mistake of faasd's; what was in force stays so. Please report it.",
    "setting_needs_restart": "This setting has changed in the file and takes effect with the next start.",
    "change_noticed": "With `watch = true`: code or configuration has changed, and is loaded anew.",
    "code_not_watched": "With `watch = true`: changes are not noticed here; `faasd reload` works.",
    "version_not_restored": (
        "A function was kept on an earlier version of its code, which could not be taken up again at the start."
    ),
    "versions_removed": "Versions of code that nothing needs any more were removed.",
    "request_failed": "A request of the API failed by a mistake of faasd's. Please report it.",
    "supervisor_unreachable": "systemd's notification socket does not answer.",
    "log_lines_dropped": "Whoever reads this log was too slow, or had gone; so many lines are missing.",
    # Attempts.
    "attempt_finished": (
        "One attempt has ended: the one line that an operator asks for. At warning when it failed."
    ),
    "attempt_broke": "An attempt could not be run by a mistake of faasd's. Please report it.",
    "attempt_delayed": "A sandbox could not be made just now, for want of processes or memory; it is tried again.",
    "spare_lost": "A sandbox that waited for work died by itself; none is made ahead for this function for a while.",
    "warming_failed": "A zygote could not be started ahead of a schedule; the attempt itself tries again and tells.",
    "spare_failed": "A sandbox could not be made ahead of need; attempts have theirs made when they come.",
    "breaker_opened": "So many sandboxes of a function died in a row that it is held back for a while.",
    "breaker_half_opened": "The pause is over: one attempt is tried.",
    "breaker_closed": "The function runs freely again; without an outcome, because somebody resumed it.",
    "lost_attempts_returned": (
        "The last daemon was killed while these ran. They are back in their queues, uncharged."
    ),
    "abandoned_leases_returned": "Invocations whose lease ran out unnoticed are back in their queues.",
    # The store.
    "schema_upgraded": "The database was brought to this release's schema; the copy is as it was before.",
    "room_ended": (
        "New events are refused, with 503 and exit code 1: there is room left only for the outcomes of what "
        "was accepted. The reason says what helps."
    ),
    "room_returned": "New events are taken again.",
    "budget_kept": "The oldest logs and finished invocations were removed, because of `state_bytes_max`.",
    "finish_delayed": "An outcome could not be written; it is kept in memory and tried again.",
    "claims_kept": "Events that were claimed ahead could not be given back at the stop; the next start returns them.",
    "claim_failed": "The store could not be asked for work; it is tried again.",
    "lease_renewal_failed": "Leases could not be renewed; it is tried again.",
    "history_retained": "So many old invocations were forgotten.",
    "retention_failed": "Old invocations could not be forgotten; it is tried again.",
    "log_expiry_failed": "Old output of a function could not be removed; it is tried again.",
    # Triggers.
    "clock_step_noticed": "The clock was set, or the machine slept; schedules follow it.",
    "clock_changes_polled": "This kernel does not tell when the clock is set, so it is looked at now and then.",
    "schedule_tick_delayed": "A tick could not be accepted; it is tried again and not missed.",
    "schedule_cursor_not_saved": "How far schedules have come could not be written; it is tried again.",
    "schedule_walk_failed": "Schedules failed by a mistake of faasd's; they go on. Please report it.",
    "files_problem": "Something about a watched directory needs somebody; the sentence says what.",
    "files_problem_over": "It is well again.",
    "files_hints_lost": "So many files changed that the kernel lost count; the directory is scanned.",
}
