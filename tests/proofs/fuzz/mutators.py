"""Mutations that keep JSON what it is, beside those of bytes: readers look into what is JSON alone."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

#: What stands in records and commands, so that it need not be guessed letter by letter.
WORDS = (
    "name internal_name status step_type message mock code_identities attempts user_defined_metrics branches "
    "data_catalog metric_series result arguments cached_from run_id dag_hash use_cached tag original_run_id steps "
    "parameters run_config chunkstore format incarnation version created finished imported resumed SUCCESS FAIL "
    "PROCESSING keys set removed items append over change points branch file body form text bare indented $float "
    "$$float NaN Infinity -Infinity orphans bookkeeping owners metrics changes holder place pid host since boot kind "
    "value job stage put get data_hash catalog_relative_path attempt_number start_time end_time duration StepLog- "
    "BranchLog- StepUpdate- BranchUpdate- Metric- Parameter- Parameter-root.json RunLog.json Journal-1-1.jsonl "
    "Sealed-1.jsonl .aside- .owner .joined .lock .tmp- .json .jsonl %2E %25 %72oot root ../ === =1= =*="
).split()
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 1.5, -0.0, 1e308, 10**20, 10**400, "", " ", "a", "a.b", "%2E", "..", "\0", "\ud800",
    "\u2028", "2024-02-02 05:49:41.697142+00:00", "9999-12-31", "0:00:01", "-1 day, 0:00:00", [], {}, [[]], [0, 1, ""],
    {"": 0}, {"$float": "NaN"}, {"$float": 1}, {"$$float": []}, [1, {"$float": "NaN"}], {"a": {"b": {"c": []}}},
)  # fmt: skip
_DEEPEST = 1_200


def mutated(data: bytes, most_bytes: int, seed: int, mutate_bytes: Callable[[bytes, int], bytes]) -> bytes:
    """Return another input made from one: in one of its lines of JSON, in its lines, or anywhere."""
    chance = random.Random(seed)
    kind = chance.random()
    lines = data.split(b"\n")
    if kind < 0.45:
        places = [place for place, line in enumerate(lines) if line[:1] in (b"{", b"[")]
        for place in chance.sample(places, min(3, len(places))):
            try:
                value = json.loads(lines[place])
            except (ValueError, RecursionError):
                continue
            try:
                lines[place] = json.dumps(_mutated_json(value, chance), separators=(",", ":")).encode()
            except (ValueError, RecursionError):
                continue
            return b"\n".join(lines)[:most_bytes]
    elif kind < 0.6:
        _mutate_lines(lines, chance)
        return b"\n".join(lines)[:most_bytes]
    return mutate_bytes(data, most_bytes)


def _mutate_lines(lines: list[bytes], chance: random.Random) -> None:
    place, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    way = chance.randrange(5)
    if way == 0:
        lines.insert(place, lines[other])
    elif way == 1:
        del lines[place]
    elif way == 2:
        lines[place], lines[other] = lines[other], lines[place]
    elif way == 3:
        at = chance.randrange(len(lines[place]) + 1)
        lines[place] = lines[place][:at] + chance.choice(WORDS).encode() + lines[place][at:]
    else:
        words = [word for word in WORDS if word.encode() in lines[place]] or [""]
        lines[place] = lines[place].replace(chance.choice(words).encode(), chance.choice(WORDS).encode(), 1)


def _mutated_json(value: Any, chance: random.Random) -> Any:
    """Return a value with one or more of its parts changed."""
    holder = [value]
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        places = list(_places(holder))
        container, key = chance.choice(places)
        way = chance.randrange(8)
        if way == 0 and container is not holder:
            del container[key]
        elif way in (1, 2):
            container[key] = json.loads(json.dumps(chance.choice(_VALUES)))
        elif way == 3:
            source, name = chance.choice(places)
            container[key] = json.loads(json.dumps(source[name]))
        elif way == 4 and isinstance(container, dict):
            container[chance.choice(WORDS)] = container.pop(key)
        elif way == 5 and isinstance(container[key], str):
            container[key] = container[key] + chance.choice(WORDS)
        elif way == 6 and isinstance(container[key], dict):
            container[key][chance.choice(WORDS)] = json.loads(json.dumps(chance.choice(_VALUES)))
        elif way == 7:
            depth = chance.choice((1, 1, 1, 2, 100, _DEEPEST)) if len(places) < 100 else 1
            for _ in range(depth):
                container[key] = [container[key]] if chance.random() < 0.5 else {"a": container[key]}
    return holder[0]


def _places(value: Any) -> Any:
    """Yield every part of a value as its container and its key there."""
    waiting = [value]
    while waiting:
        container = waiting.pop()
        for key, item in container.items() if isinstance(container, dict) else enumerate(container):
            yield container, key
            if isinstance(item, (dict, list)):
                waiting.append(item)
