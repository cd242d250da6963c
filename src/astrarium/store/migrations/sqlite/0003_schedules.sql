-- The schedules of DAG files, as readers see them (columns in the order of `surfaces/dags/machines/schedule.py`).

CREATE TABLE schedules (
  workspace TEXT NOT NULL,
  name TEXT NOT NULL,
  environment TEXT NOT NULL,
  dag TEXT NOT NULL,
  file TEXT NOT NULL,
  status TEXT NOT NULL,
  suspended INTEGER NOT NULL,
  plan TEXT NOT NULL,
  zone TEXT NOT NULL,
  next_at INTEGER NOT NULL,
  next_acts TEXT NOT NULL,
  next_start INTEGER NOT NULL,
  backlog INTEGER NOT NULL,
  last_slot INTEGER NOT NULL,
  last_act TEXT NOT NULL,
  last_decision TEXT NOT NULL,
  last_why TEXT NOT NULL,
  last_run TEXT NOT NULL,
  decided_at INTEGER NOT NULL,
  trouble TEXT NOT NULL,
  PRIMARY KEY (workspace, name)
) WITHOUT ROWID;
