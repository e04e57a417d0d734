"""Looking at a build: the funnel, where a record went and why, what its pairs read like."""
