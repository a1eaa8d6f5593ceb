"""Reads profiles (profile.proto, zipped) by nothing of ours, and of no library either."""

import collections
import gzip


def _varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _fields(data):
    """The fields of a message: numbers as they are, all else as bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        value, at = _varint(data, at)
        if key & 7 == 2:
            length, value = value, data[at:at + value]
            at += length
        else:
            assert key & 7 == 0, f"no field of a profile is like {key & 7}"
        yield key >> 3, value


def _numbers(value):
    """A repeated number: alone, or packed with others."""
    if isinstance(value, int):
        return [value]
    numbers, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        numbers.append(number)
    return numbers


class Profile:
    """What was measured (`units`), and how much of it in which function itself (`flat`)."""

    def __init__(self, zipped):
        parts = collections.defaultdict(list)
        for field, value in _fields(gzip.decompress(zipped)):
            parts[field].append(value)
        strings = [text.decode() for text in parts[6]]
        self.units = [tuple(strings[index] for _, index in sorted(_fields(unit)))
                      for unit in parts[1]]
        mappings = {part[1]: part for part in map(dict, map(_fields, parts[3]))}
        self.files = {strings[mapping[5]] for mapping in mappings.values()}
        functions = {part[1]: strings[part[2]] for part in map(dict, map(_fields, parts[5]))}
        self.functions = set(functions.values())
        locations = {part[1]: part for part in map(dict, map(_fields, parts[4]))}

        def name(location):
            location = locations[location]
            if 4 not in location:
                return f"[{strings[mappings[location[2]][5]]}]" if location.get(2) else "[?]"
            return functions[dict(_fields(location[4]))[1]]

        self.flat = collections.Counter()
        for sample in map(list, map(_fields, parts[2])):
            stack = [id for field, value in sample if field == 1 for id in _numbers(value)]
            values = [number for field, value in sample if field == 2 for number in _numbers(value)]
            assert len(values) == len(self.units), (values, self.units)
            self.flat[name(stack[0]) if stack else "[nothing]"] += values[-1]
