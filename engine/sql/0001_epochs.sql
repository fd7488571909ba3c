-- The epochs of engines: each time an engine becomes the owner of the runs it takes the next one.

create sequence engine_epochs;
