"""Weights & Biases, CSV files and alerts: loggers, tables, lineage, dashboards."""
