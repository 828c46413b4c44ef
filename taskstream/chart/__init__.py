"""The charts: what is drawn, from which counts, by which formula. Pure: no I/O, no clock.

Contexts, titles, units, families and dimensions are those of Netdata's "eBPF Processes" document;
``docs/charts.md`` is checked against the tables.
"""
