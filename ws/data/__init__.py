"""`ws data`: datasets on the hosts: what there is, copies to other hosts, checks of their content."""
