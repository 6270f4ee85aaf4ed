-- The schema as version 2 made it. Never to be changed: databases like it exist.
CREATE TABLE attempts (
    seq INTEGER NOT NULL,
    invocation_seq INTEGER NOT NULL,
    number INTEGER NOT NULL,
    attempt_id TEXT NOT NULL,
    function TEXT NOT NULL,
    code_version TEXT NOT NULL,
    outcome TEXT NOT NULL,
    started_at FLOAT NOT NULL,
    ended_at FLOAT NOT NULL,
    queue_wait_s FLOAT NOT NULL,
    wall_s FLOAT NOT NULL,
    cpu_s FLOAT,
    memory_peak_bytes INTEGER,
    init_s FLOAT,
    batch_size INTEGER NOT NULL,
    output_truncated INTEGER NOT NULL,
    degraded_json TEXT NOT NULL,
    error_json TEXT,
    log_tail TEXT NOT NULL,
    PRIMARY KEY (seq)
);
CREATE TABLE counters (
    name TEXT NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (name)
) WITHOUT ROWID;
CREATE TABLE cursors (
    name TEXT NOT NULL,
    seen_until FLOAT NOT NULL,
    fingerprint TEXT NOT NULL,
    paused INTEGER NOT NULL,
    PRIMARY KEY (name)
) WITHOUT ROWID;
CREATE TABLE dedup_keys (
    queue TEXT NOT NULL,
    dedup_key TEXT NOT NULL,
    invocation_id TEXT NOT NULL,
    until_at FLOAT NOT NULL,
    PRIMARY KEY (queue, dedup_key)
) WITHOUT ROWID;
CREATE TABLE files (
    "trigger" TEXT NOT NULL,
    path BLOB NOT NULL,
    device INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    size INTEGER NOT NULL,
    state TEXT NOT NULL,
    invocation_id TEXT,
    seen_at FLOAT NOT NULL,
    detail TEXT,
    PRIMARY KEY ("trigger", path)
) WITHOUT ROWID;
CREATE TABLE invocations (
    seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    function TEXT NOT NULL,
    queue TEXT NOT NULL,
    "trigger" TEXT NOT NULL,
    source TEXT NOT NULL,
    state TEXT NOT NULL,
    readiness INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    created_at FLOAT NOT NULL,
    due_at FLOAT NOT NULL,
    expires_at FLOAT,
    group_key TEXT,
    scheduled_for FLOAT,
    parent_id TEXT,
    attempts INTEGER DEFAULT '0' NOT NULL,
    spent_attempts INTEGER DEFAULT '0' NOT NULL,
    spent_lost INTEGER DEFAULT '0' NOT NULL,
    spent_sandbox_failed INTEGER DEFAULT '0' NOT NULL,
    spent_drained INTEGER DEFAULT '0' NOT NULL,
    lease_token INTEGER,
    lease_expires_at FLOAT,
    started_at FLOAT,
    ended_at FLOAT,
    outcome TEXT,
    reason TEXT,
    error_json TEXT,
    event_json TEXT NOT NULL,
    result_json TEXT,
    spent_died INTEGER DEFAULT '0' NOT NULL,
    CONSTRAINT state_is_known CHECK (state = 'waiting' OR state = 'running' OR state = 'done' OR state = 'dead' OR state = 'cancelled' OR state = 'skipped' OR state = 'dropped'),
    UNIQUE (id)
);
CREATE TABLE origin_keys (
    origin_key TEXT NOT NULL,
    invocation_id TEXT NOT NULL,
    accepted_at FLOAT NOT NULL,
    PRIMARY KEY (origin_key)
) WITHOUT ROWID;
CREATE TABLE pauses (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    since FLOAT NOT NULL,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID;
CREATE TABLE queues (
    queue TEXT NOT NULL,
    function TEXT,
    PRIMARY KEY (queue)
) WITHOUT ROWID;
CREATE TABLE usage (
    month TEXT NOT NULL,
    function TEXT NOT NULL,
    requests INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    duration_s FLOAT NOT NULL,
    gb_s FLOAT NOT NULL,
    cpu_s FLOAT NOT NULL,
    PRIMARY KEY (month, function)
) WITHOUT ROWID;
CREATE UNIQUE INDEX attempt_number ON attempts (invocation_seq, number);
CREATE INDEX attempts_by_end ON attempts (ended_at, function, outcome);
CREATE INDEX by_function ON invocations (function);
CREATE INDEX dead ON invocations (ended_at, queue) WHERE state = 'dead';
CREATE INDEX dedup_until ON dedup_keys (until_at);
CREATE INDEX finished ON invocations (ended_at) WHERE state IN ('done', 'cancelled', 'skipped', 'dropped');
CREATE INDEX open_source ON invocations (source) WHERE (state = 'waiting' OR state = 'running');
CREATE INDEX running_group ON invocations (queue, group_key) WHERE state = 'running' AND group_key IS NOT NULL;
CREATE INDEX running_lease ON invocations (lease_expires_at, queue) WHERE state = 'running';
CREATE INDEX waiting_blocked ON invocations (queue, group_key, priority DESC, seq) WHERE state = 'waiting' AND readiness = 2;
CREATE INDEX waiting_due ON invocations (queue, readiness, due_at) WHERE state = 'waiting';
CREATE INDEX waiting_expiry ON invocations (expires_at, queue) WHERE state = 'waiting' AND expires_at IS NOT NULL;
CREATE INDEX waiting_group ON invocations (queue, group_key, seq, readiness) WHERE state = 'waiting' AND group_key IS NOT NULL;
CREATE INDEX waiting_ready ON invocations (queue, priority DESC, seq) WHERE state = 'waiting' AND readiness = 1;
INSERT INTO counters VALUES ('lease_token', 0);
PRAGMA application_id = 1717657971;
PRAGMA user_version = 2;
