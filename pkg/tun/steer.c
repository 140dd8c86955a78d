//go:build ignore

#include "../bpf/kernel.h"

/* Loads from the packet, in host byte order. One beyond the packet's end makes the program return 0. */
u64 load_byte(void *skb, u64 offset) asm("llvm.bpf.load.byte");
u64 load_half(void *skb, u64 offset) asm("llvm.bpf.load.half");
u64 load_word(void *skb, u64 offset) asm("llvm.bpf.load.word");

/*
 * steer returns a hash, 16 bits, of the addresses of an IPv4 packet and of its ports, if each
 * packet of the flow has them. The kernel takes it modulo the number of queues.
 */
SEC("socket") int steer(struct __sk_buff *skb)
{
	const u32 golden = 0x9E3779B1; /* 2^32 / 1.618: spreads neighbours */
	u32 hash = (u32)load_word(skb, 12) * golden; /* source */

	hash = (hash ^ (u32)load_word(skb, 16)) * golden; /* destination */
	if ((load_half(skb, 6) & 0x3fff) == 0) { /* no fragment */
		u8 protocol = load_byte(skb, 9);

		if (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP) {
			u32 head = (load_byte(skb, 0) & 15) << 2;

			hash = (hash ^ (u32)load_word(skb, head)) * golden; /* both ports */
		}
	}
	return hash >> 16;
}
