/* SPDX-License-Identifier: BSD-3-Clause
 * The text of RDBEAM.HELP. */
#include "help.h"

#include <stddef.h>

const char *const beam_command_help[] = {
    "RDBEAM.SNAPSHOT [WAIT <ms>]",
    "    Make an image of the keyspace in shared memory, without writing it to disk.",
    "    With WAIT, answer when it is complete, or after <ms> with the state by then.",
    "RDBEAM.TICKET [FRESH] [FOR <generation>] [RELAYED [AVOID <relay> ...]]",
    "    Issue a one-use ticket to pull the image. Used by 'rdbeam pull'.",
    "    A retained image is reused if the backlog reaches back to it, unless FRESH.",
    "    RELAYED: a relay that holds the image may serve it, except those to AVOID.",
    "RDBEAM.RELAY JOIN <port> [<address>] | HOLD <generation> | DROP <generation>",
    "    Register a relay while its connection lasts. Used by 'rdbeam relay'.",
    "RDBEAM.RELAY WAIT <generation>|- <ms>",
    "    Answer with the newest generation once it is a different one; nil after <ms>.",
    "RDBEAM.LOAD",
    "    Offer a pull on this host to load with the module. Used by 'rdbeam pull'.",
    "RDBEAM.FOLLOW <host> <port> [<id>]",
    "    REPLICAOF as sent by a pull. Used by 'rdbeam pull'.",
    "RDBEAM.STATUS",
    "    Return the fields of INFO rdbeam as a map.",
    "RDBEAM.HELP",
    "    Print this help.",
    "BGSAVE, save points and disk-based syncs need no command: they use rdbeam.",
    "Settings: CONFIG GET rdbeam.*",
    NULL,
};
