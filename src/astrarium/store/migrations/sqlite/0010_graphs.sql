-- Graphs: where a step lies on the way of a graph of rules, which branch it is, and a word for why it did not go well
-- (columns in the order of `runs/row.py`).
ALTER TABLE steps ADD COLUMN place INTEGER NOT NULL DEFAULT 0;
ALTER TABLE steps ADD COLUMN branch TEXT NOT NULL DEFAULT '';
ALTER TABLE steps ADD COLUMN code TEXT NOT NULL DEFAULT '';
UPDATE steps SET place = no;
