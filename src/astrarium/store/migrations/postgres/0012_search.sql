-- Search over tasks: the scalars of their parameters and assets by path, in the order of `surfaces/builds/machines/row.py`.
-- A list of the newest tasks with a value is one range of the key; ranges of numbers have an index of their own.

CREATE TABLE task_values (
  environment text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  text text COLLATE "C" NOT NULL,
  created_at bigint NOT NULL,
  task_id text COLLATE "C" NOT NULL,
  number double precision,
  source text COLLATE "C" NOT NULL,
  PRIMARY KEY (environment, key, text, created_at, task_id)
);
CREATE INDEX task_values_number ON task_values (environment, key, number, created_at, task_id) WHERE number IS NOT NULL;

CREATE TABLE search_keys (
  environment text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  kind text COLLATE "C" NOT NULL,
  tasks bigint NOT NULL,
  PRIMARY KEY (environment, key)
);
CREATE INDEX builds_name ON builds (environment, name);
