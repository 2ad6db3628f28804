"""How a verb starts: composition, help, run directories, exit codes."""
