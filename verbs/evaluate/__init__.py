"""Models side by side: answers, judges, comparisons."""
