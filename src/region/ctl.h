/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Control messages between the module, its forked child (with its workers and the waiter) and the
 * daemon, over unix SEQPACKET sockets on one machine. Messages are fixed structs in native byte
 * order, one per packet; file descriptors are passed along.
 *
 * The module spawns rdbeamd with two inherited fds: BEAM_FD_CONTROL (a connected socketpair) and
 * BEAM_FD_LISTEN (an abstract listening socket for children). It then sends HELLO and CONFIG. The
 * daemon answers READY, and from then on sends OPENED, STATUS and LOG. If HELLO came with a page
 * (status_page.h), numbers that merely move are written there instead. EOF on the control socket
 * ends the daemon.
 *
 *	child             daemon
 *	BEGIN  ------>               secret, cut, estimate; fd: the file to write, if durable
 *	       <------ GENERATION    table size; fd: the table (or REFUSED)
 *	       <------ EXTENT        one per extent, also later as the region grows; fd: its memfd
 *	NEED   ------>               this writer waits for a slot for `index`
 *	       <------ GRANTED       it has one
 *	SEALED ------>               entry `index` was sealed; sent by whoever sealed it
 *	COPIED ------>               all sealed, `total` set; the child becomes the waiter
 *	WAITING ----->               the waiter runs: the server's memory has been released
 *	       <------ PROGRESS      every second, so silence means a dead or stopped daemon; also
 *	                             to a writer that waits for memory to be reused
 *	       <------ DURABLE       or FAILED (a memory snapshot's COPIED gets DURABLE at once)
 *	UNSAVED ----->               after DURABLE: the file did not become the dump
 *	ABORT  ------>               instead of COPIED: no writer is left, the slots can be freed
 *
 * A worker makes its own connection and sends JOIN first; it then gets the EXTENTs that it does not
 * have. A coordinator that closes its connection without COPIED or ABORT has died: the daemon
 * revokes the generation, and reuses its slots once the processes of all its writers are gone.
 */
#ifndef BEAM_CTL_H
#define BEAM_CTL_H

#include <assert.h>
#include <stdint.h>

#include "rdbeam/image_format.h"
#include "rdbeam/version.h"

#define BEAM_FD_CONTROL 3
#define BEAM_FD_LISTEN  4
/* Exit code of the spawned process once the daemon has detached from it: 0, or this if a system
 * call filter kills processes that change their priority or CPU affinity. */
#define BEAM_EXIT_FIXED 5

/* Of everything in this file, and of the waiter's arguments. */
#define BEAM_CTL_PROTOCOL 11
/* In the bytes of rdbeam-wait: by it, the module tells a waiter of its own kind. */
#define BEAM_WAITER_MARK                                                                           \
	"rdbeam-wait " RDBEAM_VERSION ", protocol " BEAM_CTL_TEXT(BEAM_CTL_PROTOCOL) ": "
#define BEAM_CTL_TEXT(number)  BEAM_CTL_TEXT_(number)
#define BEAM_CTL_TEXT_(number) #number

#define BEAM_CTL_MAX_BYTES    8192
#define BEAM_SECRET_BYTES     16
#define BEAM_TICKET_ID_BYTES  8
#define BEAM_TICKET_KEY_BYTES 32
#define BEAM_TEXT_BYTES       256
#define BEAM_ADDR_BYTES       64 /* text of an IPv4 or IPv6 address, NUL-terminated */
#define BEAM_REPLID_BYTES     41 /* 40 hex digits and a NUL */
#define BEAM_PUBLIC_BYTES     32 /* Ed25519 */

/* How long RDBEAM.TICKET and RDBEAM.SNAPSHOT wait, at most, for an image to begin: for other
 * children of the server to end, and for the fork. */
#define BEAM_BEGIN_WAIT_MS 60000

/* The ID of a relay's ticket begins with its expiry time (4 bytes, in ticks since the relay
 * joined), then 2 bytes of the generation's counter. */
#define BEAM_RELAY_TICK_MS   100
#define BEAM_RELAY_TICKET_MS 5000

enum beam_ctl_type {
	/* module -> daemon */
	BEAM_CTL_HELLO = 1,    /* struct beam_ctl_hello, and the status page's fd if there is one */
	BEAM_CTL_CONFIG,       /* struct beam_ctl_config: at start and after each CONFIG SET */
	BEAM_CTL_TICKET,       /* struct beam_ctl_ticket: register a ticket */
	BEAM_CTL_RELAY_TICKET, /* struct beam_ctl_relay_ticket: compute a relay's */
	/* daemon -> module */
	BEAM_CTL_READY = 20, /* struct beam_ctl_ready */
	/* struct beam_ctl_status: at every change of state; without a page also when numbers move,
	 * at most 10 times a second */
	BEAM_CTL_STATUS,
	BEAM_CTL_LOG,       /* struct beam_ctl_text: code is the enum beam_log_level */
	BEAM_CTL_OPENED,    /* struct beam_ctl_opened: a child began a generation */
	BEAM_CTL_RELAY_KEY, /* struct beam_ctl_relay_key: answer to RELAY_TICKET */
	/* child -> daemon */
	BEAM_CTL_BEGIN = 40, /* struct beam_ctl_begin */
	BEAM_CTL_JOIN,       /* struct beam_ctl_join */
	BEAM_CTL_NEED,       /* struct beam_ctl_index */
	BEAM_CTL_SEALED,     /* struct beam_ctl_index */
	BEAM_CTL_COPIED,     /* struct beam_ctl_copied */
	BEAM_CTL_ABORT,      /* struct beam_ctl_text: why */
	BEAM_CTL_WAITING,    /* struct beam_ctl_head */
	BEAM_CTL_UNSAVED,    /* struct beam_ctl_text: why */
	/* daemon -> child */
	BEAM_CTL_GENERATION = 60, /* struct beam_ctl_generation + table fd */
	BEAM_CTL_EXTENT,          /* struct beam_ctl_extent + memfd */
	BEAM_CTL_GRANTED,         /* struct beam_ctl_index */
	BEAM_CTL_REFUSED,         /* struct beam_ctl_text */
	BEAM_CTL_DURABLE,         /* struct beam_ctl_durable */
	BEAM_CTL_FAILED,          /* struct beam_ctl_text */
	/* struct beam_ctl_progress: every second from COPIED on. The waiter takes 5 s of silence
	 * for the daemon's death. The outcome is repeated every second, too. */
	BEAM_CTL_PROGRESS,
};

struct beam_ctl_head {
	uint32_t type;
	uint32_t len_bytes; /* of the whole message, including this head */
};

/* The point in the replication stream that an image corresponds to. */
struct beam_cut {
	char replid[BEAM_REPLID_BYTES]; /* "" without a backlog: no replica can continue */
	uint8_t is_replica;             /* role of the server at the fork */
	uint8_t pad[6];
	int64_t offset;          /* master_repl_offset at the fork */
	int64_t stream_db;       /* database selected in the stream at the cut; -1: unknown */
	uint64_t wall_ms;        /* ctime */
	char server[16];         /* "redis" or "valkey" */
	char server_version[16]; /* "7.0.15" */
};

enum beam_snapshot_kind {
	BEAM_SNAPSHOT_DISK = 1,   /* BGSAVE: must become durable */
	BEAM_SNAPSHOT_MEMORY = 2, /* RDBEAM.SNAPSHOT, a pull, rdbeam.durable no */
};

struct beam_ctl_hello {
	struct beam_ctl_head head;
	uint32_t protocol; /* BEAM_CTL_PROTOCOL */
	int32_t server_pid;
	uint8_t secret[BEAM_SECRET_BYTES]; /* children authenticate with it */
};

enum beam_hugepages { BEAM_HUGEPAGES_TRY, BEAM_HUGEPAGES_REQUIRE, BEAM_HUGEPAGES_NO };
enum beam_transport_choice {
	BEAM_TRANSPORT_AUTO,
	BEAM_TRANSPORT_VERBS,
	BEAM_TRANSPORT_TCP,
	BEAM_TRANSPORT_OFF,
};

struct beam_ctl_config {
	struct beam_ctl_head head;
	uint64_t region_bytes; /* limit of the region's memory; 0: half of what is available */
	uint32_t segment_bytes;
	uint32_t hugepages; /* enum beam_hugepages */
	uint32_t transport; /* enum beam_transport_choice */
	uint32_t port;      /* where pulls connect; 0 with transport off */
	uint32_t retain_s;
	uint32_t max_pulls;
	uint64_t rate_limit;       /* bytes per second of all pulls together; 0: no limit */
	uint64_t flush_rate_limit; /* bytes per second; 0: no limit */
	uint32_t stall_timeout_s;
	uint8_t must_tls;     /* pulls over TCP only, and only by TLS */
	uint8_t is_protected; /* Redis' protected mode: connections from loopback only */
	uint8_t pad[2];
	uint32_t number; /* of this CONFIG; READY tells which one is in force */
	uint32_t nbind;
	char bind[16][BEAM_ADDR_BYTES]; /* "*" and "::*" as in redis.conf; "-" prefix stripped */
};

struct beam_ctl_ticket {
	struct beam_ctl_head head;
	uint8_t id[BEAM_TICKET_ID_BYTES];
	uint8_t key[BEAM_TICKET_KEY_BYTES];
	struct beam_gen gen;
	uint32_t ttl_ms;
	uint32_t pad;
	char addr[BEAM_ADDR_BYTES]; /* the only address that may use it */
};

/* The daemon computes this key for the module, which links no cryptography. */
struct beam_ctl_relay_ticket {
	struct beam_ctl_head head;
	uint8_t id[BEAM_TICKET_ID_BYTES];
	uint8_t relay_key[BEAM_TICKET_KEY_BYTES]; /* shared by primary and relay */
	struct beam_gen gen;
	char addr[BEAM_ADDR_BYTES]; /* of the reader */
};

struct beam_ctl_relay_key {
	struct beam_ctl_head head;
	uint8_t id[BEAM_TICKET_ID_BYTES];
	uint8_t key[BEAM_TICKET_KEY_BYTES];
	int32_t code; /* 0, or why there is no key */
	uint32_t pad;
};

struct beam_ctl_ready {
	struct beam_ctl_head head;
	int32_t pid;
	uint32_t port;   /* that the listeners got; 0: none */
	uint32_t config; /* number of the CONFIG that is in force */
	uint32_t pad;
	uint8_t public_key[BEAM_PUBLIC_BYTES]; /* for its signatures (transport/vouch.h) */
	char transports[32];                   /* that listen, best first: "verbs,tcp" */
	char error[BEAM_TEXT_BYTES]; /* why there is no listener (port in use, ...), or "" */
};

/* States of the newest generation; INFO uses the same names. */
enum beam_state {
	BEAM_STATE_IDLE,
	BEAM_STATE_COPYING,
	BEAM_STATE_FLUSHING,
	BEAM_STATE_READY,
	BEAM_STATE_FAILED,
};

/* The RDMA device that serves pulls. */
struct beam_ctl_device {
	char name[32]; /* "": none */
	char gid[48];
	uint32_t port, mtu, depth, pad;
	uint64_t registered_bytes;
};

/* A pull that is being served. */
#define BEAM_CTL_PULLS 16 /* if there are more, the oldest ones */
struct beam_ctl_pull {
	uint64_t number;   /* unique within its transport while it runs */
	char transport[8]; /* "tcp" */
	char peer[BEAM_ADDR_BYTES];
	uint64_t bytes;       /* received so far; over verbs, as last reported */
	uint64_t image_bytes; /* of its image; 0: not known yet, the image is being made */
	uint64_t ms;          /* since it got its place */
};

struct beam_ctl_status {
	struct beam_ctl_head head;
	uint32_t state; /* enum beam_state, of the newest generation */
	uint32_t nworkers;
	struct beam_gen gen;
	uint64_t region_bytes; /* memory held now */
	uint64_t page_bytes;   /* 2 MiB hugetlb or THP, or 4096 */
	uint64_t keys, expired;
	uint64_t image_bytes;
	uint64_t copy_ms;         /* from the fork (as the child saw it) to COPIED */
	uint64_t cow_window_ms;   /* from the fork to the waiter's start (or to COPIED) */
	uint64_t flush_ms;        /* from the first write to the end of fsync */
	uint64_t last_durable_ms; /* wall clock; 0: never in this daemon's life */
	uint64_t flushed_bytes;
	uint64_t progress_permille;
	uint64_t pulls_active, pulls_waiting, pulls_total, pull_bytes_total;
	uint64_t tickets_denied;
	uint32_t npulls, pad;
	struct beam_ctl_pull pulls[BEAM_CTL_PULLS];
	struct beam_ctl_device device;
	struct beam_cut cut; /* of the image that a pull would get: newest complete or copying */
	struct beam_gen servable; /* that image's generation; counter 0: none */
	char last_error[BEAM_TEXT_BYTES];
};

struct beam_ctl_opened {
	struct beam_ctl_head head;
	struct beam_gen gen;
	int32_t pid; /* of the child */
	uint32_t kind;
	struct beam_cut cut;
};

struct beam_ctl_begin {
	struct beam_ctl_head head;
	uint8_t secret[BEAM_SECRET_BYTES];
	uint32_t kind; /* enum beam_snapshot_kind */
	uint32_t nworkers;
	uint64_t estimate_bytes; /* of the image; determines how much memory is prepared */
	uint64_t keys_expected;
	uint64_t fork_ns;   /* beam_now_ns() at the fork */
	uint32_t direct_io; /* the file was opened with O_DIRECT */
	uint32_t pad;
	int64_t backlog_first; /* offset of the oldest byte in the server's backlog; 0: not known */
	struct beam_cut cut;
};

struct beam_ctl_join {
	struct beam_ctl_head head;
	uint8_t secret[BEAM_SECRET_BYTES];
	struct beam_gen gen;
	uint32_t worker;
	uint32_t extents_known; /* extents 0..n-1 are mapped already (inherited) */
};

struct beam_ctl_index {
	struct beam_ctl_head head;
	uint32_t index;
	uint32_t pad;
};

struct beam_ctl_copied {
	struct beam_ctl_head head;
	uint64_t keys, expired;
	uint64_t image_bytes;
	uint64_t file_crc;
};

struct beam_ctl_generation {
	struct beam_ctl_head head;
	struct beam_gen gen;
	uint64_t table_bytes;
	uint32_t segment_bytes;
	uint32_t pad;
};

struct beam_ctl_extent {
	struct beam_ctl_head head;
	uint32_t extent; /* number within the generation's region: 0, 1, ... */
	uint32_t pad;
	uint64_t bytes;
};

struct beam_ctl_durable {
	struct beam_ctl_head head;
	uint64_t file_bytes;
};

struct beam_ctl_progress {
	struct beam_ctl_head head;
	uint64_t flushed_bytes, image_bytes;
};

struct beam_ctl_text {
	struct beam_ctl_head head;
	int32_t code;
	uint32_t pad;
	char text[BEAM_TEXT_BYTES]; /* NUL-terminated */
};

static_assert(sizeof(struct beam_ctl_config) <= BEAM_CTL_MAX_BYTES, "fits a packet");
static_assert(sizeof(struct beam_ctl_status) <= BEAM_CTL_MAX_BYTES, "fits a packet");

/* Fills in the head and sends the message. `fd` may be -1. Returns as beam_packet_send. */
int beam_ctl_send(int sock, enum beam_ctl_type type, void *message, uint32_t len_bytes, int fd);

/* Checks that a received packet is a complete message of its type: the length in the head, the
 * packet's length and the size of the type's struct must be equal. 0 or BEAM_E_PROTO. */
int beam_ctl_check(const void *packet, uint32_t packet_bytes);

/* Sends a struct beam_ctl_text with `text`, truncated to fit. Returns as beam_packet_send. */
int beam_ctl_send_text(int sock, enum beam_ctl_type type, int code, const char *text);

#endif
