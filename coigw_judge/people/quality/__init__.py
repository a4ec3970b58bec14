"""What people hold against a judge beside agreement: golden records that moved, quoted answers, copied thoughts."""
