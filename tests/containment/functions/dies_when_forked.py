"""A module with a hook that ends every process which is forked from it and runs Python's own fork."""

import os

os.register_at_fork(after_in_child=lambda: os._exit(9))


def handler(event, context):
    return "never"
