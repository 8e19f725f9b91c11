-- Orderwire on SQLite, first schema. Instants are microseconds UTC; ids are ours (UUIDv7: they sort by time).
-- Each index names the query it serves (store/sqlite/*.py); an index without one is deleted.

CREATE TABLE events (
    seq         INTEGER PRIMARY KEY,
    id          TEXT NOT NULL,
    tenant      TEXT NOT NULL,
    type        TEXT NOT NULL,
    subject     TEXT,
    time_at     INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    supplied_id TEXT,
    source_id   TEXT,
    trust       TEXT NOT NULL,
    origin      TEXT,
    data        BLOB NOT NULL
);
-- get_event, list_events, prune, every join from a delivery
CREATE UNIQUE INDEX events_tenant ON events (tenant, id);
-- list_events by subject ("what happened to order/1001?")
CREATE INDEX events_subject ON events (tenant, subject, id) WHERE subject IS NOT NULL;

-- The original bytes of a provider, once per request although it may have carried several events.
CREATE TABLE raws (
    event_id     TEXT PRIMARY KEY,
    tenant       TEXT NOT NULL,
    content_type TEXT NOT NULL,
    headers      TEXT NOT NULL,
    body         BLOB NOT NULL
) WITHOUT ROWID;

-- Ids that others chose: publisher's id, Idempotency-Key, provider's delivery id (DECISIONS.md 2).
CREATE TABLE keys (
    tenant       TEXT NOT NULL,
    scope        TEXT NOT NULL,
    key_hash     BLOB NOT NULL,
    event_id     TEXT NOT NULL,
    received_at  INTEGER NOT NULL,
    expires_at   INTEGER,
    content_hash BLOB NOT NULL,
    PRIMARY KEY (tenant, scope, key_hash)
) WITHOUT ROWID;
-- prune: keys go with their event, or, where they have an expiry of their own, then
CREATE INDEX keys_event ON keys (event_id) WHERE expires_at IS NULL;
CREATE INDEX keys_expiry ON keys (tenant, expires_at) WHERE expires_at IS NOT NULL;

-- due_at: when to try (next); NULL once finished, and for those of an ordered subject that are not its head.
-- owner: the process that has it in hand; only unowned deliveries can be claimed.
CREATE TABLE deliveries (
    tenant          TEXT NOT NULL,
    id              TEXT NOT NULL,
    event_id        TEXT NOT NULL,
    destination     TEXT NOT NULL,
    status          TEXT NOT NULL,
    reason          TEXT,
    attempt_count   INTEGER NOT NULL DEFAULT 0,
    scheduled_count INTEGER NOT NULL DEFAULT 0,
    due_at          INTEGER,
    owner           TEXT,
    manual          INTEGER NOT NULL DEFAULT 0,
    subject         TEXT,
    sequence        INTEGER,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) WITHOUT ROWID;
-- event detail, list_deliveries by event, latest delivery of an event in a bulk replay, prune
CREATE INDEX deliveries_event ON deliveries (event_id);
-- list_deliveries by destination, bulk replay
CREATE INDEX deliveries_destination ON deliveries (destination, id);
-- claim, due_lanes, waiting_count, cancel_lane: empty on the happy path (the node that accepted owns)
CREATE INDEX deliveries_due ON deliveries (destination, due_at) WHERE owner IS NULL AND due_at IS NOT NULL;
-- open: what a former process left owned; waiting_count, cancel_lane: what is in hand
CREATE INDEX deliveries_owned ON deliveries (owner) WHERE owner IS NOT NULL;
-- claim, due_lanes: attempts that a person asked for; claim, accept: those of an ordered subject in hand
CREATE INDEX deliveries_manual ON deliveries (destination) WHERE manual = 1;
-- finish: the next of an ordered subject; waiting_count, cancel_lane: those behind a head
CREATE INDEX deliveries_order ON deliveries (destination, subject, sequence)
    WHERE sequence IS NOT NULL AND status IN ('pending', 'retrying');
-- list_deliveries by status failed ("what went wrong last night?")
CREATE INDEX deliveries_failed ON deliveries (tenant, id) WHERE status = 'failed';

CREATE TABLE attempts (
    delivery_id        TEXT NOT NULL,
    number             INTEGER NOT NULL,
    id                 TEXT NOT NULL,
    manual             INTEGER NOT NULL,
    started_at         INTEGER NOT NULL,
    duration_ms        REAL NOT NULL,
    outcome            TEXT NOT NULL,
    status_code        INTEGER,
    error              TEXT,
    response_headers   TEXT,
    response_body      BLOB NOT NULL,
    response_truncated INTEGER NOT NULL,
    request_url        TEXT NOT NULL,
    PRIMARY KEY (delivery_id, number)
) WITHOUT ROWID;

-- An ordered lane's subjects with anything unfinished or held: the last number given, and who may be sent now.
CREATE TABLE lane_subjects (
    destination   TEXT NOT NULL,
    subject       TEXT NOT NULL,
    last_sequence INTEGER NOT NULL,
    head          TEXT,
    PRIMARY KEY (destination, subject)
) WITHOUT ROWID;

CREATE TABLE lane_health (
    destination          TEXT PRIMARY KEY,
    failing_since        INTEGER,
    consecutive_failures INTEGER NOT NULL,
    breaker_open         INTEGER NOT NULL,
    hold_until           INTEGER
) WITHOUT ROWID;

CREATE TABLE lane_stats (
    destination TEXT NOT NULL,
    minute_at   INTEGER NOT NULL,
    outcome     TEXT NOT NULL,
    bucket      INTEGER NOT NULL,
    count       INTEGER NOT NULL,
    PRIMARY KEY (destination, minute_at, outcome, bucket)
) WITHOUT ROWID;

CREATE TABLE config (
    kind    TEXT NOT NULL,
    tenant  TEXT NOT NULL,
    id      TEXT NOT NULL,
    body    BLOB NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (kind, tenant, id)
) WITHOUT ROWID;

CREATE TABLE audit (
    tenant   TEXT NOT NULL,
    id       TEXT NOT NULL,
    at       INTEGER NOT NULL,
    actor    TEXT NOT NULL,
    action   TEXT NOT NULL,
    resource TEXT NOT NULL,
    detail   TEXT NOT NULL,
    PRIMARY KEY (tenant, id)
) WITHOUT ROWID;

-- Bulk replays, worked off in steps. cursor: the last delivery looked at.
CREATE TABLE replays (
    id          TEXT PRIMARY KEY,
    tenant      TEXT NOT NULL,
    destination TEXT NOT NULL,
    since       INTEGER NOT NULL,
    until       INTEGER NOT NULL,
    status      TEXT,
    types       TEXT NOT NULL,
    force       INTEGER NOT NULL,
    ordered     INTEGER NOT NULL,
    cursor      TEXT NOT NULL,
    last        TEXT NOT NULL,
    count       INTEGER NOT NULL,
    made        INTEGER NOT NULL,
    finished    INTEGER NOT NULL
) WITHOUT ROWID;
-- step_replays
CREATE INDEX replays_open ON replays (id) WHERE finished = 0;

-- Deliveries that an accept left to later steps. destinations: a JSON array, position: how many are written.
CREATE TABLE fanouts (
    event_id     TEXT PRIMARY KEY,
    tenant       TEXT NOT NULL,
    destinations TEXT NOT NULL,
    position     INTEGER NOT NULL
) WITHOUT ROWID;
