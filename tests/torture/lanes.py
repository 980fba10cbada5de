# SPDX-License-Identifier: BSD-3-Clause
"""--seeds and --pulls: lanes, which are processes with servers of their own, take one strike or pull after the
other from one list. A strike waits more than it computes, so a machine takes two lanes for each processor."""
import collections
import multiprocessing
import multiprocessing.connection
import os
import random

import load

TRIES = 6  # at a strike: which passage it waits for is chosen anew each time, and may not come
# Beside the ports that clients get: one of them in a port that a restarted server wants is no violation.
PORTS = (20000, 28000)


class Strike(collections.namedtuple("Strike", "seed point action")):
    def dice(self, number):
        """Of its own, whichever lane it is in and whatever that one did before."""
        return random.Random(f"{self.seed} {self.point} {self.action} {number}")


def strikes(torture):
    """Each point killed and stopped once for each seed; all of a seed before the next one's."""
    found = []
    for seed in range(torture.opts.seed, torture.opts.seed + torture.opts.seeds):
        of_seed = [Strike(seed, *cell) for cell in torture.cells()]
        random.Random(seed).shuffle(of_seed)
        found += of_seed
    return found


# ---- in a lane -------------------------------------------------------------------------------

def lane(torture, number, work, taken, out):
    part = (PORTS[1] - PORTS[0]) // torture.opts.jobs
    first = PORTS[0] + number * part
    os.environ.setdefault("RDBEAM_PORTS", f"{first}-{first + part - 1}")
    torture.root = torture.root / f"lane{number}"
    torture.root.mkdir()
    torture.only_new()
    rig = None
    try:
        while torture.left_s() > 0:
            with taken.get_lock():
                at, taken.value = taken.value, taken.value + 1
            if at >= len(work.todo):
                break
            rig = work.do(torture, rig, work.todo[at])
            out.send((work.todo[at], torture.only_new()))
    finally:
        if rig:
            torture.end_rig(rig)
        out.send((None, torture.only_new()))


class Strikes:
    """--seeds: each strike as often as it takes until it has come to pass."""

    def __init__(self, torture):
        self.todo = strikes(torture)
        self.left = collections.Counter(what.seed for what in self.todo)

    @staticmethod
    def do(torture, rig, what):
        """The rig for the next one, or None."""
        for number in range(TRIES):
            torture.pause()
            if torture.left_s() <= 0:
                break
            torture.dice = what.dice(number)
            rig = rig or torture.new_rig("seeds")
            rig.dice = torture.dice
            if not torture.strike(rig, what.point, what.action):
                torture.keep_logs(rig)
                torture.end_rig(rig)  # whatever it is in: the next strike gets a fresh one
                return None
            if rig.fired:
                break
        return rig

    def tried(self, torture, what):
        self.left[what.seed] -= 1
        if not self.left[what.seed]:
            torture.say(f"seed {what.seed}: {torture.result['runs']} strikes, "
                        f"{len(torture.broken)} violations")


class Pulls:
    """--pulls: under writes, each lane from one primary into one target."""

    def __init__(self, torture):
        self.todo = range(torture.opts.pulls)
        self.done = 0

    @staticmethod
    def do(torture, rig, number):
        torture.pause()
        rig = rig or torture.new_rig("pulls")
        load.count_pull(torture, rig, random.Random(f"{torture.opts.seed} {number}"))
        return rig

    def tried(self, torture, _):
        self.done += 1
        if self.done % 100 == 0:
            torture.say(f"{self.done} pulls, {torture.result['diverged']} diverged")


# ---- all of them -----------------------------------------------------------------------------

def run(torture, work):
    taken = multiprocessing.Value("q", 0)
    jobs, pipes = [], []
    for number in range(torture.opts.jobs):
        pipe, out = multiprocessing.Pipe(duplex=False)
        jobs.append(multiprocessing.Process(target=lane, args=(torture, number, work, taken, out)))
        jobs[-1].start()
        out.close()
        pipes.append(pipe)
    while pipes:
        for pipe in multiprocessing.connection.wait(pipes):
            try:
                what, news = pipe.recv()
            except EOFError:
                pipes.remove(pipe)
                continue
            torture.add(news)
            if what is not None:
                work.tried(torture, what)
    for number, job in enumerate(jobs):
        job.join()
        if job.exitcode != 0:
            torture.broken.append(f"lane {number} ended with {job.exitcode}: see what it said above")
