/*
 * crelay is the yardstick for our media relay: what a C program with one epoll
 * loop, one recvfrom and one sendto a packet needs for the same bridged calls.
 *
 * It does the least that is still a relay: accept a socket's packets only from
 * its phone, check the RTP version, write our SSRC, sequence number, timestamp
 * and payload number, send to the other phone. No RTCP, statistics, learning.
 *
 * usage: crelay CALLS A-PORTS B-PORTS     (lists of ports, comma between)
 * Call i is between 127.0.0.1 at the i-th port of each list, which wrap around.
 * It prints "portA portB" for each call, then "ready", and ends with its input.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

struct flow {
	int fd, out_fd;             /* packets come in on fd and leave from out_fd */
	uint16_t port;              /* of fd */
	struct sockaddr_in from;    /* the only source admitted */
	struct sockaddr_in to;
	uint32_t ssrc, ticks;
	uint16_t sequences;
	uint8_t payloads[128];
};

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static struct sockaddr_in local(uint16_t port)
{
	struct sockaddr_in a;
	memset(&a, 0, sizeof a);
	a.sin_family = AF_INET;
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	a.sin_port = htons(port);
	return a;
}

static int parse_ports(char *list, uint16_t *ports, int most)
{
	int n = 0;
	for (char *p = strtok(list, ","); p && n < most; p = strtok(NULL, ","))
		ports[n++] = (uint16_t)atoi(p);
	if (n == 0) {
		fprintf(stderr, "no ports\n");
		exit(1);
	}
	return n;
}

static void open_flow(struct flow *f, uint16_t phone, int epoll)
{
	struct sockaddr_in a = local(0);
	socklen_t len = sizeof a;
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = f};

	f->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	if (f->fd < 0)
		fail("socket");
	if (bind(f->fd, (struct sockaddr *)&a, sizeof a) < 0)
		fail("bind");
	if (getsockname(f->fd, (struct sockaddr *)&a, &len) < 0)
		fail("getsockname");
	f->port = ntohs(a.sin_port);
	f->from = local(phone);
	f->ssrc = (uint32_t)random();
	f->ticks = (uint32_t)random();
	f->sequences = (uint16_t)random();
	for (int i = 0; i < 128; i++)
		f->payloads[i] = (uint8_t)i;
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, f->fd, &ev) < 0)
		fail("epoll_ctl");
}

static void forward(struct flow *f)
{
	uint8_t b[1500];
	struct sockaddr_in from;
	socklen_t len = sizeof from;
	uint16_t sequence;
	uint32_t timestamp;
	ssize_t n = recvfrom(f->fd, b, sizeof b, 0, (struct sockaddr *)&from, &len);

	if (n < 12 || b[0] >> 6 != 2)
		return;
	if (from.sin_addr.s_addr != f->from.sin_addr.s_addr || from.sin_port != f->from.sin_port)
		return;
	b[1] = (b[1] & 0x80) | f->payloads[b[1] & 0x7F];
	memcpy(&sequence, b + 2, 2);
	sequence = htons((uint16_t)(ntohs(sequence) + f->sequences));
	memcpy(b + 2, &sequence, 2);
	memcpy(&timestamp, b + 4, 4);
	timestamp = htonl(ntohl(timestamp) + f->ticks);
	memcpy(b + 4, &timestamp, 4);
	memcpy(b + 8, &f->ssrc, 4);
	sendto(f->out_fd, b, (size_t)n, 0, (struct sockaddr *)&f->to, sizeof f->to);
}

int main(int argc, char **argv)
{
	static uint16_t a_ports[1024], b_ports[1024];
	struct epoll_event events[256], input = {.events = EPOLLIN, .data.ptr = NULL};
	struct rlimit files;

	if (argc != 4) {
		fprintf(stderr, "usage: crelay CALLS A-PORTS B-PORTS\n");
		return 2;
	}
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	int calls = atoi(argv[1]);
	int a_count = parse_ports(argv[2], a_ports, 1024), b_count = parse_ports(argv[3], b_ports, 1024);
	int epoll = epoll_create1(0);
	struct flow *flows = calloc((size_t)calls * 2, sizeof *flows);
	if (epoll < 0 || !flows)
		fail("start");
	for (int i = 0; i < calls; i++) {
		struct flow *a = &flows[2 * i], *b = a + 1;
		open_flow(a, a_ports[i % a_count], epoll);
		open_flow(b, b_ports[i % b_count], epoll);
		a->out_fd = b->fd;
		a->to = b->from;
		b->out_fd = a->fd;
		b->to = a->from;
		printf("%u %u\n", a->port, b->port);
	}
	printf("ready\n");
	fflush(stdout);
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &input) < 0)
		fail("epoll_ctl");
	for (;;) {
		int n = epoll_wait(epoll, events, 256, -1);
		if (n < 0 && errno != EINTR)
			fail("epoll_wait");
		for (int i = 0; i < n; i++) {
			if (!events[i].data.ptr)
				return 0; /* our input ended */
			forward(events[i].data.ptr);
		}
	}
}
