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

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define hton16(x) ((u16)__builtin_bswap16(x))
#define hton32(x) ((u32)__builtin_bswap32(x))
#else
#define hton16(x) ((u16)(x))
#define hton32(x) ((u32)(x))
#endif
#define ntoh16 hton16
#define ntoh32 hton32

enum { IPPROTO_ICMP = 1, IPPROTO_TCP = 6, IPPROTO_UDP = 17 };
