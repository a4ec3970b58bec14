"""The judge and people: labels read, samples drawn and handed over, agreement measured, drift and leaks told.

chosen.py, export.py, label_studio.py      which rows go to people, in what form, and the accepted corpus
labels.py, labelled.py                     what people said, beside what the judge said
calibrate*.py, agreement.py, alpha.py      how far they agree, with intervals
regate.py                                  the gate that reaches a wanted recall
drift.py                                   golden records that moved
annotators.py, leaks.py                    one annotator's yield, quoted answers and copied thoughts
"""
