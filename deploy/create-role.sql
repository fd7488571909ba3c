-- The application's role and database. The role is no superuser: it owns its database, and nothing else.
-- Runs once, by the image of PostgreSQL, when the data directory is new. The password comes from the environment.
\set ON_ERROR_STOP on
\getenv password CALLSHEET_DATABASE_PASSWORD

create role callsheet login nosuperuser nocreatedb nocreaterole noreplication password :'password';
create database callsheet owner callsheet encoding 'UTF8' template template0;
