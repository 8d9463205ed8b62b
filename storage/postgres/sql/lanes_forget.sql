-- A lane that was not used for a day belongs to a process that has ended, or begins anew without harm.
delete from lanes where used < now() - interval '1 day'
