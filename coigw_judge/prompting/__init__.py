"""One request to the judge: what it is asked, what it is shown, and the key that names both for good.

rubric.py     a rubric file
template.py   a prompt file; system text, fields and task put together
long_text.py  what of a long text is shown
tokens.py     texts as token ids, so that no record can write control tokens
samples.py    which samples of a request there are, and what each is for
request.py    Ask, and its key
"""
