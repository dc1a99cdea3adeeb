-- Splits the journal of a PostgreSQL database by day, so that what is past its retention goes with its table, at no cost.
-- Worth it from some ten million records a day on. Nothing of smtpeter needs it, and everything of it works with it.
--
--     psql --single-transaction --set ON_ERROR_STOP=1 --file partitions.sql postgresql://smtpeter@db.example.com/journal
--
-- The service may run meanwhile: records wait in the spools of the hosts. What is there already stays in one table for the days
-- up to tomorrow, which gets new indexes: about a minute for ten million records.
--
-- From then on, once a day, by a timer or pg_cron:
--
--     SELECT smtpeter_days(14);              -- makes the tables of the next days; what has none goes into a table "default"
--     SELECT smtpeter_forget(365);           -- drops the tables in which everything is older than so many days
--
-- `smtpeter journal prune` goes on removing what is past journal.retention; with a larger number there, or 0, only the tables go.
-- Looking up one message asks each day's index: some milliseconds for a year.

CREATE FUNCTION smtpeter_days(ahead integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    day date;
    name text;
    made integer := 0;
BEGIN
    FOREACH parent IN ARRAY ARRAY['messages', 'copies', 'visits'] LOOP
        FOR number IN 0..ahead LOOP
            day := (now() AT TIME ZONE 'UTC')::date + number;
            name := parent || to_char(day, '_YYYYMMDD');
            -- The days of the first table are its own.
            CONTINUE WHEN to_regclass(name) IS NOT NULL OR day < coalesce(
                (SELECT obj_description(to_regclass(parent || '_before'), 'pg_class')::date), '-infinity');
            EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%s) TO (%s)', name, parent,
                extract(epoch FROM day::timestamp)::bigint, extract(epoch FROM day::timestamp)::bigint + 86400);
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;

CREATE FUNCTION smtpeter_forget(days integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    found record;
    gone integer := 0;
BEGIN
    FOR found IN
        SELECT child.relname AS name, coalesce(
            to_date(substring(child.relname FROM '_(\d{8})$'), 'YYYYMMDD') + 1,
            obj_description(child.oid, 'pg_class')::date) AS until
        FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
        WHERE inhparent IN ('messages'::regclass, 'copies'::regclass, 'visits'::regclass) AND child.relname !~ '_default$'
    LOOP
        IF found.until <= (now() AT TIME ZONE 'UTC')::date - days THEN
            EXECUTE format('DROP TABLE %I', found.name);
            gone := gone + 1;
        END IF;
    END LOOP;
    RETURN gone;
END $$;

DO $$
DECLARE
    parent text;
    index record;
    until date := (now() AT TIME ZONE 'UTC')::date + 2;
BEGIN
    FOREACH parent IN ARRAY ARRAY['messages', 'copies', 'visits'] LOOP
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', parent);
        EXECUTE format('ALTER TABLE %I RENAME TO %I', parent, parent || '_before');
        EXECUTE format('ALTER TABLE %I DROP CONSTRAINT %I', parent || '_before', parent || '_pkey');
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING STORAGE) PARTITION BY RANGE (time)',
            parent, parent || '_before');
        FOR index IN SELECT indexname, indexdef FROM pg_indexes
            WHERE schemaname = current_schema() AND tablename = parent || '_before' LOOP
            EXECUTE format('ALTER INDEX %I RENAME TO %I', index.indexname, index.indexname || '_before');
            EXECUTE replace(index.indexdef, format(' ON %I.%I ', current_schema(), parent || '_before'),
                format(' ON %I.%I ', current_schema(), parent));
        END LOOP;
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I PRIMARY KEY (id, time)', parent, parent || '_pkey');
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (MINVALUE) TO (%s)', parent, parent || '_before',
            extract(epoch FROM until::timestamp)::bigint);
        EXECUTE format('COMMENT ON TABLE %I IS %L', parent || '_before', until::text);
        EXECUTE format('CREATE TABLE %I PARTITION OF %I DEFAULT', parent || '_default', parent);
    END LOOP;
END $$;

SELECT smtpeter_days(14);
