-- Segments: blocks whose snapshots are packed, some thousand in one row, compressed.
-- A block has rows in `snapshot`, or a segment; eval snapshots have rows in either case.

ALTER TABLE block ADD COLUMN arrival_min INTEGER NOT NULL DEFAULT 0;
ALTER TABLE block ADD COLUMN shape_counts TEXT; -- JSON: shape to [train, eval]; NULL: not counted
ALTER TABLE block ADD COLUMN segment INTEGER;   -- NULL: rows
ALTER TABLE block ADD COLUMN level INTEGER NOT NULL DEFAULT 0; -- 0 rows, 1 packed at once, 2 well
CREATE INDEX block_to_pack ON block (job, logged_at_from) WHERE level < 2;

CREATE TABLE segment (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again: what it holds never changes
    frames BLOB NOT NULL,           -- counts and bounds of each frame
    summary BLOB NOT NULL,          -- what each metric amounts to
    extremes BLOB NOT NULL,         -- each metric's lowest and highest value in each frame
    columns BLOB NOT NULL,          -- what the lines do not have: attempt, writer, seq, …
    data BLOB NOT NULL              -- zstd frames of lines
);
