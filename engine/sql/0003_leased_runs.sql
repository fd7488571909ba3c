-- The one thing that queries outside of the engine may know of its leases: which runs a live engine drives.

create view leased_runs as
    select run_id from run_leases where epoch in (select live_engines());

comment on view leased_runs is
    'The runs whose lease a live engine holds. A run that is driven for the first moments only has none yet.';
