-- Search over tasks: the scalars of their parameters and assets by path, in the order of `surfaces/builds/machines/row.py`.
-- A list of the newest tasks with a value is one range of the key; ranges of numbers have an index of their own.

CREATE TABLE task_values (
  environment TEXT NOT NULL,
  key TEXT NOT NULL,
  text TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  task_id TEXT NOT NULL,
  number REAL,
  source TEXT NOT NULL,
  PRIMARY KEY (environment, key, text, created_at, task_id)
) WITHOUT ROWID;
CREATE INDEX task_values_number ON task_values (environment, key, number, created_at, task_id) WHERE number IS NOT NULL;

CREATE TABLE search_keys (
  environment TEXT NOT NULL,
  key TEXT NOT NULL,
  kind TEXT NOT NULL,
  tasks INTEGER NOT NULL,
  PRIMARY KEY (environment, key)
) WITHOUT ROWID;
CREATE INDEX builds_name ON builds (environment, name);
