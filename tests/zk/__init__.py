"""A second reading of ZooKeeper's wire and file formats, for tests: Python's standard library only,
and nothing
shared with the server under test."""
