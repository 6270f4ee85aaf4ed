"""A module that gives every socket made after it a time limit, as many do for what they fetch."""

import socket

socket.setdefaulttimeout(0.001)


def timeout_of_channel(event, context):
    return context._services._socket.gettimeout()
