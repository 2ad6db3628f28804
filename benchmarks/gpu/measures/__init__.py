"""The parts of measure.sh: functions of a `Context` that return what they measured."""
