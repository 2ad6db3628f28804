"""Raw values become records: what importers share."""
