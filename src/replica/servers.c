/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Reads INFO of both servers; each refusal comes with a remedy.
 */
#include "servers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rdb.h"
#include "rdbeam/error.h"
#include "sockets.h"
#include "tell.h"

#define VERSION_LEAST 7
#define CHAIN_MOST    16

/* Reads the default sections of INFO in one reply, so that all values are of one moment; "all"
 * would add those of modules. */
static int read_info(struct beam_redis *redis, char *error, redisReply **out)
{
	int rc = beam_redis_command(redis, out, "INFO");
	char remedy[BEAM_REMEDY_BYTES];

	if (rc)
		return beam_tell(
		    error, rc, "%s: INFO: %s%s", beam_redis_name(redis), beam_redis_error(redis),
		    beam_remedy(beam_redis_error(redis), "+info", remedy, sizeof(remedy)));
	if ((*out)->type != REDIS_REPLY_STRING && (*out)->type != REDIS_REPLY_STATUS) {
		freeReplyObject(*out);
		return beam_tell(error, BEAM_E_PROTO, "%s: INFO did not answer with text",
				 beam_redis_name(redis));
	}
	return 0;
}

static int64_t info_number(const char *info, const char *field)
{
	char text[32];

	return beam_redis_info_field(info, field, text, sizeof(text)) ? 0 : atoll(text);
}

/* Whether every module declares `option`. INFO has a line for each of them. */
static bool modules_declare(const char *info, const char *option)
{
	const char *at = info;

	while ((at = strstr(at, "\nmodule:"))) {
		size_t len = strcspn(++at, "\n");
		const char *found = strstr(at, option);

		if (!found || found > at + len)
			return false;
		at += len;
	}
	return true;
}

/* FUNCTION DUMP works even without functions, and its payload ends like any DUMP's: version,
 * checksum. */
static unsigned read_rdb_version(struct beam_redis *redis)
{
	const size_t footer = 2 + 8;
	redisReply *reply = NULL;
	unsigned version = 0;

	/* If the user may not call it, the target itself will refuse what it cannot read. */
	if (beam_redis_command(redis, &reply, "FUNCTION DUMP"))
		return 0;
	if (reply->type == REDIS_REPLY_STRING && reply->len >= footer)
		version = beam_get_le16((const uint8_t *)reply->str + reply->len - footer);
	freeReplyObject(reply);
	return version;
}

int beam_server_facts(struct beam_redis *redis, char *error, struct beam_server_facts *out)
{
	redisReply *reply = NULL;
	char role[16] = "", valkey[sizeof(out->version)];
	int rc = read_info(redis, error, &reply);

	if (rc)
		return rc;
	const char *info = reply->str;

	memset(out, 0, sizeof(*out));
	if (beam_redis_info_field(info, "redis_version", out->version, sizeof(out->version)) ||
	    beam_redis_info_field(info, "run_id", out->run_id, sizeof(out->run_id)) ||
	    beam_redis_info_field(info, "role", role, sizeof(role)) ||
	    beam_redis_info_field(info, "master_replid", out->replid, sizeof(out->replid)))
		rc = beam_tell(error, BEAM_E_PROTO, "%s: INFO lacks version, run_id or role",
			       beam_redis_name(redis));
	/* Besides its own version, Valkey always reports redis_version 7.2.4. */
	out->is_valkey = beam_redis_info_field(info, "valkey_version", valkey, sizeof(valkey)) == 0;
	if (out->is_valkey)
		snprintf(out->version, sizeof(out->version), "%s", valkey);
	out->is_cluster = info_number(info, "cluster_enabled") == 1;
	out->is_replica = strcmp(role, "slave") == 0;
	if (out->is_replica) {
		beam_redis_info_field(info, "master_host", out->master_host,
				      sizeof(out->master_host));
		out->master_port = (uint32_t)info_number(info, "master_port");
	}
	out->is_loading =
	    info_number(info, "loading") == 1 || info_number(info, "async_loading") == 1;
	const char *keyspace = strstr(info, "# Keyspace");

	for (const char *at = keyspace; at && (at = strstr(at, "\ndb")); at++) {
		long db = strtol(at + 3, NULL, 10);

		out->has_keys = true;
		out->last_db = db > out->last_db ? db : out->last_db;
	}
	/* As the servers decide (source: useDisklessLoad in replication.c of Redis 7.0.15 to 8.6,
	 * Valkey 8.0 to 9.1). */
	out->from_disk = !modules_declare(info, "handle-io-errors") ||
			 (out->has_keys && !modules_declare(info, "handle-repl-async-load"));
	out->backlog_bytes = info_number(info, "repl_backlog_size");
	freeReplyObject(reply);
	if (!rc)
		out->rdb_version = read_rdb_version(redis);
	return rc;
}

int beam_check_version(const struct beam_redis *redis, const struct beam_server_facts *facts,
		       char *error)
{
	if (atoi(facts->version) >= VERSION_LEAST)
		return 0;
	return beam_tell(error, BEAM_E_VERSION, "%s runs version %s: rdbeam needs 7.0 or newer",
			 beam_redis_name(redis), facts->version);
}

/* Valkey 9 and later has a format of its own, and reads none of those that Redis introduced since
 * the fork. */
static bool reads(unsigned target, unsigned source)
{
	const unsigned foreign_first = 12, valkey_first = 80;

	if (!target || !source)
		return true;
	return source <= target &&
	       !(target >= valkey_first && source >= foreign_first && source < valkey_first);
}

static const char *kind(const struct beam_server_facts *facts)
{
	return facts->is_valkey ? "Valkey" : "Redis";
}

static int check_format(const struct beam_redis_addr *from, const struct beam_server_facts *source,
			const struct beam_redis *to, const struct beam_server_facts *target,
			char *error)
{
	char remedy[128] = "upgrade replicas before their primary, or pull into a server of the "
			   "primary's version";

	if (reads(target->rdb_version, source->rdb_version))
		return 0;
	/* Between the two formats, the higher number does not mean the newer one. */
	if (target->is_valkey != source->is_valkey)
		snprintf(remedy, sizeof(remedy),
			 "the two have formats of their own: pull into %s %s or newer",
			 kind(source), source->version);
	return beam_tell(
	    error, BEAM_E_VERSION,
	    "%s (%s %s) cannot read what %s:%u (%s %s) saves: RDB format %u, and it knows %u; %s",
	    beam_redis_name(to), kind(target), target->version, from->host, from->port,
	    kind(source), source->version, source->rdb_version, target->rdb_version, remedy);
}

static bool is_loopback_name(const char *host)
{
	struct in6_addr v6;

	if (inet_pton(AF_INET6, host, &v6) == 1)
		return IN6_IS_ADDR_LOOPBACK(&v6);
	return strncmp(host, "127.", 4) == 0 || strcmp(host, "localhost") == 0;
}

bool beam_server_is_here(struct beam_redis *redis)
{
	return beam_peer_is_here(beam_redis_socket(redis));
}

/* True also when it cannot be determined. If CONFIG is renamed or denied, SELECT tells. `count`
 * becomes the number of databases, or "too few". */
static bool has_database(struct beam_redis *redis, long db, char count[24])
{
	if (!beam_redis_config(redis, "databases", count, 24))
		return db < atol(count);
	strcpy(count, "too few");
	if (beam_redis_command(redis, NULL, "SELECT %ld", db))
		return !strstr(beam_redis_error(redis), "out of range");
	(void)beam_redis_command(redis, NULL, "SELECT 0");
	return true;
}

/* A server exits when it loads an image with a database that it does not have. */
static int check_databases(const struct beam_server_facts *source, struct beam_redis *to,
			   char *error)
{
	char count[24];

	if (has_database(to, source->last_db, count))
		return 0;
	return beam_tell(error, BEAM_E_UNSUPPORTED,
			 "%s has %s databases, and the primary holds keys in database %ld: raise "
			 "'databases' in its configuration file and restart it",
			 beam_redis_name(to), count, source->last_db);
}

static int check_addresses(const struct beam_redis_addr *lead, struct beam_redis *to, char *error)
{
	if (lead->is_unix)
		return beam_tell(error, -EINVAL,
				 "--from %s is a socket path: a replica needs the primary's host "
				 "and port to go on from (--from HOST:PORT)",
				 lead->host);
	if (is_loopback_name(lead->host) && !beam_server_is_here(to))
		return beam_tell(
		    error, -EINVAL,
		    "the primary's address %s means this host, but the target %s runs elsewhere: "
		    "give the address by which the target reaches the primary (--from, or "
		    "--primary when --from is a replica)",
		    lead->host, beam_redis_name(to));
	return 0;
}

/* After the hand-over the target must be able to reach its primary by itself. And the feed does not
 * use TLS, so it must not cross a network when the target is configured for TLS. */
static int check_tls(const struct beam_redis_addr *lead, struct beam_redis *to, char *error)
{
	char text[8];
	int rc = beam_redis_config(to, "tls-replication", text, sizeof(text));
	bool by_tls = strcmp(text, "yes") == 0;

	if (lead->use_tls && (rc == BEAM_E_DENIED || rc == BEAM_E_SERVER))
		return beam_tell(
		    error, rc,
		    "%s: tls-replication cannot be read, nor changed while the server is fed: %s "
		    "(use a user with +config|get +config|set, or --to-file)",
		    beam_redis_name(to), beam_redis_error(to));
	if (by_tls && !lead->use_tls)
		return beam_tell(error, -EINVAL,
				 "%s follows its primary by TLS (tls-replication yes): give "
				 "rediss://%s with the primary's tls-port",
				 beam_redis_name(to), lead->host);
	if (!by_tls && lead->use_tls)
		return beam_tell(
		    error, -EINVAL,
		    "the primary's address uses TLS, but %s would follow it without: CONFIG SET "
		    "tls-replication yes there, or give the primary's plain port",
		    beam_redis_name(to));
	if (by_tls && !beam_server_is_here(to))
		return beam_tell(error, BEAM_E_UNSUPPORTED,
				 "%s has tls-replication on and is on another host, where the feed "
				 "would travel in clear: run the pull on that host, or use "
				 "--to-file",
				 beam_redis_name(to));
	return 0;
}

int beam_check_lead(const struct beam_redis *lead, const struct beam_server_facts *lead_facts,
		    const struct beam_server_facts *source, const struct beam_server_facts *target,
		    char *error)
{
	if (strcmp(lead_facts->run_id, target->run_id) == 0)
		return beam_tell(error, -EINVAL,
				 "--to and the primary of --from are the same server (%s)",
				 beam_redis_name(lead));
	if (strcmp(lead_facts->replid, source->replid) == 0)
		return 0;
	return beam_tell(error, BEAM_E_DENIED,
			 "%s is not the primary of --from: their replication ids differ (give "
			 "--primary with its address; after a failover wait until the replica "
			 "follows the new one)",
			 beam_redis_name(lead));
}

/* Moves on to the primary of `facts`. Returns false when it is not known or does not answer. A
 * loopback address named by another host means that host, not ours. */
static bool next_primary(struct beam_redis_addr *addr, struct beam_server_facts *facts,
			 int timeout_ms)
{
	char text[BEAM_REDIS_ERROR_BYTES];
	struct beam_redis *redis = NULL;

	if (!facts->is_replica ||
	    (is_loopback_name(facts->master_host) && !is_loopback_name(addr->host)))
		return false;
	snprintf(addr->host, sizeof(addr->host), "%s", facts->master_host);
	addr->port = facts->master_port;
	addr->first[0] = '\0';
	if (beam_redis_open(addr, timeout_ms, text, &redis))
		return false;
	int rc = beam_server_facts(redis, text, facts);

	beam_redis_close(&redis);
	return rc == 0;
}

int beam_check_ring(const struct beam_redis_addr *lead, const struct beam_server_facts *lead_facts,
		    const struct beam_server_facts *target, int timeout_ms, char *error)
{
	struct beam_server_facts facts = *lead_facts;
	struct beam_redis_addr addr = *lead;
	int rc = 0;

	for (int i = 0; i < CHAIN_MOST && !rc && next_primary(&addr, &facts, timeout_ms); i++)
		if (strcmp(facts.run_id, target->run_id) == 0)
			rc = beam_tell(
			    error, -EINVAL,
			    "%s:%u, which --to would follow, has its data from --to: they "
			    "would follow each other (give another --to, or first "
			    "REPLICAOF NO ONE to one of them)",
			    lead->host, lead->port);
	explicit_bzero(&addr, sizeof(addr));
	return rc;
}

static int check_replica(const struct beam_pull_opts *opts, const struct beam_redis_addr *lead,
			 const struct beam_server_facts *source, struct beam_redis *to,
			 const struct beam_server_facts *target, char *error)
{
	int rc = check_addresses(lead, to, error);

	if (rc)
		return rc;
	/* A history has only one primary; every other server copies from it, over however many
	 * steps. */
	if (!target->is_replica && source->replid[0] && strcmp(target->replid, source->replid) == 0)
		return beam_tell(
		    error, -EINVAL,
		    "%s is the primary from which --from has its data: it would follow "
		    "itself (give another --to)",
		    beam_redis_name(to));
	rc = check_tls(lead, to, error);
	if (rc)
		return rc;
	/* A replica of this history loses nothing: it only returns to what it is a copy of. */
	if (target->has_keys && !opts->force &&
	    !(target->is_replica && strcmp(target->replid, source->replid) == 0))
		return beam_tell(error, BEAM_E_DENIED,
				 "%s holds keys that are not this primary's, and a pull replaces "
				 "them: give --force if you want that",
				 beam_redis_name(to));
	return 0;
}

static int check_copy(const struct beam_pull_opts *opts, struct beam_redis *to,
		      const struct beam_server_facts *target, char *error)
{
	if (target->is_replica)
		return beam_tell(error, BEAM_E_DENIED,
				 "%s is a replica of %s:%u: copy to a server that is its own "
				 "primary (REPLICAOF NO ONE)",
				 beam_redis_name(to), target->master_host, target->master_port);
	if (target->has_keys && !opts->force)
		return beam_tell(error, BEAM_E_DENIED,
				 "%s holds keys already: --force adds the image's keys and "
				 "overwrites those of the same name",
				 beam_redis_name(to));
	return 0;
}

int beam_check_pair(const struct beam_pull_opts *opts, const struct beam_redis_addr *lead,
		    const struct beam_server_facts *source, struct beam_redis *to,
		    const struct beam_server_facts *target, char *error)
{
	int rc = beam_check_version(to, target, error);

	if (rc)
		return rc;
	if (strcmp(source->run_id, target->run_id) == 0)
		return beam_tell(error, -EINVAL, "--from and --to are the same server (%s)",
				 beam_redis_name(to));
	rc = check_format(&opts->from, source, to, target, error);
	if (rc)
		return rc;
	if (target->is_cluster)
		return beam_tell(error, BEAM_E_UNSUPPORTED,
				 "%s is a cluster node, which cannot be filled while it runs: use "
				 "--to-file <its dir>/dump.rdb while it is down, then start it",
				 beam_redis_name(to));
	rc = check_databases(source, to, error);
	if (rc)
		return rc;
	if (opts->target == BEAM_PULL_COPY)
		return check_copy(opts, to, target, error);
	return check_replica(opts, lead, source, to, target, error);
}

/* The same decision as the primary's masterTryPartialResynchronization (Redis 7.0.15
 * replication.c). */
static bool continues(struct beam_redis *from, const char *replid, int64_t next)
{
	char mine[BEAM_REPLID_BYTES] = "", former[BEAM_REPLID_BYTES] = "";
	int64_t former_end = -1, first = 0, held = 0;

	if (beam_redis_info(from, "replication", "master_replid", mine, sizeof(mine)) ||
	    beam_redis_info(from, "replication", "master_replid2", former, sizeof(former)) ||
	    beam_redis_info_int(from, "replication", "second_repl_offset", &former_end) ||
	    beam_redis_info_int(from, "replication", "repl_backlog_first_byte_offset", &first) ||
	    beam_redis_info_int(from, "replication", "repl_backlog_histlen", &held))
		return false;
	if (strcmp(replid, mine) != 0 && (strcmp(replid, former) != 0 || next > former_end))
		return false;
	return next >= first && next <= first + held;
}

int beam_check_needed(struct beam_redis *from, struct beam_redis *to, char *error)
{
	char replid[BEAM_REPLID_BYTES], status[16] = "";
	int64_t offset;

	beam_redis_info(from, "rdbeam", "rdbeam_daemon_state", status, sizeof(status));
	if (strcmp(status, "up") != 0)
		return beam_tell(
		    error, BEAM_E_UNSUPPORTED,
		    "%s cannot be pulled from: the rdbeam module is not loaded there, or "
		    "its daemon is down",
		    beam_redis_name(from));
	beam_redis_info(to, "replication", "master_link_status", status, sizeof(status));
	if (strcmp(status, "up") != 0 &&
	    (beam_redis_info(to, "replication", "master_replid", replid, sizeof(replid)) ||
	     beam_redis_info_int(to, "replication", "slave_repl_offset", &offset) ||
	     !continues(from, replid, offset + 1)))
		return 0;
	return beam_tell(error, BEAM_E_BUSY, "no pull is needed: %s continues by a partial resync",
			 beam_redis_name(to));
}
