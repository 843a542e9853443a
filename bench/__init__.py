"""The same work through pushrpc and its peers, on one machine, against one sink, in one run: `python -m bench`.

What is measured is always another process; its callers and its provider are one Go process (bench/go/rig) whose CPU is
not counted. Sides take turns, round by round, so that whatever else the machine does meets all of them.
"""
