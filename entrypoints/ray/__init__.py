"""Ray nodes, and the agent of a host that may lead: started, supervised and guarded."""
