"""The judge and people.

labels/       what people said, beside what the judge said
calibration/  how far they agree, with intervals; the gate that reaches a wanted recall
export/       which rows go to people, in what form, and the accepted corpus
quality/      golden records that moved, quoted answers, copied thoughts
"""
