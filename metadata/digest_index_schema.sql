-- The schema of index.db (digest_index.h). A file of another version is begun anew, so there are no
-- migrations: a change here needs the next user_version, and nothing else.

PRAGMA application_id = 0x51494458;  -- "QIDX"
PRAGMA user_version = 1;

-- One row: whose packs these are. 32 lower-case hexadecimal digits, as all ids.
CREATE TABLE store (
  only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
  id       TEXT    NOT NULL
) STRICT;

-- Numbers rise in the order of adding. A pack that was dropped for want of room (is_held 0) keeps
-- its row, so that it is not loaded again and again; `entries` is then how many it had.
CREATE TABLE pack (
  number  INTEGER PRIMARY KEY,
  id      TEXT    NOT NULL UNIQUE,
  entries INTEGER NOT NULL,
  is_held INTEGER NOT NULL CHECK (is_held IN (0, 1))
) STRICT;

-- `prefix` is Digest::Prefix() as a signed number, `pack` a pack's number.
CREATE TABLE entry (
  prefix INTEGER NOT NULL,
  pack   INTEGER NOT NULL,
  slot   INTEGER NOT NULL,
  PRIMARY KEY (prefix, pack, slot)
) STRICT, WITHOUT ROWID;

CREATE INDEX entry_by_pack ON entry (pack);
