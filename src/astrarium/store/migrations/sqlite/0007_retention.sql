-- What a run is needed by: its forks, and the deliveries that tell of it. Asked before it is removed.

CREATE INDEX runs_of_source ON runs (forked_from) WHERE forked_from <> '';
