-- What is under way is looked through every second for runs that nobody has in hand; those that wait may be many.

create index runs_under_way on runs (id) where status in ('queued', 'running');
