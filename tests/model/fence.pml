/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Publishing and fencing of one slot, as docs/architecture.md tells them: a writer fills it for
 * generation after generation, the daemon speaks of it and takes it back, one session reads it by
 * one-sided READs (which the device carries out some time after they were posted, and repeats when
 * it does not hear of the answer), the disk writes from it.
 *
 * What must hold: whatever is used of a READ, or reported as written, is one generation's, whole;
 * and no READ reaches the slot once it is not its image's any more.
 *
 * Each step that the promise rests on has a name and can be taken away with -DNO_<NAME>; then the
 * model must fail (tests/model/check):
 *	SEAL_ORDER	payload before seal, release and acquire
 *	MESSAGE		the reader posts only after the message that tells of the seal
 *	COMPLETION	the reader uses bytes only after the READ's completion
 *	GRANTS		no new session on a generation that retires
 *	QP_DRAIN	the session's READs have ended before the slot is given back
 *	REAP		the disk's completions are reaped before the slot is given back
 *	WRITER_GONE	a writer that was given up is dead before its slot is another's
 *	NAMES		a generation's number is never used again
 */
#define GENS  3 /* generations, one after the other */
#define PARTS 2 /* of a slot: written and read one after the other */

#define EMPTY 0

/* The slot's memory: which generation wrote each part; the seal; who may write. */
byte part[PARTS];
byte seal;
byte now;	/* the generation that the slot belongs to, 0: free */
bool writer_alive[GENS + 1];	/* a process that could write for that generation */
bool aborted[GENS + 1];		/* the daemon has given the copy up */
bool published;			/* the daemon has told of the seal of `now` */
bool retiring;

/* The session: one READ at a time, with its queue pair's state. */
bool session;		/* it holds a grant on image `image` */
byte image;
bool qp_error;		/* moved to error: new READs are refused, old ones flush */
bool posted;		/* a READ is with the device */
byte got[PARTS];
byte asked;		/* what the reader believes it reads */
bool completed, used;

/* The disk: one write of the slot. */
bool writing;
byte wrote[PARTS];
byte write_of;

#define CHECK_WHOLE(array, gen) assert(array[0] == gen && array[1] == gen)

/* Number of the next generation's name. Never used again, unless the fence of names is gone. */
#ifdef NO_NAMES
#define NAME(g) 1
#else
#define NAME(g) (g)
#endif

proctype Writer(byte gen) {
	byte name = NAME(gen);

#ifdef NO_SEAL_ORDER
	/* The seal may be seen before the payload that it stands for. */
	if
	:: atomic { seal = name; part[0] = gen }
	:: atomic { part[0] = gen; seal = name }
	fi;
	part[1] = gen;
#else
	/* It looks whether it was given up when it begins, not before each store. */
	if
	:: aborted[gen] -> goto end
	:: else
	fi;
	part[0] = gen;
	part[1] = gen;
	seal = name;
#endif
end:
	writer_alive[gen] = false
}

proctype Disk() {
	byte i;

end_disk:
	do
	:: atomic { writing -> i = 0 };
	   do
	   :: i < PARTS -> wrote[i] = part[i]; i++
	   :: else -> break
	   od;
	   CHECK_WHOLE(wrote, write_of);
	   writing = false
	od
}

/* The responder's side of a READ: bytes are taken when the device gets to it, and again when it was
 * repeated. Until its end nothing may have changed. */
proctype Device() {
	byte tries;

end_device:
	do
	:: posted ->
	   tries = 0;
again:
	   if
	   :: qp_error -> atomic { posted = false; completed = false } /* flushed */
	   :: else ->
	      atomic { assert(now == image); got[0] = part[0] };
	      atomic { assert(now == image); got[1] = part[1] };
	      if
	      :: tries == 0 -> tries++; goto again /* the answer was lost */
	      :: atomic { posted = false; completed = true }
	      fi
	   fi
	od
}

proctype Reader() {
	byte mine;

end_reader:
	do
	/* A ticket for the image that is there. */
	:: atomic {
#ifdef NO_GRANTS
		now != 0 && !session ->
#else
		now != 0 && !retiring && !session ->
#endif
		session = true; image = now; mine = NAME(now); asked = now; completed = false;
		used = false
	   };
	   /* Nobody infers readiness from memory: the daemon's message tells. */
#ifndef NO_MESSAGE
	   if
	   :: (published && now == image) || qp_error
	   fi;
#endif
	   atomic {
		if
		:: qp_error -> skip
		:: else -> posted = true
		fi
	   };
#ifndef NO_COMPLETION
	   !posted;
	   if
	   :: completed && !qp_error ->
#else
	   if
	   :: !qp_error ->
#endif
		/* "Is it still valid?" is answered by name, before the bytes are fed. */
		if
		:: NAME(now) == mine && !retiring -> CHECK_WHOLE(got, asked); used = true
		:: else /* stale: not used */
		fi
	   :: else /* the queue pair is gone */
	   fi;
#ifdef NO_COMPLETION
	   !posted;
#endif
	   atomic { session = false; image = 0; qp_error = false; got[0] = 0; got[1] = 0 }
	od
}

proctype Daemon() {
	byte gen = 1;

	do
	:: gen <= GENS ->
	   /* No slot is granted before its fence is complete. */
	   atomic { now = gen; retiring = false; published = false; writer_alive[gen] = true };
	   run Writer(gen);
	   if
	   /* Sealed: it is told of, and handed to the disk. */
	   :: seal == NAME(gen) ->
		atomic { published = true; write_of = gen; writing = true }
	   /* Or the copy is given up in the middle. */
	   :: seal != NAME(gen) -> aborted[gen] = true
	   fi;
	   /* The fence. */
	   retiring = true;
#ifndef NO_WRITER_GONE
	   !writer_alive[gen];
#endif
#ifndef NO_REAP
	   !writing;
#endif
	   if
	   :: atomic { session && image == gen -> qp_error = true };
#ifndef NO_QP_DRAIN
	      !posted
#endif
	   :: else
	   fi;
	   atomic { now = 0; gen++ }
	:: else -> break
	od
}

init {
	atomic { run Daemon(); run Disk(); run Device(); run Reader() }
}
