"""Random inputs for what reads strangers' texts: chat templates, a judge's replies, the command line."""
