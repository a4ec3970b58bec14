"""The pass that decides, from the store alone: verdicts, counts, folders of rows, sweeps over gates."""
