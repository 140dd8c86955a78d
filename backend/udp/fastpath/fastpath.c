//go:build ignore

/*
 * What the udp backend's engine does with a packet, done by the kernel, between two hosts
 * of which each has announced that it can. The wire format is the engine's: one IPv4 packet
 * in a UDP datagram. What is not surely for a program goes on as if it was not there, and so
 * to the engine, which decides and counts.
 *
 * No program has a loop or a pointer into the packet: CAP_BPF and CAP_NET_ADMIN do, from
 * Linux 5.10 on.
 */
#include "../../../pkg/bpf/kernel.h"

/* The numbers are in host byte order, addresses and ports as in packets. */
struct config {
	u32 own;       /* this host's address, which peers send to */
	u32 subnet;    /* this host's part of the overlay */
	u32 mask;      /* of the subnet */
	u32 underlay;  /* number of the interface that carries the tunnel */
	u32 mtu;       /* of flannel0 */
	u32 mode;      /* how what comes in loses its outer headers */
	u32 secret;    /* that only rx gives to a packet, as its priority */
	u16 port;      /* UDP, of all hosts */
	u16 gpe_port;  /* UDP, of the GPE device */
	u16 probe_in;  /* id of the pings whose answers are to come by the GPE device, whatever the mode; 0: none */
	u16 none;
};

/*
 * bpf_skb_adjust_room leaves the marks of a tunnel on a GSO packet whose outer headers it
 * removes, and the next device that cannot segment tunnels, docker0, cuts it into pieces:
 * less than half of the speed (MODE_PLAIN). So the packet becomes VXLAN-GPE in place, with
 * 8 bytes more, and the kernel's own device unpacks it, and joins segments (MODE_GPE).
 * Linux 7.3 would take the marks away if it was told to (BPF_F_ADJ_ROOM_DECAP_L4_UDP), but
 * leaves the packet's transport header where the outer one was: the next device that has an
 * ingress qdisc, as flannel0 has, then reads outside of the packet (qdisc_pkt_len_segs_init),
 * and 7.3.4 panics. It would join no segments either.
 */
enum { MODE_PLAIN, MODE_GPE };

enum { OUTER_HLEN = IP_HLEN + UDP_HLEN };

enum { ENGINE_PING = 0xf1a2 }; /* id of the engine's own pings: engine.ProbeID */

/*
 * Pings that ask whether the kernel's way to a host is open, both ways: engine.WayPing. They
 * go by tx before anything else does, and by the GPE device. An engine drops those that get to
 * it: a host whose kernel takes nothing must not answer.
 */
enum { WAY_PING = 0xf1a3, WAY_WORD = 0x6b776179 };

struct peer_key {
	u32 len, address;
};

struct peer {
	u32 remote; /* the host's address */
	u32 flags;
};

enum {
	PEER_RX = 1,    /* what comes from it is taken here */
	PEER_TX = 2,    /* what goes to it is taken here */
	PEER_PLAIN = 4, /* what comes from it does not go by the GPE device, which it may not get out of */
};

struct counters {
	u64 tx_packets, tx_bytes, tx_super, tx_up;
	u64 rx_packets, rx_bytes, rx_super, rx_up;
	u64 to_gpe, gpe_packets, gpe_strangers, closed, refused, errors;
};

struct map config_map SEC("maps") = { MAP_ARRAY, sizeof(u32), sizeof(struct config), 1, 0 };
struct map peers_map SEC("maps") = { MAP_LPM_TRIE, sizeof(struct peer_key), sizeof(struct peer), 1 << 17, F_NO_PREALLOC };
/*
 * The number of flannel0. The kernel removes it with the device, and without it nothing is
 * taken: an original release may run on the host next, while the programs have stayed.
 */
struct map device_map SEC("maps") = { MAP_DEVMAP, sizeof(u32), sizeof(u32), 1, 0 };
struct map counters_map SEC("maps") = { MAP_PERCPU_ARRAY, sizeof(u32), sizeof(struct counters), 1, 0 };

static inline const struct peer *peer_of(u32 address)
{
	struct peer_key key = { 32, address };

	return map_lookup(&peers_map, &key);
}

/*
 * What follows each other in a packet, as one number. Headers are made of whole numbers of 8
 * bytes: after a smaller one at the beginning of 8 bytes of the stack, Linux 6.1 refuses another
 * one there to who lacks CAP_PERFMON.
 */
static inline u64 pack(u32 first, u32 second)
{
	return LITTLE_ENDIAN ? (u64)second << 32 | first : (u64)first << 32 | second;
}

static inline u32 pack16(u16 first, u16 second)
{
	return LITTLE_ENDIAN ? (u32)second << 16 | first : (u32)first << 16 | second;
}

/* is_ping reports whether the packet at an offset is an ICMP message of a type and id. */
static inline int is_ping(struct __sk_buff *skb, u32 offset, const struct iphdr *ip, u8 type, u16 id)
{
	u8 icmp[8];

	return id && ip->protocol == IPPROTO_ICMP && ip->version_ihl == 0x45 && !(ip->frag_off & hton16(0x3fff)) &&
	       !load_bytes(skb, offset + IP_HLEN, icmp, sizeof(icmp)) && icmp[0] == type &&
	       icmp[4] == ((const u8 *)&id)[0] && icmp[5] == ((const u8 *)&id)[1];
}

/* is_way_ping reports whether it is a WAY_PING of a type: 8 asks, and 0 answers. */
static inline int is_way_ping(struct __sk_buff *skb, u32 offset, const struct iphdr *ip, u8 type)
{
	u32 word;

	return is_ping(skb, offset, ip, type, hton16(WAY_PING)) &&
	       !load_bytes(skb, offset + IP_HLEN + 8, &word, sizeof(word)) && word == hton32(WAY_WORD);
}

/* tx is at the egress of flannel0, which has no link-layer header. */
SEC("tc/tx") int tx(struct __sk_buff *skb)
{
	u32 zero = 0;
	const struct config *config = map_lookup(&config_map, &zero);
	struct counters *counters = map_lookup(&counters_map, &zero);
	const u32 *device = map_lookup(&device_map, &zero);
	const struct peer *peer;
	struct iphdr ip;
	u32 len = skb->len, super = skb->gso_size != 0;

	if (!config || !counters || !device || skb->protocol != hton16(ETH_P_IP))
		return PASS;
	if (load_bytes(skb, 0, &ip, sizeof(ip)) || ip.version_ihl >> 4 != 4 || ip.ttl <= 1)
		return PASS;
	peer = peer_of(ip.daddr);
	if (!peer || !(peer->flags & PEER_TX) && !is_way_ping(skb, 0, &ip, 8))
		return PASS;
	/* 36 are left for the peer, which needs 8 more than the 28 of here. */
	if (len > 65535 - 36 || len < IP_HLEN || ntoh16(ip.tot_len) != len ||
	    (super ? skb->gso_size + 40 : len) > config->mtu ||
	    super && ip.version_ihl != 0x45) { /* rx says why */
		counters->tx_up++;
		return PASS;
	}

	u64 outer[4] = { /* IPv4 and UDP, and four bytes that are not sent */
		pack(pack16(hton16(0x4500), hton16(len + OUTER_HLEN)), pack16(0, hton16(0x4000))), /* may not be fragmented */
		pack(pack16(hton16(64 << 8 | IPPROTO_UDP), 0), config->own),
		pack(peer->remote, pack16(config->port, config->port)),
		pack(pack16(hton16(len + UDP_HLEN), 0), 0),
	};
	u32 sum = csum_diff(0, 0, outer, IP_HLEN, 0);

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	outer[1] = pack(pack16(hton16(64 << 8 | IPPROTO_UDP), ~sum), config->own);
	if (adjust_room(skb, OUTER_HLEN, ROOM_MAC, F_FIXED_GSO | F_ENCAP_L3_IPV4 | F_ENCAP_L4_UDP)) {
		/* It is as it was: of a tunnel inside the overlay (-EALREADY), or made of UDP datagrams. */
		counters->refused++;
		return PASS;
	}
	if (store_bytes(skb, 0, outer, OUTER_HLEN, 0) ||
	    change_head(skb, ETH_HLEN, 0)) { /* without room for it redirect_neigh drops */
		counters->errors++;
		return DROP;
	}
	counters->tx_packets++;
	counters->tx_bytes += len;
	counters->tx_super += super;
	return redirect_neigh(config->underlay, 0, 0, 0);
}

static inline void received(struct counters *counters, u32 len, u32 super)
{
	counters->rx_packets++;
	counters->rx_bytes += len;
	counters->rx_super += super;
}

/* to_gpe turns a packet of ours into VXLAN-GPE (next protocol IPv4), which goes on to the GPE device. */
static inline int to_gpe(struct __sk_buff *skb, const struct config *config, struct counters *counters, const struct iphdr *ip,
			 const struct udphdr *udp, u32 inner)
{
	u32 super = skb->gso_size != 0;
	u64 head[2] = {
		pack(pack16(udp->source, config->gpe_port), pack16(hton16(ntoh16(udp->len) + 8), 0)),
		pack(hton32(0x0c000001), hton32(0x00000100)),
	};
	u16 len = hton16(ntoh16(ip->tot_len) + 8);

	if (adjust_room(skb, 8, ROOM_NET, F_FIXED_GSO)) {
		counters->refused++;
		return PASS;
	}
	if (l3_csum_replace(skb, ETH_HLEN + 10, ip->tot_len, len, sizeof(len)) ||
	    store_bytes(skb, ETH_HLEN + 2, &len, sizeof(len), 0) ||
	    store_bytes(skb, ETH_HLEN + IP_HLEN, head, sizeof(head), F_RECOMPUTE_CSUM)) {
		counters->errors++;
		return DROP;
	}
	skb->priority = config->secret;
	received(counters, inner, super);
	counters->to_gpe++;
	return PASS;
}

/* rx is at the ingress of the underlay's interface. */
SEC("tc/rx") int rx(struct __sk_buff *skb)
{
	u32 zero = 0, super = skb->gso_size != 0;
	const struct config *config = map_lookup(&config_map, &zero);
	struct counters *counters = map_lookup(&counters_map, &zero);
	const u32 *device = map_lookup(&device_map, &zero);
	const struct peer *peer;
	struct {
		struct iphdr ip;
		struct udphdr udp;
		struct iphdr inner;
	} h;
	u32 probe, plain, len;

	if (!config || !counters || !device || skb->protocol != hton16(ETH_P_IP) || skb->pkt_type != PACKET_HOST ||
	    skb->vlan_present || load_bytes(skb, ETH_HLEN, &h, sizeof(h.ip) + sizeof(h.udp)))
		return PASS;
	if (h.ip.version_ihl != 0x45 || h.ip.protocol != IPPROTO_UDP || h.ip.daddr != config->own ||
	    h.ip.frag_off & hton16(0x3fff))
		return PASS;
	if (h.udp.dest == config->gpe_port) { /* only from here */
		counters->closed++;
		return DROP;
	}
	if (h.udp.dest != config->port || load_bytes(skb, ETH_HLEN, &h, sizeof(h)))
		return PASS;
	peer = peer_of(h.inner.saddr);
	if (!peer || peer->remote != h.ip.saddr || (h.inner.daddr & config->mask) != config->subnet)
		return PASS; /* the engine says why not */
	plain = config->mode == MODE_PLAIN || peer->flags & PEER_PLAIN;
	probe = is_ping(skb, ETH_HLEN + 28, &h.inner, 0, config->probe_in);
	if (is_way_ping(skb, ETH_HLEN + 28, &h.inner, 8) || is_way_ping(skb, ETH_HLEN + 28, &h.inner, 0)) {
		/* Or a peer gets no answer, and leaves the way, even if it hears nothing of etcd. */
		if (config->mode != MODE_GPE)
			return PASS;
		probe = 1;
	}
	if (!(peer->flags & PEER_RX) && !probe)
		return PASS;
	if (is_ping(skb, ETH_HLEN + 28, &h.inner, 0, hton16(ENGINE_PING)))
		return PASS; /* the engine has asked how long packets may be */
	len = ntoh16(h.inner.tot_len);
	/* A train of the engine's datagrams, which a virtual interface hands on as one, is not one packet. */
	if (h.inner.version_ihl >> 4 != 4 || (h.inner.version_ihl & 15) < 5 || h.inner.ttl <= 1 || len < IP_HLEN ||
	    len + 28 != ntoh16(h.ip.tot_len) || len + 28 + ETH_HLEN != skb->len || len + 8 != ntoh16(h.udp.len) ||
	    len > 65535 - 36 ||
	    /* GRO, behind the GPE device, finds no TCP behind IP options, and leaves it to Linux 7.1 and 7.2 to panic as above. */
	    super && h.inner.version_ihl != 0x45) {
		counters->rx_up++;
		return PASS;
	}
	if (!plain || probe)
		return to_gpe(skb, config, counters, &h.ip, &h.udp, len);
	if (adjust_room(skb, -28, ROOM_MAC, F_FIXED_GSO)) {
		counters->refused++;
		return PASS;
	}
	received(counters, len, super);
	return redirect(*device, F_INGRESS);
}

/* gpe is at the ingress of the GPE device: packets come in by flannel0, as from the engine. */
SEC("tc/gpe") int gpe(struct __sk_buff *skb)
{
	u32 zero = 0;
	const struct config *config = map_lookup(&config_map, &zero);
	struct counters *counters = map_lookup(&counters_map, &zero);
	const u32 *device = map_lookup(&device_map, &zero);

	if (!config || !counters || !device)
		return DROP;
	if (skb->priority != config->secret) { /* past rx, by another interface */
		counters->gpe_strangers++;
		return DROP;
	}
	skb->priority = 0;
	counters->gpe_packets++;
	return redirect(*device, F_INGRESS);
}
