/*
 * What programs need of the kernel's interface (linux/bpf.h, linux/if_ether.h), so that they
 * compile with clang alone, on any host.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

/* The beginning of struct __sk_buff. */
struct __sk_buff {
	u32 len, pkt_type, mark, queue_mapping, protocol, vlan_present, vlan_tci, vlan_proto, priority;
	u32 ingress_ifindex, ifindex, tc_index, cb[5], hash, tc_classid, data, data_end, napi_id;
	u32 family, remote_ip4, local_ip4, remote_ip6[4], local_ip6[4], remote_port, local_port, data_meta;
	u64 flow_keys, tstamp;
	u32 wire_len, gso_segs;
	u64 sk;
	u32 gso_size;
};

#define SEC(name) __attribute__((section(name), used))
#define inline __attribute__((always_inline)) inline

#define LITTLE_ENDIAN (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
#if LITTLE_ENDIAN
#define hton16(x) ((u16)__builtin_bswap16(x))
#define hton32(x) ((u32)__builtin_bswap32(x))
#else
#define hton16(x) ((u16)(x))
#define hton32(x) ((u32)(x))
#endif
#define ntoh16 hton16
#define ntoh32 hton32

enum { IPPROTO_ICMP = 1, IPPROTO_TCP = 6, IPPROTO_UDP = 17 };

/* A map, as struct bpf_map_def of old; bpfgen reads it out of the section "maps". */
struct map {
	u32 type, key, value, entries, flags;
};

enum { MAP_ARRAY = 2, MAP_PERCPU_ARRAY = 6, MAP_LPM_TRIE = 11, MAP_DEVMAP = 14, F_NO_PREALLOC = 1 };

/* Helpers, see bpf-helpers(7). */
static void *(*map_lookup)(const void *map, const void *key) = (void *)1;
static long (*store_bytes)(struct __sk_buff *skb, u32 offset, const void *from, u32 len, u64 flags) = (void *)9;
static long (*l3_csum_replace)(struct __sk_buff *skb, u32 offset, u64 from, u64 to, u64 flags) = (void *)10;
static long (*redirect)(u32 ifindex, u64 flags) = (void *)23;
static long (*load_bytes)(const struct __sk_buff *skb, u32 offset, void *to, u32 len) = (void *)26;
static long (*csum_diff)(const void *from, u32 from_size, const void *to, u32 to_size, u32 seed) = (void *)28;
static long (*change_head)(struct __sk_buff *skb, u32 len, u64 flags) = (void *)43;
static long (*adjust_room)(struct __sk_buff *skb, int len, u32 mode, u64 flags) = (void *)50;
static long (*redirect_neigh)(u32 ifindex, const void *params, int plen, u64 flags) = (void *)152;

enum { PASS = -1 /* TC_ACT_UNSPEC: on to the next filter */, DROP = 2 /* TC_ACT_SHOT */, PACKET_HOST = 0, F_INGRESS = 1, F_RECOMPUTE_CSUM = 1 };
enum { ROOM_NET = 0, ROOM_MAC = 1, F_FIXED_GSO = 1, F_ENCAP_L3_IPV4 = 2, F_ENCAP_L4_UDP = 16 };
enum { ETH_P_IP = 0x0800, ETH_HLEN = 14, IP_HLEN = 20, UDP_HLEN = 8 };

struct iphdr {
	u8 version_ihl, tos;
	u16 tot_len, id, frag_off;
	u8 ttl, protocol;
	u16 check;
	u32 saddr, daddr;
};

struct udphdr {
	u16 source, dest, len, check;
};
