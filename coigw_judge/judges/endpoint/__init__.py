"""Judges behind an HTTP address: any number of servers that speak OpenAI's protocol.

engine.py         its Engine (judges/protocol.py): answers before a request is sent
judge.py          one request, sent and tried again
servers.py        which server gets it, and which are set aside
rate_limits.py    requests and tokens a minute
chat_form.py, token_id_form.py    a request as messages, or as token ids
control_tokens.py what of a record looks like a control token to a server that renders the template itself
probes.py         who a server is, and whether it works
"""
