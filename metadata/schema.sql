-- The present schema of vdi.db and published.db. Migrating from nothing (schema/0001_*.sql and on)
-- gives exactly this; a test holds the two together. A change here needs a new numbered file there
-- and the next user_version in both.
--
-- Ids are 32 lower-case hexadecimal digits, digests 32 bytes; NULL means "no object" (0, a null id or
-- a null digest in the records).
-- References are checked at the end of a transaction, so its rows may come in any order.

PRAGMA application_id = 0x51564449;  -- "QVDI"
PRAGMA user_version = 3;

-- One row: the VDI itself.
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

-- A head or frozen layer is files in the layers folder. A sealed one is the map that begins in slot
-- map_slot of pack map_pack; the map_ columns of the others are NULL and 0. is_recorded, here and of a
-- snapshot: a root record in the packs says that the VDI stands on it, or what the snapshot is.
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

CREATE INDEX layer_by_parent ON layer (parent_seq);

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

CREATE INDEX snapshot_by_layer ON snapshot (layer_seq);

-- Which blocks a layer owns, one row for each region (16 MiB) in which it owns any. `runs` is the
-- encoding of OwnershipSet. Layers whose <name>.owned file is durable need no rows.
CREATE TABLE ownership (
  layer_seq INTEGER NOT NULL REFERENCES layer (seq) DEFERRABLE INITIALLY DEFERRED,
  region    INTEGER NOT NULL,
  runs      BLOB    NOT NULL,
  PRIMARY KEY (layer_seq, region)
) STRICT, WITHOUT ROWID;
