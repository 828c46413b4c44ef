"""The spool: events on the disk that a broker has not acknowledged yet.

Rim: touches a folder. Its segments are capture files, so whatever reads captures reads them.
"""
