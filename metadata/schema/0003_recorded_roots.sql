-- From version 2 to 3: which snapshots and sealed layers have a root record in the packs. Frozen:
-- databases on disk were made by it.
--
-- Of those there are, nobody remembers: they are recorded once more, which costs a small pack. The
-- tables are made anew because a column that is added to one has to have a default.

PRAGMA user_version = 3;

CREATE TABLE old_layer AS SELECT * FROM layer;
DROP TABLE layer;
CREATE TABLE layer (
  seq                INTEGER PRIMARY KEY,
  parent_seq         INTEGER REFERENCES layer (seq) DEFERRABLE INITIALLY DEFERRED,
  state              TEXT    NOT NULL CHECK (state IN ('head', 'frozen', 'sealed')),
  name               TEXT    NOT NULL UNIQUE,
  size_bytes         INTEGER NOT NULL,
  has_ownership_file INTEGER NOT NULL CHECK (has_ownership_file IN (0, 1)),
  map_pack           TEXT,
  map_slot           INTEGER NOT NULL,
  map_height         INTEGER NOT NULL,
  map_digest         BLOB    CHECK (length(map_digest) = 32),
  map_data_blocks    INTEGER NOT NULL,
  is_recorded        INTEGER NOT NULL CHECK (is_recorded IN (0, 1))
) STRICT;
INSERT INTO layer
  SELECT seq, parent_seq, state, name, size_bytes, has_ownership_file, map_pack, map_slot,
         map_height, map_digest, map_data_blocks, 0
  FROM old_layer;
DROP TABLE old_layer;
CREATE INDEX layer_by_parent ON layer (parent_seq);

CREATE TABLE old_snapshot AS SELECT * FROM snapshot;
DROP TABLE snapshot;
CREATE TABLE snapshot (
  id            TEXT    NOT NULL PRIMARY KEY,
  name          TEXT    NOT NULL UNIQUE,
  ordinal       INTEGER NOT NULL UNIQUE,
  layer_seq     INTEGER REFERENCES layer (seq) DEFERRABLE INITIALLY DEFERRED,
  size_bytes    INTEGER NOT NULL,
  data_blocks   INTEGER NOT NULL,
  created_ns    INTEGER NOT NULL,
  is_protected  INTEGER NOT NULL CHECK (is_protected IN (0, 1)),
  mode          INTEGER NOT NULL,
  uid           INTEGER NOT NULL,
  gid           INTEGER NOT NULL,
  atime_ns      INTEGER NOT NULL,
  mtime_ns      INTEGER NOT NULL,
  ctime_ns      INTEGER NOT NULL,
  pending_group TEXT,
  digest        BLOB    CHECK (length(digest) = 32),
  is_recorded   INTEGER NOT NULL CHECK (is_recorded IN (0, 1))
) STRICT, WITHOUT ROWID;
INSERT INTO snapshot
  SELECT id, name, ordinal, layer_seq, size_bytes, data_blocks, created_ns, is_protected, mode, uid,
         gid, atime_ns, mtime_ns, ctime_ns, pending_group, digest, 0
  FROM old_snapshot;
DROP TABLE old_snapshot;
CREATE INDEX snapshot_by_layer ON snapshot (layer_seq);
