/*
 * The packets' path of the original's releases, as a program of its own: one thread of C
 * that waits in poll(2) for a device without offloads and a socket, and moves one packet in
 * each system call. Its behaviour is known from outside; none of this is its text.
 *
 * original LISTEN-ADDRESS PORT PEER-SUBNET PEER-MASK PEER-ADDRESS MTU
 *
 * It prints "open" when it has the device flannel0, and ends when its input does.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int device, conn;
static uint32_t subnet, mask;
static struct sockaddr_in peer;
static uint8_t *packet;
static size_t mtu;

static void must(int ok, const char *what)
{
	if (!ok) {
		perror(what);
		exit(1);
	}
}

/* hop takes one from the TTL and mends the header's checksum (RFC 1141). */
static int hop(void)
{
	uint16_t field;
	uint32_t sum;

	if (packet[8] <= 1)
		return 0;
	packet[8]--;
	field = packet[10] << 8 | packet[11];
	sum = field + 0x100;
	sum += sum >> 16;
	packet[10] = sum >> 8;
	packet[11] = sum;
	return 1;
}

/* out moves one packet to the peer. It returns 0 if there was none. */
static int out(void)
{
	ssize_t n = read(device, packet, mtu);
	uint32_t to;

	if (n <= 0)
		return 0;
	if (n < 20 || packet[0] >> 4 != 4)
		return 1;
	to = (uint32_t)packet[16] << 24 | packet[17] << 16 | packet[18] << 8 | packet[19];
	if ((to & mask) == subnet && hop())
		sendto(conn, packet, n, 0, (struct sockaddr *)&peer, sizeof(peer));
	return 1;
}

/* in moves one packet from a peer. */
static int in(void)
{
	ssize_t n = recv(conn, packet, mtu, MSG_DONTWAIT);

	if (n < 0)
		return 0;
	if (n >= 20 && hop() && write(device, packet, n) < 0)
		perror("write");
	return 1;
}

int main(int argc, char **argv)
{
	struct sockaddr_in local = { .sin_family = AF_INET };
	struct ifreq request = { .ifr_name = "flannel%d", .ifr_flags = IFF_TUN | IFF_NO_PI };

	errno = EINVAL;
	must(argc == 7, "arguments");
	local.sin_port = peer.sin_port = htons(atoi(argv[2]));
	peer.sin_family = AF_INET;
	must(inet_pton(AF_INET, argv[1], &local.sin_addr) == 1, argv[1]);
	must(inet_pton(AF_INET, argv[3], &subnet) == 1, argv[3]);
	must(inet_pton(AF_INET, argv[4], &mask) == 1, argv[4]);
	must(inet_pton(AF_INET, argv[5], &peer.sin_addr) == 1, argv[5]);
	subnet = ntohl(subnet);
	mask = ntohl(mask);
	mtu = atoi(argv[6]);
	must((packet = malloc(mtu)) != NULL, "malloc");

	device = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
	must(device >= 0 && ioctl(device, TUNSETIFF, &request) == 0, "device");
	conn = socket(AF_INET, SOCK_DGRAM, 0);
	must(conn >= 0 && bind(conn, (struct sockaddr *)&local, sizeof(local)) == 0, "socket");
	puts("open");
	fflush(stdout);

	struct pollfd fds[] = { { .fd = device, .events = POLLIN }, { .fd = conn, .events = POLLIN }, { .fd = 0, .events = POLLIN } };

	for (;;) {
		must(poll(fds, 3, -1) > 0, "poll");
		if (fds[2].revents)
			return 0;
		while (out() + in())
			;
	}
}
