"""What runs, sweeps and evaluations look like to people: words, charts, one HTML page."""
