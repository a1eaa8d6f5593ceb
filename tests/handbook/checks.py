"""What is looked at after each block: one function a block, which would fail if it did not hold."""

import dataclasses

import house

_CHECKS = {}


@dataclasses.dataclass
class Run:
    """A block about to be run: what is run in its place, and the house it is run in."""

    house: house.House
    text: str
    language: str
    printed: str

    def __call__(self, **how):
        return self.house.run(self.text, self.language, **how)


def block(heading, number=1):
    """Says which block of the handbook a check is for."""

    def register(check):
        assert (heading, number) not in _CHECKS, f"two checks for {heading} {number}"
        _CHECKS[heading, number] = check
        return check

    return register


def all_checks():
    # They register themselves.
    import check_logs, check_money, check_network, check_service, check_settings  # noqa: E401,F401

    return _CHECKS
