"""How far judge and people agree, with intervals; the gate that reaches a wanted recall; calibration.json.

labelled_records.py  labelled rows beside verdicts
agreement.py, alpha.py    coefficients and their intervals
gate.py              what a gate does to labelled records
cheapest_gate.py     the gate that reaches a wanted recall
report.py            all of it; file.py has it as models and on disk, text.py prints it
"""
