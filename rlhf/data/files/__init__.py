"""Raw values out of files, folders and hub data sets."""
