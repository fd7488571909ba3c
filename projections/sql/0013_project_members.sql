-- The users in the team of each project, so that a list shows only the projects that its reader may see.

alter table projects add column members text[] not null default '{}';

update projects set members = array(select json_object_keys(coalesce(document -> 'team', '{}'::json)));
