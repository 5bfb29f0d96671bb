"""Several starts of one step or branch, as `docs/reference/format.md` puts them together; a part of the reader."""

from __future__ import annotations

from format_records import RECORDS, counted_attempt


def start_of(record):
    attempts = record.get("attempts")
    if not attempts:
        return "" if attempts == [] and "name" not in record else None
    return attempts[-1].get("start")


def accounts(records):
    """Return those of some records of one kind and name that count side by side."""
    kept = []
    for record in records:
        start = start_of(record)
        kept = [] if start is None else [other for other in kept if start_of(other) not in (None, start)]
        kept.append(record)
    return kept


def joined(found):
    """Return the records that count by kind and name, in order, of all that were found; of each, the accounts."""
    by_key = {}
    for key, record in found:
        by_key.setdefault(key, []).append(record)
    starts = Starts({key: accounts(records) for key, records in by_key.items()})
    counting = [(key, record) for key, record in found if record is starts.counting(key)]
    return counting, starts


class Starts:
    """What all starts have left, by kind and name."""

    def __init__(self, by_key):
        self.by_key = by_key
        self.joins = {}
        for key in sorted(self.by_key, key=lambda key: key[1].count(".")):  # what is around comes first
            if len(self.by_key[key]) > 1:
                self.joins[key] = self._join(key)

    def counting(self, key):
        found = self.by_key.get(key)
        return found[self.joins[key]["chosen"] if key in self.joins else -1] if found else None

    def _join(self, key):
        found = self.by_key[key]
        starts = [start_of(record) for record in found]
        best, order, places = {}, [], []
        for record, own in zip(found, starts, strict=True):
            seen, here = [], []
            for attempt in record["attempts"]:
                start = attempt.get("start", "")
                name = start, seen.count(start)
                seen.append(start)
                if name not in best:
                    order.append(name)
                rank = attempt["status"] != "PROCESSING", start == own
                if name not in best or (rank[0] >= best[name][0][0] and (rank[1] or not best[name][0][0])):
                    best[name] = rank, record, attempt
                here.append(order.index(name) + 1)
            places.append(here)
        join = {"starts": starts, "places": places, "order": [best[name] for name in order]}
        chosen = join["chosen"] = self._chosen(key, found, starts)
        local = counted_attempt(found[chosen])
        counted = join["counted"] = places[chosen][local - 1] if 0 < local <= len(places[chosen]) else 0
        has_ended = found[chosen]["status"] != "PROCESSING"
        join["statuses"] = [
            "LOST" if has_ended and place != counted and attempt["status"] == "PROCESSING" else attempt["status"]
            for place, (_, _, attempt) in enumerate(join["order"], 1)
        ]
        return join

    def _chosen(self, key, found, starts):
        kind, name = key
        outer = name.rpartition(".")[0]
        everyone = range(len(found))
        if kind == "StepLog":
            around = self.joins.get(("BranchLog", outer))
            inside = around["starts"][around["chosen"]] if around else None
            possible = [n for n in everyone if around is None or (inside and f"{starts[n]}/".startswith(f"{inside}/"))]
            possible = possible or everyone
            return max(possible, key=lambda n: (found[n]["status"] == "SUCCESS", n))
        step, join = self.counting(("StepLog", outer)), self.joins.get(("StepLog", outer))
        returned = (step or {}).get("returned", {}).get(name[len(outer) + 1 :])
        for n in everyone:
            if returned is not None and starts[n].rpartition("/")[2] == returned:
                return n
        counted = join["counted"] if join else counted_attempt(step) if step else 0
        possible = [n for n in everyone if self.attempt_around(found[n], starts[n]) in (0, counted)] or everyone
        ended = {n: (found[n]["attempts"] or [{"end_time": ""}])[-1]["end_time"] for n in possible}
        successes = [n for n in possible if found[n]["status"] == "SUCCESS"]
        return min(successes, key=ended.get) if successes else possible[-1]

    def attempt_around(self, branch, start):
        """Return in which attempt of its step a branch ran; 0 for any."""
        key = "StepLog", branch["internal_name"].rpartition(".")[0]
        if key not in self.joins or not start:
            return branch.get("attempt", 0)
        return self.place(key, start.rpartition("/")[0], branch.get("attempt", 1))

    def place(self, key, start, attempt):
        join = self.joins[key]
        while start:
            if start in join["starts"]:
                places = join["places"][join["starts"].index(start)]
                if 0 < attempt <= len(places):
                    return places[attempt - 1]
            start = start.rpartition("/")[0]
        return 0

    # --- the one record ----------------------------------------------------------------------------------------------

    def shown(self, key, record):
        """Return a record that counts as it is, or all accounts of it as one."""
        start = start_of(record) or ""
        if key in self.joins:
            record = self._as_one(self.joins[key], record)
        changes = {}
        if key[0] == "BranchLog":
            around = "StepLog", key[1].rpartition(".")[0]
            place = self.attempt_around(self.counting(key), start) if around in self.joins else 0
            changes = {"attempt": place} if place else {}
        elif ("StepLog", record.get("inside")) in self.joins:
            place = self.place(("StepLog", record["inside"]), start, record.get("inside_attempt", 1))
            if place:
                record = {name: value for name, value in record.items() if name != "inside_attempt"}
                changes = {"inside_attempt": place} if place > 1 else {}
        if record["status"] == "PROCESSING" and self.is_lost(key):
            changes["status"] = "LOST"
            changes["attempts"] = [
                lost(attempt) if attempt["status"] == "PROCESSING" else attempt for attempt in record["attempts"]
            ]
        return in_order({**record, **changes}, key[0]) if changes else record

    def _as_one(self, join, record):
        attempts = []
        told = zip(join["order"], join["statuses"], strict=True)
        for number, ((_, account, attempt), status) in enumerate(told, 1):
            left = {}
            if account is not record and "name" in account and attempt is account["attempts"][-1]:
                names = {"user_defined_metrics": "metrics", "data_catalog": "data_catalog"}
                left = {new: account[old] for old, new in names.items() if account[old]}
                left |= {name: account[name] for name in ("metric_series", "result") if name in account}
            whole = in_order({**attempt, **left, "attempt_number": number}, "StepAttempt")
            attempts.append(lost(whole) if status == "LOST" else whole)
        one = {name: value for name, value in record.items() if name != "counted_attempt"} | {"attempts": attempts}
        if counted_attempt(one) != join["counted"] and (join["counted"] or "name" not in record):
            one["counted_attempt"] = join["counted"]
        return in_order(one, "StepLog" if "name" in record else "BranchLog")

    def is_lost(self, key):
        record = self.counting(key)
        if record is None or record["status"] != "PROCESSING":
            return False
        start, outer = start_of(record) or "", key[1].rpartition(".")[0]
        if key[0] == "BranchLog":
            return self._is_attempt_lost(outer, start.rpartition("/")[0], record.get("attempt", 1))
        if outer and self.is_lost(("BranchLog", outer)):
            return True
        inside = record.get("inside", key[1])
        return inside != key[1] and self._is_attempt_lost(inside, start, record.get("inside_attempt", 1))

    def _is_attempt_lost(self, step, start, attempt):
        key = "StepLog", step
        place = self.place(key, start, attempt) if key in self.joins else 0
        return self.joins[key]["statuses"][place - 1] == "LOST" if place else self.is_lost(key)


def lost(attempt):
    who = f"process {attempt['pid']} on {attempt.get('host') or 'some host'}" if "pid" in attempt else "the process"
    return {
        **attempt,
        "status": "LOST",
        "message": attempt["message"] or f"it did not end: {who} was lost, or goes on for nothing",
    }


def in_order(fields, kind):
    known = [name for name, *_ in RECORDS[kind]]
    return {name: fields[name] for name in [*known, *fields] if name in fields}
