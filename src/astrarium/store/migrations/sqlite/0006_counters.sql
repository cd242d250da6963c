-- Counters: how often something happened, kept when what was counted is swept away. Written in the transaction of the event,
-- by adding, so that several servers count into one row. `since`: when it was first counted.

CREATE TABLE counters (
  workspace TEXT NOT NULL,
  name TEXT NOT NULL,
  subject TEXT NOT NULL,
  mark TEXT NOT NULL,
  since INTEGER NOT NULL,
  amount INTEGER NOT NULL,
  PRIMARY KEY (workspace, name, subject, mark)
) WITHOUT ROWID;

-- Runs that ended before there were counters.
INSERT INTO counters (workspace, name, subject, mark, since, amount)
SELECT workspace, surface || CASE parent_run WHEN '' THEN '.runs' ELSE '.child_runs' END, name, outcome, min(ended_at), count(*)
FROM runs WHERE status = 'ended' AND surface <> ''
GROUP BY 1, 2, 3, 4;
