-- From version 1 to 2: no spares any more, sealed layers and their maps, digests of snapshots.
-- Frozen: databases on disk were made by it.
--
-- SQLite cannot change the CHECK of a column or drop one with a reference, so the tables are made
-- anew. References are checked at the end of the transaction, when every row is back.

PRAGMA user_version = 2;

-- No quoin ever made a spare; a file of one would be removed when an owner opens the VDI.
DELETE FROM ownership WHERE layer_seq IN (SELECT seq FROM layer WHERE state = 'spare');
DELETE FROM layer WHERE state = 'spare';

CREATE TABLE old_vdi AS SELECT * FROM vdi;
DROP TABLE vdi;
CREATE TABLE vdi (
  only_row            INTEGER PRIMARY KEY CHECK (only_row = 1),
  id                  TEXT    NOT NULL,
  size_bytes          INTEGER NOT NULL,
  mode                INTEGER NOT NULL,
  uid                 INTEGER NOT NULL,
  gid                 INTEGER NOT NULL,
  atime_ns            INTEGER NOT NULL,
  mtime_ns            INTEGER NOT NULL,
  ctime_ns            INTEGER NOT NULL,
  created_ns          INTEGER NOT NULL,
  epoch               INTEGER NOT NULL,
  head_seq            INTEGER NOT NULL REFERENCES layer (seq) DEFERRABLE INITIALLY DEFERRED,
  next_seq            INTEGER NOT NULL,
  data_blocks         INTEGER NOT NULL,
  parent_snapshot     TEXT,
  parent_name         TEXT    NOT NULL,
  copy_origin         TEXT,
  copied_to_bytes     INTEGER NOT NULL,
  head_ownership_file TEXT    NOT NULL,
  head_published      INTEGER NOT NULL CHECK (head_published IN (0, 1))
) STRICT;
INSERT INTO vdi
  SELECT only_row, id, size_bytes, mode, uid, gid, atime_ns, mtime_ns, ctime_ns, created_ns, epoch,
         head_seq, next_seq, data_blocks, parent_snapshot, parent_name, copy_origin,
         copied_to_bytes, head_ownership_file, head_published
  FROM old_vdi;
DROP TABLE old_vdi;

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
  map_data_blocks    INTEGER NOT NULL
) STRICT;
INSERT INTO layer
  SELECT seq, parent_seq, state, name, size_bytes, has_ownership_file, NULL, 0, 0, NULL, 0
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
  digest        BLOB    CHECK (length(digest) = 32)
) STRICT, WITHOUT ROWID;
INSERT INTO snapshot
  SELECT id, name, ordinal, layer_seq, size_bytes, data_blocks, created_ns, is_protected, mode, uid,
         gid, atime_ns, mtime_ns, ctime_ns, pending_group, NULL
  FROM old_snapshot;
DROP TABLE old_snapshot;
CREATE INDEX snapshot_by_layer ON snapshot (layer_seq);
