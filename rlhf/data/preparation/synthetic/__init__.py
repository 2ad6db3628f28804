"""Records that a language model writes: new instructions, answers to prompts, answers that it criticised and revised.

A method (`self_instruct`, `responses`, `critique`) is a generator of requests that is sent their replies, so that one
driver counts the cost beforehand, asks, and continues after a kill: the same replies lead to the same requests.
"""
