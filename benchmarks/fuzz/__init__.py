"""Random inputs for what reads strangers' texts and files: templates, judges' replies, overrides, what was saved."""
