/* SPDX-License-Identifier: BSD-3-Clause
 * The link to rdbeamd. There is one daemon at a time; its death shows as EOF on the control socket.
 *
 * The daemon's figures come by two ways: messages announce events, and a shared page holds numbers
 * that change all the time, so that reading them takes no message. */
#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "config.h"
#include "fault.h"
#include "log.h"
#include "program.h"
#include "rdbeam/error.h"
#include "sockets.h"
#include "start.h"
#include "status_page.h"

#define BACKOFF_FIRST_MS 100
#define BACKOFF_LAST_MS  30000
#define STABLE_MS        60000 /* after this lifetime a daemon's death resets the back-off */
#define SOON_MS          5000  /* a pause before a start that requests wait for */
#define HIGH_FD          16    /* lowest fd for ours, clear of the fixed ones that the child gets */

static struct {
	RedisModuleCtx *ctx; /* detached, lives as long as the module */
	struct beam_link_events events;
	enum beam_link_state state;
	int control;
	uint8_t name[6];
	size_t name_len;
	uint8_t secret[BEAM_SECRET_BYTES];
	struct beam_ctl_ready ready;
	struct beam_ctl_status status;
	struct beam_status_page *page; /* NULL: no page, so everything comes by message */
	uint64_t page_seen;
	struct beam_ctl_config configured; /* as sent last, except its number */
	uint32_t config_number;
	bool unsent; /* the last message was not sent: the daemon is stopped, or no memory */
	uint64_t started_ms;
	uint64_t backoff_ms;
	uint64_t due_ms; /* when to start the daemon again; 0: not planned */
	bool died;       /* the last daemon, after it was started */
	bool greeted;    /* HELLO has been answered, the settings perhaps not yet */
	bool proved;     /* so it has been, by a daemon of the file that program.c holds */
	char refusal[BEAM_TEXT_BYTES]; /* what a daemon that has not answered HELLO said last */
	bool may_schedule;
	char error[BEAM_TEXT_BYTES];
} link_ = {.control = -1};

static void start(void);

static void start_later(void)
{
	if (beam_now_ms() - link_.started_ms >= STABLE_MS)
		link_.backoff_ms = 0;
	link_.backoff_ms = link_.backoff_ms ? link_.backoff_ms * 2 : BACKOFF_FIRST_MS;
	if (link_.backoff_ms > BACKOFF_LAST_MS)
		link_.backoff_ms = BACKOFF_LAST_MS;
	link_.due_ms = beam_now_ms() + link_.backoff_ms;
}

void beam_link_on_cron(void)
{
	if (link_.unsent)
		beam_link_configure();
	if (!link_.due_ms || beam_now_ms() < link_.due_ms)
		return;
	link_.due_ms = 0;
	start();
	if (link_.state == BEAM_LINK_DOWN)
		link_.events.status(NULL);
}

/* Takes the figures from the page. If they include an event whose message is still under way, they
 * are left for later: events must be seen in their order. */
static void look(void)
{
	struct beam_ctl_status now;
	uint64_t seen = link_.page_seen;

	if (!link_.page || !beam_status_page_read(link_.page, &seen, &now) ||
	    !beam_status_same_news(&now, &link_.status))
		return;
	link_.page_seen = seen;
	link_.status = now;
	link_.status.last_error[BEAM_TEXT_BYTES - 1] = 0;
}

static void disconnect(void)
{
	look();
	beam_status_page_close(&link_.page);
	link_.page_seen = 0;
	if (link_.control >= 0)
		RedisModule_EventLoopDel(link_.control, REDISMODULE_EVENTLOOP_READABLE);
	beam_close(&link_.control);
	link_.state = BEAM_LINK_DOWN;
	link_.unsent = false;
	link_.name_len = 0;
	memset(&link_.ready, 0, sizeof(link_.ready));
	/* The region is gone with the daemon. Totals and past times stay. */
	link_.status.state = BEAM_STATE_IDLE;
	link_.status.region_bytes = 0;
	link_.status.pulls_active = link_.status.pulls_waiting = 0;
	link_.status.npulls = 0;
	memset(&link_.status.servable, 0, sizeof(link_.status.servable));
}

static void on_death(void)
{
	beam_log(BEAM_LOG_WARNING,
		 "rdbeamd (pid %d) is gone; saving falls back to stock until it is back",
		 link_.ready.pid);
	snprintf(link_.error, sizeof(link_.error), "%s",
		 !link_.greeted && link_.refusal[0] ? link_.refusal
						    : "rdbeamd is gone; restarting it");
	disconnect();
	link_.died = true;
	start_later();
	link_.events.status(NULL);
}

static void take_log(const struct beam_ctl_text *text)
{
	if (!link_.greeted && text->code == BEAM_LOG_WARNING)
		snprintf(link_.refusal, sizeof(link_.refusal), "%.*s", (int)sizeof(text->text) - 1,
			 text->text);
	beam_log((enum beam_log_level)text->code, "%.*s", (int)sizeof(text->text), text->text);
}

static void take(const void *packet)
{
	const struct beam_ctl_head *head = packet;

	(void)BEAM_FAULT("link.take");
	switch (head->type) {
	case BEAM_CTL_READY:
		link_.ready = *(const struct beam_ctl_ready *)packet;
		link_.ready.error[BEAM_TEXT_BYTES - 1] = 0;
		link_.ready.transports[sizeof(link_.ready.transports) - 1] = 0;
		/* The first READY answers HELLO: nothing listens yet, the settings come next. */
		if (link_.greeted)
			link_.state = BEAM_LINK_UP;
		link_.greeted = link_.proved = true;
		snprintf(link_.error, sizeof(link_.error), "%s", link_.ready.error);
		link_.events.ready();
		break;
	case BEAM_CTL_STATUS:
		link_.status = *(const struct beam_ctl_status *)packet;
		link_.status.last_error[BEAM_TEXT_BYTES - 1] = 0;
		link_.events.status(&link_.status);
		break;
	case BEAM_CTL_OPENED:
		link_.events.opened(packet);
		break;
	case BEAM_CTL_RELAY_KEY:
		link_.events.relay_key(packet);
		break;
	case BEAM_CTL_LOG:
		take_log(packet);
		break;
	default:
		break;
	}
}

static void on_readable(int fd, void *arg, int mask)
{
	static union {
		uint8_t bytes[BEAM_CTL_MAX_BYTES];
		uint64_t align;
	} packet;

	(void)arg;
	(void)mask;
	for (;;) {
		ssize_t n = beam_packet_recv(fd, packet.bytes, sizeof(packet.bytes), NULL, NULL, 0);

		if (n == -EAGAIN)
			return;
		if (n < 0 || beam_ctl_check(packet.bytes, (uint32_t)n)) {
			on_death();
			return;
		}
		take(packet.bytes);
		if (link_.control != fd)
			return;
	}
}

static int send_hello(void)
{
	struct beam_ctl_hello hello = {.protocol = BEAM_CTL_PROTOCOL, .server_pid = getpid()};
	int err = BEAM_FAULT("link.hello"), page_fd = -1;

	if (err)
		return err;
	err = beam_status_page_create(&page_fd, &link_.page);
	if (err)
		beam_log(BEAM_LOG_NOTICE, "no shared page for the daemon's figures: %s",
			 beam_strerror(err));
	beam_random(link_.secret, sizeof(link_.secret));
	memcpy(hello.secret, link_.secret, sizeof(hello.secret));
	err = beam_ctl_send(link_.control, BEAM_CTL_HELLO, &hello, sizeof(hello), page_fd);
	beam_close(&page_fd);
	return err;
}

static int high_fd(int *fd)
{
	int high = fcntl(*fd, F_DUPFD_CLOEXEC, HIGH_FD);

	if (high < 0)
		return -errno;
	beam_close(fd);
	*fd = high;
	return 0;
}

static int connect_daemon(void)
{
	int pair[2] = {-1, -1}, listener = -1, err = BEAM_FAULT("link.connect");

	if (err)
		return err;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	listener = beam_packet_listen(link_.name, &link_.name_len);
	err = listener < 0 ? listener : 0;
	if (!err)
		err = high_fd(&pair[1]);
	if (!err)
		err = high_fd(&listener);
	if (!err)
		err = beam_start_daemon(pair[1], listener, &link_.may_schedule, link_.error,
					sizeof(link_.error));
	beam_close(&pair[1]);
	beam_close(&listener);
	if (err) {
		beam_close(&pair[0]);
		link_.name_len = 0;
		return err;
	}
	link_.control = pair[0];
	fcntl(link_.control, F_SETFL, O_NONBLOCK);
	return 0;
}

static void start(void)
{
	char why[sizeof(link_.error)] = ""; /* none has answered yet: this stands until one does */
	int err;

	if (!link_.proved) {
		beam_program_close(); /* another one may have been installed */
		memcpy(why, link_.error, sizeof(why));
	}
	link_.error[0] = link_.refusal[0] = 0;
	link_.died = link_.greeted = false;
	link_.started_ms = beam_now_ms();
	err = connect_daemon();
	if (!err)
		err = send_hello();
	if (!err && RedisModule_EventLoopAdd(link_.control, REDISMODULE_EVENTLOOP_READABLE,
					     on_readable, NULL) != REDISMODULE_OK)
		err = -ENOMEM;
	if (err) {
		if (!link_.error[0])
			snprintf(link_.error, sizeof(link_.error), "cannot start rdbeamd: %s",
				 beam_strerror(err));
		beam_log(BEAM_LOG_WARNING, "%s; saving stays stock", link_.error);
		beam_close(&link_.control);
		beam_status_page_close(&link_.page);
		link_.name_len = 0;
		start_later();
		return;
	}
	memcpy(link_.error, why, sizeof(why));
	link_.state = BEAM_LINK_STARTING;
	beam_link_configure();
}

int beam_link_open(RedisModuleCtx *ctx, const struct beam_link_events *events)
{
	link_.ctx = RedisModule_GetDetachedThreadSafeContext(ctx);
	if (!link_.ctx)
		return -ENOMEM;
	link_.events = *events;
	start();
	return 0;
}

void beam_link_close(void)
{
	link_.due_ms = 0;
	disconnect();
	beam_program_close();
	link_.proved = false;
	beam_redis_free_context(&link_.ctx);
}

enum beam_link_state beam_link_state(void)
{
	return link_.state;
}

const char *beam_link_state_name(void)
{
	static const char *const names[] = {"down", "starting", "up"};

	return names[link_.state];
}

bool beam_link_comes_soon(void)
{
	return link_.state == BEAM_LINK_STARTING ||
	       (link_.died && link_.due_ms && link_.due_ms < beam_now_ms() + SOON_MS);
}

const char *beam_link_error(void)
{
	return link_.error;
}

uint32_t beam_link_port(void)
{
	return link_.ready.port;
}

bool beam_link_settled(void)
{
	const struct beam_ctl_ready *ready = &link_.ready;
	const struct beam_ctl_config *wanted = &link_.configured;

	return ready->config == link_.config_number &&
	       (ready->port == wanted->port || wanted->transport == BEAM_TRANSPORT_OFF ||
		ready->error[0]);
}

const char *beam_link_transports(void)
{
	return link_.ready.transports;
}

int beam_link_pid(void)
{
	return link_.ready.pid;
}

bool beam_link_may_schedule(void)
{
	return link_.may_schedule;
}

const struct beam_ctl_status *beam_link_status(void)
{
	look();
	return &link_.status;
}

static void configure(bool anyway)
{
	struct beam_ctl_config message, sent;

	if (link_.control < 0)
		return;
	beam_config_message(link_.ctx, &message);
	if (!anyway && memcmp(&message, &link_.configured, sizeof(message)) == 0)
		return;
	link_.configured = sent = message;
	sent.number = ++link_.config_number;
	int err = BEAM_FAULT("link.configure");

	if (!err)
		err = beam_ctl_send(link_.control, BEAM_CTL_CONFIG, &sent, sizeof(sent), -1);

	if (err && !link_.unsent)
		beam_log(BEAM_LOG_WARNING, "cannot send settings to rdbeamd, trying again: %s",
			 beam_strerror(err));
	link_.unsent = err != 0;
}

void beam_link_configure(void)
{
	configure(true);
}

void beam_link_refresh(void)
{
	configure(false);
}

bool beam_link_by_tls(void)
{
	return link_.configured.must_tls;
}

int beam_link_ticket(struct beam_ctl_ticket *ticket)
{
	int err = link_.control < 0 ? BEAM_E_GONE : BEAM_FAULT("link.ticket");

	return err ? err
		   : beam_ctl_send(link_.control, BEAM_CTL_TICKET, ticket, sizeof(*ticket), -1);
}

int beam_link_relay_ticket(struct beam_ctl_relay_ticket *ticket)
{
	if (link_.control < 0)
		return BEAM_E_GONE;
	return beam_ctl_send(link_.control, BEAM_CTL_RELAY_TICKET, ticket, sizeof(*ticket), -1);
}

const uint8_t *beam_link_public_key(void)
{
	return link_.ready.public_key;
}

bool beam_link_child_address(const uint8_t **name, size_t *name_len, const uint8_t **secret)
{
	*name = link_.name;
	*name_len = link_.name_len;
	*secret = link_.secret;
	return link_.name_len != 0;
}

void beam_link_child_detach(void)
{
	beam_close(&link_.control);
}
