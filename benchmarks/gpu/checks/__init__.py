"""The parts of check.sh: functions of a `Context` that return what they found."""
