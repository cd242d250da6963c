-- The schedules of DAG files, as readers see them (columns in the order of `surfaces/dags/machines/schedule.py`).

CREATE TABLE schedules (
  workspace text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  environment text NOT NULL,
  dag text NOT NULL,
  file text NOT NULL,
  status text NOT NULL,
  suspended bigint NOT NULL,
  plan text NOT NULL,
  zone text NOT NULL,
  next_at bigint NOT NULL,
  next_acts text NOT NULL,
  next_start bigint NOT NULL,
  backlog bigint NOT NULL,
  last_slot bigint NOT NULL,
  last_act text NOT NULL,
  last_decision text NOT NULL,
  last_why text NOT NULL,
  last_run text NOT NULL,
  decided_at bigint NOT NULL,
  trouble text NOT NULL,
  PRIMARY KEY (workspace, name)
) WITH (fillfactor = 60);
