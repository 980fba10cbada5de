/* SPDX-License-Identifier: BSD-3-Clause */
#include "help.h"

#include <stddef.h>

const char *const beam_command_help[] = {
    "RDBEAM.SNAPSHOT [WAIT <ms>]",
    "    Make the table (an image of the keyspace in shared memory) without a disk.",
    "    With WAIT answer when it is whole, or after <ms> with the state by then.",
    "RDBEAM.TICKET [FRESH] [FOR <generation>] [RELAYED [AVOID <relay> ...]]",
    "    Hand out a one-use ticket to pull the image: used by 'rdbeam pull'.",
    "    A retained image is reused while the backlog reaches it, unless FRESH.",
    "    RELAYED: a relay that holds the image may serve it, but none to AVOID.",
    "RDBEAM.RELAY JOIN <port> [<address>] | HOLD <generation> | DROP <generation>",
    "    What 'rdbeam relay' says to serve images on, while its connection lasts.",
    "RDBEAM.RELAY WAIT <generation>|- <ms>",
    "    Answer with the newest generation once that is another one; nil after <ms>.",
    "RDBEAM.LOAD",
    "    Offer a load by module to a pull on this host: used by 'rdbeam pull'.",
    "RDBEAM.FOLLOW <host> <port> [<id>]",
    "    REPLICAOF, said by a pull: used by 'rdbeam pull'.",
    "RDBEAM.STATUS",
    "    The fields of INFO rdbeam as a map.",
    "RDBEAM.HELP",
    "    Print this help.",
    "BGSAVE, save points and disk-based syncs use the table by themselves.",
    "Settings: CONFIG GET rdbeam.*",
    NULL,
};
