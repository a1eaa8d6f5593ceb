"""Each request comes from an address of its own: tries at access tokens are slowed by address, and
schemathesis tries a wrong one at every call.
"""

import itertools

import requests

numbers = itertools.count(1)
send = requests.Session.send


def from_its_own_address(session, request, **options):
    number = next(numbers)
    request.headers["X-Forwarded-For"] = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    return send(session, request, **options)


requests.Session.send = from_its_own_address
