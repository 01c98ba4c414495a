"""What a command does from its input to its report, in a run folder that can be resumed."""

from samplewise.jobs.selection import SelectJob, rerun, run_select

__all__ = ["SelectJob", "rerun", "run_select"]
