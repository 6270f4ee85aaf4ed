"""A module that tries to reach the port of the environment variable PORT while it is imported."""

import os

import networking

FOUND = networking.reach_tcp([int(os.environ["PORT"])], None)


def handler(event, context):
    return FOUND
