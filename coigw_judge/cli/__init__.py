"""The command line: arguments, printing, exit codes. job_scripts.py is what the scripts of jobs/ call."""
