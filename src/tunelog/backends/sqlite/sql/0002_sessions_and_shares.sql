-- What the page needs: sessions that outlive a restart, and links that show some jobs to anyone.

CREATE TABLE secret (
    name TEXT PRIMARY KEY,          -- session: signs the cookies of those who are signed in
    value BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE share (
    hash BLOB PRIMARY KEY,          -- SHA-256 of the token, which is not kept
    id TEXT NOT NULL UNIQUE,
    project TEXT NOT NULL REFERENCES project (id),
    key TEXT,                       -- the key that it was made with: revoked together
    name TEXT,
    jobs TEXT NOT NULL,             -- JSON array of job ids
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER
) WITHOUT ROWID;
CREATE INDEX share_by_age ON share (project, created_at, id);
