-- The first layout: a row a snapshot. docs/storage-format.md describes it.
-- Times are nanoseconds since the epoch, UTC. `job.no` is never used again, so that what is left
-- of a deleted job can be purged later without being mistaken for another's.

CREATE TABLE project (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE api_key (
    hash BLOB PRIMARY KEY,          -- SHA-256 of the secret, which is not kept
    id TEXT NOT NULL UNIQUE,
    project TEXT NOT NULL REFERENCES project (id),
    scopes TEXT NOT NULL,           -- comma-separated
    hint TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) WITHOUT ROWID;

CREATE TABLE job (
    no INTEGER PRIMARY KEY AUTOINCREMENT,
    project TEXT NOT NULL REFERENCES project (id),
    id TEXT NOT NULL,
    name TEXT,
    status TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    heard_at INTEGER NOT NULL,
    started_at INTEGER,
    ends_at INTEGER,
    silent INTEGER NOT NULL,
    details TEXT NOT NULL,          -- JSON
    arrivals INTEGER NOT NULL,      -- the number of the newest change
    status_arrival INTEGER NOT NULL -- the number of the change that set the status
);
CREATE UNIQUE INDEX job_by_id ON job (project, id);
CREATE INDEX job_by_age ON job (project, created_at, no);
CREATE INDEX job_by_name ON job (project, name, created_at, no) WHERE name IS NOT NULL;
CREATE INDEX job_by_word ON job (heard_at) WHERE status IN ('running', 'cancel_requested');

CREATE TABLE attempt (
    job INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    from_step INTEGER,              -- as stated when it was opened
    first_step INTEGER,             -- the lower of that and its lowest train step
    superseding INTEGER NOT NULL,   -- the arrival at which first_step was last lowered
    open_id TEXT,
    opened_at INTEGER,              -- NULL: attempt 1, never opened
    PRIMARY KEY (job, attempt)
) WITHOUT ROWID;

-- Which sequence numbers of a writer are stored, as disjoint ranges that do not touch:
-- one row for a writer that missed nothing, however many snapshots it sent.
CREATE TABLE received (
    job INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    writer INTEGER NOT NULL,
    seq_from INTEGER NOT NULL,
    seq_to INTEGER NOT NULL,
    PRIMARY KEY (job, attempt, writer, seq_from)
) WITHOUT ROWID;

-- The metrics of a job in the order first logged, and the numbers seen in each:
-- 1 a float, 2 an integer, 4 an integer beyond 2**53.
CREATE TABLE metric (
    job INTEGER NOT NULL,
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    numbers INTEGER NOT NULL,
    PRIMARY KEY (job, position)
) WITHOUT ROWID;

-- The sets of keys that a job's snapshots have; few, so that `keys=` need not look into lines.
CREATE TABLE shape (
    job INTEGER NOT NULL,
    shape INTEGER NOT NULL,
    keys TEXT NOT NULL,             -- JSON array, in the order logged
    PRIMARY KEY (job, shape)
) WITHOUT ROWID;

-- Clustered in the order of reading.
CREATE TABLE snapshot (
    job INTEGER NOT NULL,
    logged_at INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    writer INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    is_eval INTEGER NOT NULL,
    global_step INTEGER NOT NULL,
    shape INTEGER NOT NULL,
    arrival INTEGER NOT NULL,
    exact BLOB,                     -- only with non-finite values: the line with them as strings
    line BLOB NOT NULL,             -- the row as a default read shows it
    PRIMARY KEY (job, logged_at, attempt, writer, seq)
) WITHOUT ROWID;
CREATE INDEX snapshot_by_arrival ON snapshot (job, arrival);
-- Every sampled read returns all eval snapshots: they are few, so the index holds them whole.
CREATE INDEX snapshot_eval ON snapshot (
    job, logged_at, attempt, writer, seq, is_eval, global_step, shape, arrival, exact, line
) WHERE is_eval = 1;

-- A job's snapshots, counted by stretches of about a thousand in the order of reading, so that the
-- n-th is found, and a range counted, without walking the history. A block holds the snapshots from
-- its logged_at_from up to the next block's.
CREATE TABLE block (
    job INTEGER NOT NULL,
    logged_at_from INTEGER NOT NULL,
    logged_at_max INTEGER NOT NULL,
    train INTEGER NOT NULL,
    eval INTEGER NOT NULL,
    step_min INTEGER NOT NULL,
    step_max INTEGER NOT NULL,
    attempt_min INTEGER NOT NULL,
    attempt_max INTEGER NOT NULL,
    arrival_max INTEGER NOT NULL,
    bytes INTEGER NOT NULL,         -- of the lines
    PRIMARY KEY (job, logged_at_from)
) WITHOUT ROWID;

CREATE TABLE event (
    no INTEGER PRIMARY KEY,
    job INTEGER NOT NULL,
    id TEXT,                        -- the caller's own
    event TEXT NOT NULL             -- JSON
);
CREATE INDEX event_by_job ON event (job, no);
CREATE UNIQUE INDEX event_by_id ON event (job, id) WHERE id IS NOT NULL;

CREATE TABLE checkpoint (
    no INTEGER PRIMARY KEY,
    job INTEGER NOT NULL,
    id TEXT,
    checkpoint TEXT NOT NULL
);
CREATE INDEX checkpoint_by_job ON checkpoint (job, no);
CREATE UNIQUE INDEX checkpoint_by_id ON checkpoint (job, id) WHERE id IS NOT NULL;

-- Deleted jobs whose rows are yet to be purged.
CREATE TABLE garbage (job INTEGER PRIMARY KEY);
