"""Measures the lab against other libraries; see docs/performance.md."""
