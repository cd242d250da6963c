-- Identity: the audit log is asked by who did something, what was done, and to what. It grows by every request let in where a profile
-- wants that, so none of these questions may read it all. Names are compared as bytes, so that a group of them (`auth.…`) is a range.
ALTER TABLE audit
  ALTER COLUMN actor TYPE text COLLATE "C",
  ALTER COLUMN act TYPE text COLLATE "C",
  ALTER COLUMN subject TYPE text COLLATE "C";
CREATE INDEX audit_actor ON audit (workspace, actor, number);
CREATE INDEX audit_act ON audit (workspace, act, number);
CREATE INDEX audit_subject ON audit (workspace, subject, number);
