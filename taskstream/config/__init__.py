"""What a user may set: one INI file in Netdata's syntax, and the command line over it.

Joint. Every value is checked where it stands: an error names the file, the line, what was
found and what is allowed. Where the file is: ``taskstream.place``.
"""
