"""Which app group, cgroup and service a process belongs to. Pure: no I/O, no clock."""
