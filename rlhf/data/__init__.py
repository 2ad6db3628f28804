"""From files to batches: records, readers, templates, tokenizers, splits. A leaf that imports rlhf.errors alone."""
