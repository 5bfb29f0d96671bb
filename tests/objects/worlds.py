"""A small world in a bucket: a run, and a store behind a proxy that owns some of the run's records."""

from operations import RUN, TO_NEW_RUNS, begin, go_on, perform, state_of

import chunkstore
from chunkstore.errors import ChunkstoreError, RunLogExistsError, RunLogNotFoundError

#: Done again, they add to what the first try may have done.
NOT_REPEATED = ("append", "append first")


class World:
    """A prefix of its own with a run; `store` is the one behind the proxy.

    Args:
        place: the server.
        proxy: before it.
        operation: what is going to be done; some need a run that is sealed.
    """

    def __init__(self, place, proxy, operation=""):
        self.place = place.fresh()
        healthy = self.healthy()
        begin(healthy)
        behind = self.place.through(proxy.endpoint)
        self.store = chunkstore.open_store(behind.url, **behind.options)
        go_on(self.store, healthy, operation)

    def healthy(self):
        """Return another store, that knows nothing yet and talks to the server itself."""
        return chunkstore.open_store(self.place.url, **self.place.options)

    def state(self):
        return state_of(self.healthy())


def states_of(place, proxy, operation):
    """Return what others see before an operation and after it."""
    world = World(place, proxy, operation)
    before = world.state()
    perform(operation, world.store)
    return [before, world.state()]


def hit_at_every_request(place, proxy, operation, fault, times):
    """Let a fault happen at the first request of an operation, then at the second, and so on; check what is left.

    Args:
        place: the server.
        proxy: before it.
        operation: what is done.
        fault: what happens.
        times: to how many requests; None for all from there on, of which the store's patience is soon at its end.

    Returns:
        At how many requests it was.
    """
    states = states_of(place, proxy, operation)
    number = 0
    while True:
        world = World(place, proxy, operation)
        if times is None:
            world.store.backend.client._patience = 0.0
        error = None
        with proxy.failing(fault, at=number, times=times) as planned:
            try:
                perform(operation, world.store)
            except ChunkstoreError as raised:
                error = raised
        where = f"{operation}, {fault} at request {number}: {planned.hit[:1]}: {error!r}"
        # One fault is got over, as all that the client needs is to look or to ask again.
        assert times is None or error is None, where
        check(world, operation, states, error, where)
        if not planned.hit:
            return number
        number += 1


def check(world, operation, states, error, where):
    """It returned and is there, or it raised and the store is whole; it can be made again, and others go on."""
    state = world.state()
    if error is None:
        assert state == states[1], where
    else:
        assert state in states, where
        again(world, operation, states, where)
    if operation != "delete":
        world.healthy().set_parameters(RUN, {"others": "go on"})


def again(world, operation, states, where):
    try:
        perform(operation, world.store)
    except RunLogExistsError:
        assert operation in TO_NEW_RUNS, where
    except RunLogNotFoundError:
        assert operation == "delete", where
    assert world.state() == states[1] or operation in NOT_REPEATED, where
