"""Language models behind chat endpoints, as the keys of a section name them: judges, annotators, writers."""
