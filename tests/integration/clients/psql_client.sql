-- SPDX-License-Identifier: Apache-2.0
-- Ordinary work in psql. Usage: psql -X -f psql_client.sql URL
-- Everything it prints is deterministic: two servers that behave alike give equal output.
\set ON_ERROR_STOP off
\set VERBOSITY default
\pset pager off
\encoding
SHOW server_version_num \gset
\if :server_version_num
\else
\echo no version
\endif
DROP VIEW IF EXISTS psql_view;
DROP TABLE IF EXISTS psql_child, psql_items, psql_parts;
DROP FUNCTION IF EXISTS psql_double(int);
CREATE TABLE psql_items (
    id serial PRIMARY KEY, name text NOT NULL UNIQUE, qty int DEFAULT 1 CHECK (qty >= 0),
    price numeric(10,2), tags text[], doc jsonb);
COMMENT ON TABLE psql_items IS 'things';
COMMENT ON COLUMN psql_items.qty IS 'how many';
CREATE INDEX psql_by_price ON psql_items (price) WHERE qty > 0;
CREATE TABLE psql_child (item int REFERENCES psql_items ON DELETE CASCADE, note text);
CREATE VIEW psql_view AS SELECT id, upper(name) AS name FROM psql_items;
CREATE FUNCTION psql_double(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
CREATE TABLE psql_parts (k int, v text) PARTITION BY RANGE (k);
CREATE TABLE psql_parts_1 PARTITION OF psql_parts FOR VALUES FROM (0) TO (100);

INSERT INTO psql_items (name, qty, price, tags, doc)
SELECT 'item ' || g, g, g * 1.25, ARRAY['t' || g, NULL], jsonb_build_object('n', g) FROM generate_series(1, 20) g;
TABLE psql_view ORDER BY id LIMIT 3;
SELECT * FROM psql_items ORDER BY id LIMIT 3;
\x on
SELECT * FROM psql_items ORDER BY id LIMIT 1;
\x off
SELECT psql_double(21);
SELECT k, v FROM psql_parts;
INSERT INTO psql_parts VALUES (5, 'five') RETURNING *;
INSERT INTO psql_parts VALUES (500, 'none');

BEGIN;
UPDATE psql_items SET qty = qty + 1 WHERE id = 1 RETURNING id, qty;
SAVEPOINT a;
INSERT INTO psql_items (name) VALUES ('item 2');
SELECT 'still failed';
ROLLBACK TO a;
SELECT 'back';
RELEASE a;
COMMIT;
BEGIN; DELETE FROM psql_items WHERE id > 5; ROLLBACK;
SELECT count(*) FROM psql_items;
SELECT 1 AS one\; SELECT 2 AS two;
SELECT 1/0;
\echo :ERROR :SQLSTATE :LAST_ERROR_MESSAGE
SELECT 'nöt ascii ☃' AS unicode, NULL AS nothing, '' AS empty;
SELECT repeat('wide ', 2000) \g /dev/null
SELECT count(*), sum(length(v)) FROM (SELECT repeat('x', 100) AS v FROM generate_series(1, 200000)) s;

CREATE TEMP TABLE psql_copy (a int, b text);
COPY psql_copy FROM STDIN;
1	one
2	\N
3	tab\there
\.
\copy psql_copy TO STDOUT WITH (FORMAT csv, HEADER)
\copy (SELECT a FROM psql_copy ORDER BY a DESC) TO STDOUT
COPY psql_copy TO STDOUT;
COPY psql_copy FROM STDIN (FORMAT csv);
wrong,row
\.
SELECT count(*) FROM psql_copy;

SELECT format('SELECT %s AS generated', g) FROM generate_series(1, 3) g \gexec
SELECT 7 AS seven \gset
\echo :seven
SELECT g AS row, c AS col, g * c AS v FROM generate_series(1, 3) g, generate_series(1, 3) c \crosstabview row col v
SELECT id, name FROM psql_items WHERE id < 3 \gdesc
\set FETCH_COUNT 1000
SELECT count(*) FROM psql_items;
SELECT g FROM generate_series(1, 5) g;
\unset FETCH_COUNT
PREPARE p (int) AS SELECT name FROM psql_items WHERE id = $1;
EXECUTE p(3);
DEALLOCATE p;
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT id FROM psql_items ORDER BY id;
FETCH 2 FROM c;
FETCH LAST FROM c;
MOVE FIRST IN c;
CLOSE c;
COMMIT;
EXPLAIN (COSTS OFF) SELECT * FROM psql_items WHERE id = 1;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) SELECT * FROM psql_items WHERE id = 1;
LISTEN psql_channel;
NOTIFY psql_channel, 'hi' \g /dev/null
UNLISTEN *;
DO $$ BEGIN RAISE NOTICE 'from do'; END $$;
SET lock_timeout = '8s';
SHOW lock_timeout;
RESET lock_timeout;
SELECT pg_sleep(0.01);

\d
\d psql_items
\d+ psql_items
\d psql_view
\d+ psql_view
\d psql_child
\d psql_by_price
\d psql_items_id_seq
\d psql_parts
\d psql_absent
\dt
\di
\ds
\dv
\df public.*
\dn
\dT public.*
\dp public.psql_items
\dx
\dd psql_items
\sf psql_double
\sv psql_view
\l template0
DROP VIEW psql_view;
DROP TABLE psql_child, psql_items, psql_parts;
DROP FUNCTION psql_double(int);
\echo end: ok
