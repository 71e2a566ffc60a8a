-- meter--1.0.sql, concatenated by the Makefile from the .sql files in src

-- complain if the script is sourced in psql instead of CREATE EXTENSION
\echo Use "CREATE EXTENSION meter CASCADE" to load this file. \quit

-- No object of another schema may take part in what follows: everything
-- outside pg_catalog is written with its schema.
SET LOCAL search_path TO pg_catalog, pg_temp;

-- Plain CREATE, without IF NOT EXISTS: a schema of this name that is already
-- there may belong to somebody else, and then the installation must fail.
CREATE SCHEMA meter;
COMMENT ON SCHEMA meter IS
'Tables, views and types of the extension meter; its functions, all named meter_*, are in the schema given to CREATE EXTENSION';
