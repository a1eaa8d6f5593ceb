-- Takes away what the backup below brings. By hand rather than by pg_dump --clean, which asks
-- partitions to drop what they inherit, and that is an error. All or nothing: if any line of the
-- backup fails, the database stays as it was.
BEGIN;
SET LOCAL client_min_messages = warning;
DO $clear$
DECLARE
    what text;
BEGIN
    -- All names first: what a CASCADE has taken along has none any more. Neither parts of
    -- extensions ('e'), nor sequences of identity columns ('i'), which go with their tables.
    FOREACH what IN ARRAY ARRAY(
        SELECT format('DROP %s IF EXISTS %s CASCADE',
                      CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
                          WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
                      c.oid::regclass)
        FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
          AND NOT c.relispartition
          AND NOT EXISTS (SELECT FROM pg_depend d
                          WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                            AND (d.deptype = 'e' OR d.deptype = 'i' AND c.relkind = 'S'))
        UNION ALL
        SELECT format('DROP ROUTINE IF EXISTS %s CASCADE', p.oid::regprocedure)
        FROM pg_proc p
        WHERE p.pronamespace = 'public'::regnamespace
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
        UNION ALL
        SELECT format('DROP TYPE IF EXISTS %s CASCADE', t.oid::regtype)
        FROM pg_type t
        WHERE t.typnamespace = 'public'::regnamespace AND t.typtype IN ('e', 'd')
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = t.oid AND d.deptype = 'e')
    )
    LOOP
        EXECUTE what;
    END LOOP;
END
$clear$;
