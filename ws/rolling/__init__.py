"""`ws up --rolling` replaces the Ray nodes of a host one by one, `ws cluster up` those of all hosts of a cluster."""
